#include "appliance/cli/formats.h"

#include "appliance/operator/failback_hint.h"
#include "appliance/operator/mount_server.h"
#include "appliance/page_access.h"
#include "base/full_disk.h"
#include "base/log.h"
#include "recovery/full_output.h"
#include "recovery/output_hold.h"
#include "recovery/page_blob_writer.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace cw::appliance {
namespace {

constexpr std::int64_t convert_ns = 48 * 3600 * ns_per_s;

// The newest "(12.34/100%)" of qemu-img -p.
double percent_of(std::string_view output) {
    const auto end = output.rfind("/100%");
    const auto begin = end == std::string_view::npos ? end : output.rfind('(', end);
    return begin == std::string_view::npos
               ? 0
               : std::strtod(std::string(output.substr(begin + 1, end - begin - 1)).c_str(),
                             nullptr);
}

std::string last_line(std::string_view text) {
    while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) {
        text.remove_suffix(1);
    }
    return std::string(text.substr(text.find_last_of("\r\n") + 1));
}

Result<void> run_qemu_img(const std::vector<std::string>& argv, Clock& clock,
                          const CommandLimits& limits) {
    CW_TRY_ASSIGN(const CommandResult result, run_command(argv, clock, limits));
    if (result.exit_code != 0) {
        return fail(tells_full_disk(result.output) ? Errc::disk_full : Errc::io_error,
                    argv[0] + " " + argv[1] + " ended with " + std::to_string(result.exit_code) +
                        ": " + last_line(result.output));
    }
    return {};
}

Result<void> sync_path(const std::string& path) {
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return fail_errno(Errc::io_error, "open " + path, errno);
    }
    const int synced = ::fsync(fd);
    const int error = errno;
    ::close(fd);
    return synced == 0 ? Result<void>{}
                       : Result<void>(fail_errno(Errc::io_error, "sync " + path, error));
}

// Gives the finished image its name, durably.
Result<void> publish(const std::string& partial, const recovery::WriteOptions& options,
                     Disk& disk) {
    const std::string& path = options.path;
    CW_TRY(sync_path(partial));
    CW_TRY_ASSIGN(const bool exists, disk.exists(path));
    if (exists && !options.force && !(options.may_replace && options.may_replace())) {
        return fail(Errc::file_exists, path + " appeared, or was touched, meanwhile");
    }
    if (options.about_to_name) {
        options.about_to_name(partial);
    }
    CW_TRY(disk.rename(partial, path));
    const auto parent = std::filesystem::absolute(path).parent_path().string();
    return disk.sync_directory(parent);
}

// Other formats are qemu-img's business: it reads the point from a mount of ours and skips holes.
Result<recovery::RestoreReport> convert(Cli& cli, const OpenedCatalog& opened,
                                        const recovery::RestoreRequest& request,
                                        const std::string& format,
                                        const recovery::Progress& progress) {
    recovery::RestoreReport report;
    const recovery::Catalog& catalog = *opened.catalog;
    CW_TRY_ASSIGN(const auto* point, catalog.find_point(request.point));
    report.point = *point;
    CW_TRY_ASSIGN(report.disk, catalog.find_disk(*point, request.disk));
    report.manifest_number = catalog.state().newest.number;
    report.manifest_hash = catalog.state().hash;

    const std::string& path = request.write.path;
    std::error_code ignored;
    if (std::filesystem::exists(path, ignored) &&
        !std::filesystem::is_regular_file(path, ignored)) {
        return fail(Errc::target_unsafe, path + " is no file: " + format + " is a file format");
    }
    CW_TRY_ASSIGN(const auto held, recovery::hold_output(path));
    MountRequest mount;
    mount.source = {.config_path = cli.config_path,
                    .machine = to_string(catalog.machine()),
                    .point = to_string(point->id),
                    .disk = to_string(report.disk.disk),
                    .accept_stale = true};  // The catalog above has been judged already.
    mount.cancelled = request.write.cancelled;
    CW_TRY_ASSIGN(const auto server, MountServer::start(mount, *cli.seams.clock));
    const std::string partial = recovery::partial_of(path);
    const auto remove_partial = [&] { std::filesystem::remove(partial, ignored); };
    remove_partial();
    CommandLimits limits;
    limits.timeout_ns = convert_ns;
    limits.cancelled = request.write.cancelled;
    limits.watch = [&](std::string_view output) {
        if (progress) {
            const double share = percent_of(output) / 100;
            progress(
                static_cast<std::uint64_t>(share * static_cast<double>(report.disk.size_bytes)),
                report.disk.size_bytes);
        }
        return true;
    };
    auto done = run_qemu_img({"qemu-img", "convert", "-p", "-f", "raw", "-O", format, "-m", "8",
                              "-W", server->uri(), partial},
                             *cli.seams.clock, limits);
    if (done && request.write.verify) {
        limits.watch = {};
        done =
            run_qemu_img({"qemu-img", "compare", "-f", "raw", "-F", format, server->uri(), partial},
                         *cli.seams.clock, limits);
        if (!done) {
            done = fail(Errc::restore_mismatch, done.error().detail);
        }
    }
    if (done && format == "qcow2") {
        // QEMU records in it what is written from now on: `causeway changes` reads it. It is there
        // before anybody can start a machine of the image.
        done = run_qemu_img({"qemu-img", "bitmap", "--add", "-f", "qcow2", "-g", "65536", partial,
                             std::string(since_prefix) + to_string(point->id)},
                            *cli.seams.clock, limits);
    }
    if (done) {
        done = publish(partial, request.write, *cli.seams.disk);
    }
    if (!done) {
        Error error = recovery::name_full_output(std::move(done).error(), path, partial,
                                                 report.disk.size_bytes);
        remove_partial();
        return std::unexpected(std::move(error));
    }
    struct stat status{};
    ::stat(path.c_str(), &status);
    report.written.image_bytes = report.disk.size_bytes;
    report.written.file_bytes = static_cast<std::uint64_t>(status.st_size);
    report.written.written_bytes = static_cast<std::uint64_t>(status.st_blocks) * 512;
    return report;
}

