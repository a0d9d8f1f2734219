#include "agent/program/seed_command.h"

#include "agent/session/own_identity.h"
#include "base/exit_code.h"
#include "base/log.h"

#include <atomic>
#include <cstdio>
#include <filesystem>

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

namespace cw::agent {
namespace {

using nlohmann::json;

// Names are people's words, also those that a medium carries.
std::string text_of(const json& value) {
    return value.dump(-1, ' ', true, json::error_handler_t::replace);
}

std::atomic<bool> stop_asked{false};
std::atomic<SeedImport*> importing{nullptr};

// A line of progress on stderr once the work has taken two seconds, or objects on stdout.
class SeedProgressLine {
public:
    SeedProgressLine(Clock& clock, std::string what, bool as_json)
        : clock_(clock),
          what_(std::move(what)),
          begun_(clock.boot()),
          shown_(begun_),
          json_(as_json),
          terminal_(::isatty(STDERR_FILENO) == 1) {}
    ~SeedProgressLine() {
        if (line_) {
            std::fputc('\n', stderr);
        }
    }
    SeedProgressLine(const SeedProgressLine&) = delete;
    SeedProgressLine& operator=(const SeedProgressLine&) = delete;

    void show(std::uint64_t done, std::uint64_t total, std::uint64_t sent, std::string_view error) {
        const Nanos now = clock_.boot();
        const std::int64_t pause = json_ ? ns_per_s : terminal_ ? ns_per_s / 4 : 5 * ns_per_s;
        if (now - shown_ < pause || (!json_ && now - begun_ < 2 * ns_per_s)) {
            return;
        }
        shown_ = now;
        if (json_) {
            const json out{{"done_bytes", done},
                           {"total_bytes", total},
                           {"sent_bytes", sent},
                           {"error", std::string(error)}};
            std::printf("%s\n", text_of(out).c_str());
            std::fflush(stdout);
            return;
        }
        const double seconds = static_cast<double>(now - begun_) / static_cast<double>(ns_per_s);
        const double rate = static_cast<double>(done) / seconds;
        const double left = rate > 0 ? static_cast<double>(total - done) / rate : 0;
        constexpr double unit = static_cast<double>(mib);
        const std::string text =
            fmt::format("{}: {:.1f} of {:.1f} MiB, {:.1f} MiB/s, {:.0f} s left{}{}", what_,
                        static_cast<double>(done) / unit, static_cast<double>(total) / unit,
                        rate / unit, left, error.empty() ? "" : ", ", error);
        line_ = terminal_;
        std::fprintf(stderr, terminal_ ? "\r\x1b[K%s" : "%s\n", text.c_str());
        std::fflush(stderr);
    }
    // For work that asks whether to go on.
    SeedProgress callback() {
        return [this](std::uint64_t done, std::uint64_t total) {
            show(done, total, 0, {});
            return !stop_asked.load();
        };
    }

private:
    Clock& clock_;
    const std::string what_;
    const Nanos begun_;
    Nanos shown_;
    const bool json_, terminal_;
    bool line_ = false;
};

void print(const SeedCommand& command, const json& result, const std::string& text) {
    std::printf("%s\n", command.json ? text_of(result).c_str() : text.c_str());
}

json manifest_json(const SeedManifest& manifest, const std::string& fingerprint) {
    return {{"ok", true},
            {"machine", to_string(manifest.machine)},
            {"disk", to_string(manifest.disk)},
            {"disk_name", manifest.disk_name},
            {"size_bytes", manifest.size_bytes},
            {"file_bytes", manifest.file_bytes},
            {"format", name_of(manifest.format)},
            {"time_us", raw(manifest.time)},
            {"still", manifest.still},
            {"fingerprint", fingerprint}};
}

std::string describe(const SeedManifest& manifest, const std::string& fingerprint) {
    return fmt::format("disk {} ({}), {} bytes, {}{}\nfingerprint {}",
                       escape_for_display(manifest.disk_name), to_string(manifest.disk),
                       manifest.size_bytes, name_of(manifest.format),
                       manifest.still ? ", still" : "", fingerprint);
}

struct Medium {
    std::optional<SeedManifest> manifest;
    std::string fingerprint;
    std::unique_ptr<SeedImage> image;
};

// The manifest beside the image, or, where there is none, what was said in its place.
Result<Medium> open_medium(const SeedCommand& command, cw::Disk& disk, Clock& clock) {
    Medium medium;
    const std::string path = command.manifest.empty()
                                 ? command.image + std::string(seed_manifest_suffix)
                                 : command.manifest;
    CW_TRY_ASSIGN(const bool there, disk.exists(path));
    SeedFile file{command.image, SeedFormat::raw};
    if (there || !command.manifest.empty()) {
        CW_TRY_ASSIGN(const ByteVector bytes, read_file(disk, path, seed_manifest_bytes_max));
        CW_TRY_ASSIGN(medium.manifest, decode_seed_manifest(bytes));
        medium.fingerprint = to_hex(seed_fingerprint(bytes));
        file.format = medium.manifest->format;
        std::error_code no_file;
        const auto bytes_there = std::filesystem::file_size(file.path, no_file);
        if (!no_file && bytes_there != medium.manifest->file_bytes) {
            return fail(Errc::size_mismatch,
                        file.path + " has " + std::to_string(bytes_there) + " bytes; " +
                            std::to_string(medium.manifest->file_bytes) + " were exported");
        }
    } else if (command.format.empty()) {
        return fail(Errc::usage, path +
                                     " is not there: say --format and --disk-name of an image "
                                     "that no export made");
    } else {
        CW_TRY_ASSIGN(file.format, parse_seed_format(command.format));
    }
    if (!command.fingerprint.empty() && command.fingerprint != medium.fingerprint) {
        return fail(Errc::identity_refused,
                    "this medium's fingerprint is " +
                        (medium.fingerprint.empty() ? "none" : medium.fingerprint));
    }
    CW_TRY_ASSIGN(auto raw_image, open_seed_file(file, clock));
    CW_TRY_ASSIGN(medium.image, SeedImage::open(std::move(raw_image), medium.manifest));
    return medium;
}

Result<void> run_export(SeedCommand& command, cw::Disk& disk, Clock& clock) {
    CW_TRY_ASSIGN(command.export_.machine, own_machine_id(command.files));
    // Two exports would share the marker that remembers a hook.
    CW_TRY_ASSIGN(const auto lock, lock_directory(disk, command.state_directory + "/seed"));
    ByteVector encoded;
    {
        SeedProgressLine line(clock, "exported", command.json);
        CW_TRY_ASSIGN(encoded, export_seed(command.export_, disk, clock, line.callback()));
    }
    CW_TRY_ASSIGN(const SeedManifest manifest, decode_seed_manifest(encoded));
    const std::string fingerprint = to_hex(seed_fingerprint(encoded));
    print(command, manifest_json(manifest, fingerprint), describe(manifest, fingerprint));
    return {};
}

Result<void> run_check(const SeedCommand& command, cw::Disk& disk, Clock& clock) {
    CW_TRY_ASSIGN(const Medium medium, open_medium(command, disk, clock));
    if (!medium.manifest) {
        return fail(Errc::not_found, "a manifest of " + command.image);
    }
    {
        SeedProgressLine line(clock, "checked", command.json);
        CW_TRY(check_seed(*medium.image, line.callback()));
    }
    print(command, manifest_json(*medium.manifest, medium.fingerprint),
          describe(*medium.manifest, medium.fingerprint));
    return {};
}

// What only the medium knows of the import.
Result<void> complete(SeedCommand& command, const Medium& medium) {
    SeedImportOptions& options = command.import;
    if (!medium.manifest) {
        if (command.disk_name.empty() || command.disk_name.size() > seed_name_bytes_max ||
            command.point) {
            return fail(
                Errc::usage,
                "an image without a manifest needs --disk-name, at most 256 bytes, and becomes "
                "no point");
        }
        options.disk_name = command.disk_name;
        options.machine_name = command.disk_name;
        return {};
    }
    const SeedManifest& manifest = *medium.manifest;
    CW_TRY_ASSIGN(const MachineId machine, own_machine_id(command.files));
    if (manifest.machine != machine) {
        return fail(Errc::identity_refused, "the seed is of machine " +
                                                to_string(manifest.machine) +
                                                ", the certificate of " + to_string(machine));
    }
    const bool other = !command.disk_name.empty() && command.disk_name != manifest.disk_name;
    if (other || manifest.disk != disk_id_of(machine, manifest.disk_name)) {
        return fail(Errc::target_unsafe, "the seed is of disk " + manifest.disk_name);
    }
    if (command.point && !manifest.still) {
        return fail(Errc::source_unfrozen, "the disk was written while it was exported");
    }
    options.disk_name = manifest.disk_name;
    options.machine_name =
        manifest.machine_name.empty() ? manifest.disk_name : manifest.machine_name;
    if (command.point) {
        options.point_of = manifest.time;
    }
    return {};
}

Result<void> run_import(SeedCommand& command, cw::Disk& disk, Clock& clock) {
    CW_TRY_ASSIGN(const Medium medium, open_medium(command, disk, clock));
    CW_TRY(complete(command, medium));
    const auto random = make_system_random();
    CW_TRY_ASSIGN(const auto import,
                  SeedImport::create(command.import, *medium.image, clock, *random));
    importing = import.get();
    if (stop_asked) {
        import->stop();
    }
    Result<SeedReport> report = fail(Errc::internal);
    {
        SeedProgressLine line(clock, "imported", command.json);
        std::uint64_t total = 0;  // None is left when the vault is waited for.
        report = import->run([&](const Replicator::Status& status) {
            const auto& base = status.disks.front().base;
            total = std::max(total, base.total_bytes);
            line.show(base.total_bytes == 0 ? total : base.done_bytes, total, status.sent_bytes,
                      status.last_error ? name_of(status.last_error->code) : std::string_view{});
        });
    }
    importing = nullptr;
    CW_TRY(report);
    json out{{"ok", true},
             {"disk", to_string(report->disk)},
             {"generation", raw(report->generation)},
             {"size_bytes", report->size_bytes},
             {"sent_bytes", report->sent_bytes}};
    if (report->point) {
        out["point"] = to_string(*report->point);
    }
    print(
        command, out,
        fmt::format("disk {}: {} bytes in the vault, {} sent{}\nThe agent at the machine compares "
                    "with it and sends what differs.",
                    to_string(report->disk), report->size_bytes, report->sent_bytes,
                    report->point ? ", point " + to_string(*report->point) : ""));
    return {};
}

}  // namespace

void stop_seed() noexcept {
    stop_asked = true;
    if (SeedImport* const import = importing.load()) {
        import->stop();
    }
}

int run_seed(SeedCommand command) {
    const auto level = parse_log_level(command.log_level);
    const auto disk = make_posix_disk();
    const auto clock = make_system_clock();
    if (level) {
        set_log_level(*level);
    }
    const Result<void> done =
        !level                                       ? std::unexpected(level.error())
        : command.verb == SeedCommand::Verb::export_ ? run_export(command, *disk, *clock)
        : command.verb == SeedCommand::Verb::check   ? run_check(command, *disk, *clock)
                                                     : run_import(command, *disk, *clock);
    if (done) {
        return 0;
    }
    const Error& error = done.error();
    if (command.json) {
        const json out{{"ok", false}, {"error", name_of(error.code)}, {"text", to_string(error)}};
        std::printf("%s\n", text_of(out).c_str());
    } else {
        constexpr std::size_t error_text_max = 8192;
        std::fprintf(stderr, "causeway-agent: %s\n",
                     escape_for_display(to_string(error), error_text_max).c_str());
    }
    return exit_code_of(error.code);
}

}  // namespace cw::agent
