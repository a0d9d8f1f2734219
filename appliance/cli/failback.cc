// causeway failback: an old disk becomes a machine's disk at a point; only differences travel.
#include "recovery/failback.h"

#include "appliance/cli/point.h"
#include "appliance/cli/stop_signal.h"
#include "appliance/operator/failback_hint.h"
#include "base/crash_point.h"
#include "base/log.h"

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <memory>

#include <CLI/CLI.hpp>
#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <sys/file.h>
#include <unistd.h>

namespace cw::appliance {
namespace {

struct FailbackOptions {
    PointChoice from;
    std::string target, work_directory, identity, hint;
    bool cancel = false;
};

constexpr std::size_t hint_file_max = 64 * mib;

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
        print_json(out);
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

Result<void> cancel(Cli& cli, const std::string& work_directory) {
    CW_TRY_ASSIGN(const bool dropped, recovery::cancel_failback(*cli.seams.disk, work_directory));
    std::error_code ignored;
    std::filesystem::remove(work_directory, ignored);  // Only if it is empty.
    if (cli.json) {
        print_json({{"cancelled", dropped}});
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
    CW_TRY_ASSIGN(const bool master_target, is_master_target(cli));
    if (master_target) {
        return fail(Errc::usage,
                    "failback reads a vault: between two sites without one, protect "
                    "the machine against a master target at the old site");
    }
    CW_TRY_ASSIGN(const OpenedCatalog opened, open_catalog(cli, options.from));
    request.reader.download_threads = opened.download_threads;
    CW_TRY_ASSIGN(const auto records, open_records(cli, opened));
    CW_TRY_ASSIGN(const auto job,
                  ShownJob::begin(cli, *records,
                                  {.machine = opened.catalog->machine(), .verb = Verb::failback},
                                  "compared"));
    CW_TRY_ASSIGN(const auto report, job->outcome(recovery::failback_disk(
                                         *opened.store, *opened.catalog, context, request,
                                         job->progress("comparing " + request.target.path))));
    JobEnd end;
    end.point = report.point;
    end.point_time = report.point_time;
    end.detail = request.target.path;
    CW_TRY(job->end(end));
    return report;
}

Result<void> failback(Cli& cli, const FailbackOptions& options) {
    recovery::FailbackRequest request;
    request.point = options.from.point;
    request.disk = options.from.disk;
    request.target.path = options.target;
    request.target.expected_identity = options.identity;
    request.cancelled = stop_requested;
    CW_TRY(arm_crash_point_from_environment());
    if (!options.hint.empty()) {
        CW_TRY_ASSIGN(const ByteVector hint,
                      read_file(*cli.seams.disk, options.hint, hint_file_max));
        CW_TRY_ASSIGN(request.hint, parse_failback_hint(as_text(hint), options.hint));
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
    // Ctrl-C before the switch drops what was collected; after it the switch is completed first.
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
    add_point_options(*command, "--point", options->from);
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
    command->callback([&cli, options] { cli.run([&] { return failback(cli, *options); }); });
}

}  // namespace cw::appliance
