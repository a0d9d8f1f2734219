// causeway failback: an old disk becomes a machine's disk at a point; only differences travel.
#include "appliance/cli.h"
#include "base/crash_point.h"
#include "base/log.h"
#include "recovery/failback.h"

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <sstream>

#include <CLI/CLI.hpp>
#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <sys/file.h>
#include <unistd.h>

namespace cw::appliance {
namespace {

struct FailbackOptions {
    std::string machine, point = "latest", disk, target, work_directory, identity, hint;
    bool cancel = false, accept_stale = false;
};

constexpr std::size_t hint_file_max = 64 * mib;

std::atomic<bool> interrupted{false};

// Ctrl-C before the switch drops what was collected; after it the switch is completed first.
void stop_on_signals() {
    struct sigaction action{};
    action.sa_handler = [](int) { interrupted = true; };
    ::sigaction(SIGINT, &action, nullptr);
    ::sigaction(SIGTERM, &action, nullptr);
}

// One failback per work directory; the kernel gives the lock back however the process ends.
class WorkLock {
public:
    static Result<WorkLock> take(const std::string& directory) {
        const int fd = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0) {
            return fail_errno(Errc::io_error, "open " + directory, errno);
        }
        WorkLock lock(fd);
        if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
            return fail(Errc::target_unsafe, "another failback works in " + directory);
        }
        return lock;
    }
    WorkLock(WorkLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    WorkLock(const WorkLock&) = delete;
    WorkLock& operator=(const WorkLock&) = delete;
    ~WorkLock() {
        if (fd_ >= 0) {
            ::close(fd_);
        }
    }

private:
    explicit WorkLock(int fd) : fd_(fd) {}
    int fd_;
};

Result<std::string> work_directory_of(const FailbackOptions& options) {
    if (!options.work_directory.empty()) {
        return options.work_directory;
    }
    std::error_code ignored;
    if (std::filesystem::is_block_file(options.target, ignored)) {
        return fail(Errc::usage, "--work-dir is needed for a device: a directory on another one");
    }
    return options.target + ".failback";
}

void print_report(const Cli& cli, const recovery::FailbackReport& report,
                  const std::string& target) {
    if (cli.json) {
        const nlohmann::json out{{"target", target},
                                 {"point", to_string(report.point)},
                                 {"point_time", recovery::time_text(report.point_time)},
                                 {"disk", to_string(report.disk)},
                                 {"sequence", raw(report.cut)},
                                 {"resumed", report.resumed},
                                 {"disk_bytes", report.disk_bytes},
                                 {"blocks_compared", report.blocks_compared},
                                 {"blocks_unknown", report.blocks_unknown},
                                 {"blocks_different", report.blocks_different},
                                 {"blocks_skipped", report.blocks_skipped},
                                 {"blocks_sampled", report.blocks_sampled},
                                 {"hint_refuted", report.hint_refuted},
                                 {"moved_bytes", report.moved_bytes},
                                 {"fetched_bytes", report.fetched_bytes},
                                 {"index_bytes", report.index_bytes}};
        std::puts(out.dump(2, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
        return;
    }
    std::printf("%s: %s as of %s, write %llu of disk %s\n", target.c_str(),
                config::format_bytes(report.disk_bytes).c_str(),
                recovery::time_text(report.point_time).c_str(),
                static_cast<unsigned long long>(raw(report.cut)), to_string(report.disk).c_str());
    if (report.resumed) {
        std::puts("an interrupted switch was completed; run again for another point");
        return;
    }
    std::printf(
        "%llu blocks of 64 KiB compared by fingerprint, %llu had none; %llu differed: %s "
        "moved, %s of chunks and %s of indexes fetched\n",
        static_cast<unsigned long long>(report.blocks_compared),
        static_cast<unsigned long long>(report.blocks_unknown),
        static_cast<unsigned long long>(report.blocks_different),
        config::format_bytes(report.moved_bytes).c_str(),
        config::format_bytes(report.fetched_bytes).c_str(),
        config::format_bytes(report.index_bytes).c_str());
    if (report.hint_refuted) {
        std::puts("the hint was wrong: a block that it left out differed; everything was compared");
    } else if (report.blocks_skipped > 0) {
        std::printf("%llu blocks left out by the hint, %llu of the others compared as a sample\n",
                    static_cast<unsigned long long>(report.blocks_skipped),
                    static_cast<unsigned long long>(report.blocks_sampled));
    }
}

// Lines "OFFSET LENGTH", or what `nbdinfo --map=qemu:dirty-bitmap:NAME --json` prints, of which the
// entries whose type has its lowest bit set are dirty.
Result<std::vector<recovery::ByteRange>> read_hint(Disk& disk, const std::string& path) {
    CW_TRY_ASSIGN(const ByteVector bytes, read_file(disk, path, hint_file_max));
    const std::string text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    std::vector<recovery::ByteRange> out;
    if (const nlohmann::json map = nlohmann::json::parse(text, nullptr, false); map.is_array()) {
        for (const nlohmann::json& entry : map) {
            const auto number = [&](const char* key) {
                return entry.is_object() && entry.contains(key) && entry[key].is_number_unsigned()
                           ? entry[key].get<std::uint64_t>()
                           : UINT64_MAX;
            };
            if (number("type") == UINT64_MAX || number("offset") == UINT64_MAX) {
                return fail(Errc::usage, path + ": an entry lacks offset, length or type");
            }
            if ((number("type") & 1) != 0) {
                out.push_back({number("offset"), number("length")});
            }
        }
        return out;
    }
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
        std::istringstream words(line);
        recovery::ByteRange range;
        std::string more;
        if (!(words >> range.offset >> range.length) || words >> more) {
            return fail(Errc::usage, path + ": not OFFSET LENGTH: " + escape_for_display(line));
        }
        out.push_back(range);
    }
    return out;
}

Result<void> cancel(Cli& cli, const std::string& work_directory) {
    CW_TRY_ASSIGN(const bool dropped, recovery::cancel_failback(*cli.seams.disk, work_directory));
    std::error_code ignored;
    std::filesystem::remove(work_directory, ignored);  // Only if it is empty.
    if (cli.json) {
        std::puts(nlohmann::json{{"cancelled", dropped}}.dump(2).c_str());
    } else {
        std::puts(dropped ? "cancelled: the target is as it was" : "nothing to cancel");
    }
    return {};
}

Result<recovery::FailbackReport> fail_back(Cli& cli, const FailbackOptions& options,
                                           recovery::FailbackRequest& request) {
    const auto probe = volume::make_system_probe();
    const recovery::FailbackContext context{*cli.seams.disk, *probe};
    CW_TRY_ASSIGN(const auto phase,
                  recovery::failback_phase(context.disk, request.target.work_directory));
    if (phase == volume::Phase::switching) {  // Before anything else, and without the vault.
        return recovery::resume_failback(context, request.target);
    }
    // Before the vault is asked: a wrong target should be told at once.
    CW_TRY(probe->check_unused(request.target.path));
    CW_TRY_ASSIGN(const OpenedCatalog opened,
                  open_catalog(cli, options.machine, options.accept_stale));
    request.reader.download_threads = opened.download_threads;
    CW_TRY_ASSIGN(const auto records, open_records(cli, opened));
    CW_TRY_ASSIGN(JobRun run,
                  JobRun::begin(*records, *cli.seams.clock, *cli.seams.random,
                                {.machine = opened.catalog->machine(), .verb = Verb::failback}));
    ProgressLine progress(*cli.seams.clock, "compared");
    const auto report =
        recovery::failback_disk(*opened.store, *opened.catalog, context, request,
                                [&](std::uint64_t done, std::uint64_t all) {
                                    progress.update(done, all);
                                    run.note("comparing " + request.target.path, done, all);
                                });
    progress.finish();
    if (!report) {
        return run.failed(report.error());
    }
    JobEnd end;
    end.point = report->point;
    end.point_time = report->point_time;
    end.detail = request.target.path;
    CW_TRY(run.end(end));
    return report;
}

Result<void> failback(Cli& cli, const FailbackOptions& options) {
    recovery::FailbackRequest request;
    request.point = options.point;
    request.disk = options.disk;
    request.target.path = options.target;
    request.target.expected_identity = options.identity;
    request.cancelled = [] { return interrupted.load(); };
    CW_TRY(arm_crash_point_from_environment());
    if (!options.hint.empty()) {
        CW_TRY_ASSIGN(request.hint, read_hint(*cli.seams.disk, options.hint));
        request.random = cli.seams.random.get();
    }
    CW_TRY_ASSIGN(request.target.work_directory, work_directory_of(options));
    const std::string& work = request.target.work_directory;
    if (options.cancel && !std::filesystem::is_directory(work)) {
        return cancel(cli, work);
    }
    CW_TRY(cli.seams.disk->create_directories(work));
    CW_TRY_ASSIGN(const WorkLock lock, WorkLock::take(work));
    if (options.cancel) {
        return cancel(cli, work);
    }
    stop_on_signals();
    const auto report = fail_back(cli, options, request);
    std::error_code ignored;
    std::filesystem::remove(work, ignored);  // Only if it is empty.
    CW_TRY(report);
    print_report(cli, *report, options.target);
    return {};
}

}  // namespace

void add_failback_command(CLI::App& app, Cli& cli) {
    CLI::App* command = app.add_subcommand(
        "failback", "Turn an old disk into a machine's disk at a point, moving only what differs");
    auto options = std::make_shared<FailbackOptions>();
    command->add_option("MACHINE", options->machine, "Its id")->required();
    command
        ->add_option("--point", options->point,
                     "latest, latest-app, an id (or its beginning), or a UTC time")
        ->capture_default_str();
    command->add_option("--disk", options->disk, "Id or name; not needed if there is only one");
    command->add_option("--target", options->target, "The old disk: image file or block device")
        ->required();
    command->add_option("--work-dir", options->work_directory,
                        "Where differences wait for the switch; for a file TARGET.failback");
    command->add_option("--identity", options->identity,
                        "Refuse any other target: \"device SERIAL\" or \"file DEVICE INODE\"");
    command->add_option("--hint", options->hint,
                        "File: what was written on either side since the disks were the same; "
                        "OFFSET LENGTH per line, or nbdinfo's --map --json of dirty bitmaps");
    command->add_flag("--cancel", options->cancel,
                      "Drop what an interrupted failback collected; the target is as it was");
    command->add_flag("--accept-stale", options->accept_stale,
                      "Go on although the end of what was committed is lost");
    command->callback([&cli, options] { cli.run([&] { return failback(cli, *options); }); });
}

}  // namespace cw::appliance