// The line of a progress that is overwritten in place makes room for it.
void tell_of_trouble(const Error& last, std::int64_t ns) {
    std::fprintf(stderr, "%snote: for %lld s nothing has been taken (%s): tried again and again\n",
                 ::isatty(STDERR_FILENO) != 0 ? "\r\033[K" : "",
                 static_cast<long long>(ns / ns_per_s),
                 escape_for_display(last.detail, 512).c_str());
}

// What to do about an upload that `error` has ended, where the code's own advice is for a vault.
std::string next_after(const Error& error, const recovery::PageBlobOptions& options,
                       const std::string& output) {
    switch (action_of(error.code)) {
        case Action::retry:
        case Action::throttle:
            return options.existing
                       ? "when the service takes requests again: the same command; it writes the "
                         "disk anew"
                       : "when the service takes requests again: the same command with --force, "
                         "which replaces the page blob that is not whole";
        case Action::reauth:
            break;
        default:
            if (options.existing && error.code == Errc::blob_not_found) {
                return "the disk that " + output +
                       " names is not there: create it for upload, and take its SAS";
            }
            if (error.code != Errc::blob_denied) {
                return {};
            }
    }
    return options.existing && error.code != Errc::clock_skew
               ? "check the vault's credential and the disk's SAS in " + output +
                     " (a fresh one: az disk grant-access --access-level Write)" +
                     (options.verify ? "; without the right to read: the same without --verify"
                                     : "")
               : "";
}

// Where Azure can attach it: the epoch of the chain that was read fences older writers of a page
// blob; a managed disk has one writer, who has its SAS.
Result<recovery::RestoreReport> to_page_blob(Cli& cli, const OpenedCatalog& opened,
                                             const recovery::RestoreRequest& request,
                                             const std::string& format,
                                             const recovery::Progress& progress) {
    const recovery::Catalog& catalog = *opened.catalog;
    recovery::RestoreReport report;
    CW_TRY_ASSIGN(const auto* point, catalog.find_point(request.point));
    report.point = *point;
    CW_TRY_ASSIGN(report.disk, catalog.find_disk(*point, request.disk));
    report.manifest_number = catalog.state().newest.number;
    report.manifest_hash = catalog.state().hash;
    recovery::PageBlobOptions options;
    options.force = request.write.force;
    options.sequence = raw(catalog.state().newest.epoch);
    options.image_id = recovery::image_id(point->id, report.disk.disk);
    options.created = point->source_time;
    options.writes_in_flight = opened.download_threads;
    options.cancelled = request.write.cancelled;
    options.trouble = tell_of_trouble;
    options.verify = request.write.verify;
    CW_TRY_ASSIGN(const config::Settings settings, cli.settings());
    std::unique_ptr<blob::PageBlobStore> pages;
    options.existing = format == "managed-disk";
    if (options.existing) {
        CW_TRY_ASSIGN(ManagedDisk disk, open_managed_disk(settings, cli.seams, request.write.path));
        pages = std::move(disk.store);
        options.blob = std::move(disk.blob);
    } else {
        CW_TRY_ASSIGN(options.blob, blob::parse_page_blob_name(request.write.path));
        CW_TRY_ASSIGN(pages, open_page_blobs(settings, cli.seams));
    }
    CW_TRY_ASSIGN(const auto image, opened.source->open({point, report.disk}, request.reader));
    const recovery::PageBlobSeams seams{*pages, *cli.seams.clock, *cli.seams.random};
    auto written = recovery::write_page_blob(*image, seams, options, progress);
    if (!written) {
        Error failed = std::move(written.error());
        failed.next = next_after(failed, options, request.write.path);
        return std::unexpected(std::move(failed));
    }
    if (written->unproven) {
        std::fprintf(stderr,
                     "note: every write was confirmed, but the service does not let it be looked "
                     "at: %s\n",
                     escape_for_display(written->unproven->detail, 512).c_str());
    }
    report.written = std::move(written->written);
    report.fetched_bytes = image->fetched_bytes();
    return report;
}

}  // namespace

Result<recovery::RestoreReport> write_disk(Cli& cli, const OpenedCatalog& opened,
                                           const recovery::RestoreRequest& request,
                                           const std::string& format,
                                           const recovery::Progress& progress) {
    if (format == "page-blob" || format == "managed-disk") {
        return to_page_blob(cli, opened, request, format, progress);
    }
    if (format == "raw" || format == "vhd") {
        const recovery::Catalog& catalog = *opened.catalog;
        CW_TRY_ASSIGN(const auto* point, catalog.find_point(request.point));
        CW_TRY_ASSIGN(const auto disk, catalog.find_disk(*point, request.disk));
        CW_TRY_ASSIGN(const auto image, opened.source->open({point, disk}, request.reader));
        recovery::WriteOptions write = request.write;
        write.format = format == "vhd" ? recovery::ImageFormat::vhd : recovery::ImageFormat::raw;
        return recovery::restore_image(*image, catalog, *point, disk,
                                       {*cli.seams.disk, write, progress});
    }
    return convert(cli, opened, request, format, progress);
}

bool is_in_azure(const std::string& format) {
    return format == "page-blob" || format == "managed-disk";
}

std::string extension_of(const std::string& format) {
    return format == "raw"            ? "img"
           : format == "page-blob"    ? "vhd"
           : format == "managed-disk" ? "sas"
                                      : format;
}

}  // namespace cw::appliance
