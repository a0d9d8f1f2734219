// causeway failback: an old disk becomes a machine's disk at a point; only differences travel.
#include "recovery/failback.h"

#include "appliance/cli/changes.h"
#include "appliance/cli/point.h"
#include "appliance/cli/stop_signal.h"
#include "appliance/cli/written_disks.h"
#include "appliance/operator/failback_hint.h"
#include "base/crash_point.h"
#include "base/full_disk.h"
#include "base/log.h"

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <memory>

#include <CLI/CLI.hpp>
#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

namespace cw::appliance {
namespace {

struct FailbackOptions {
    PointChoice from;
    std::string target, work_directory, identity, hint;
    bool cancel = false, trust_hint = false;
};

constexpr std::size_t hint_file_max = 64 * mib;
constexpr const char* hint_used = "used";

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

struct FailbackResult {
    recovery::FailbackReport report;
    std::string hint;  // What became of it; empty: there was none.
};

void print_report(const Cli& cli, const FailbackResult& result, const std::string& target) {
    const recovery::FailbackReport& report = result.report;
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
                                 {"hint", result.hint},
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
        "%llu blocks of 64 KiB compared by fingerprint, %llu had none; %llu differed: %s moved%s\n",
        static_cast<unsigned long long>(report.blocks_compared),
        static_cast<unsigned long long>(report.blocks_unknown),
        static_cast<unsigned long long>(report.blocks_different),
        config::format_bytes(report.moved_bytes).c_str(),
        fetched_text(report.fetched_bytes, report.index_bytes).c_str());
    if (!result.hint.empty() && result.hint != hint_used) {
        std::printf("the hint was %s; everything was compared\n", result.hint.c_str());
    } else if (report.hint_refuted) {
        std::puts("the hint was wrong: a block that it left out differed; everything was compared");
    } else if (report.blocks_skipped > 0) {
        std::printf("%llu blocks left out by the hint, %llu of the others compared as a sample\n",
                    static_cast<unsigned long long>(report.blocks_skipped),
                    static_cast<unsigned long long>(report.blocks_sampled));
    }
}

void remove_if_empty(const std::string& work_directory) {
    std::error_code ignored;
    std::filesystem::remove(work_directory + "/readers", ignored);  // Of egress/volume.
    std::filesystem::remove(work_directory, ignored);
}

Result<void> cancel(Cli& cli, const std::string& work_directory) {
    CW_TRY_ASSIGN(const bool dropped, recovery::cancel_failback(*cli.seams.disk, work_directory));
    remove_if_empty(work_directory);
    if (cli.json) {
        print_json({{"cancelled", dropped}});
    } else {
        std::puts(dropped ? "cancelled: the target is as it was" : "nothing to cancel");
    }
    return {};
}

// nullopt: a device, or it cannot be told.
std::optional<WallMicros> last_written(const std::string& path) {
    struct stat status{};
    if (::stat(path.c_str(), &status) != 0 || !S_ISREG(status.st_mode)) {
        return std::nullopt;
    }
    return WallMicros{std::int64_t{status.st_mtim.tv_sec} * 1'000'000 +
                      status.st_mtim.tv_nsec / 1'000};
}

// The newest point that lacks writes of the disk which `since` has.
std::optional<WallMicros> time_before(const recovery::Catalog& catalog, const HintOrigin& origin) {
    std::optional<WallMicros> time;
    Seq most{};
    for (const vault::PointEntry* point : catalog.points()) {
        for (const vault::PointEntry::Cut& cut : point->cuts) {
            if (cut.disk == origin.disk && cut.generation == origin.since_mark.generation &&
                cut.cut < origin.since_mark.cut && cut.cut >= most) {
                most = cut.cut;
                time = point->source_time;
            }
        }
    }
    return time;
}

// Puts the hint into `request` if it can be believed; says what became of it.
// Errors: usage (it is of another disk), not_found, those of reading the file.
Result<std::string> take_hint(Cli& cli, const FailbackOptions& options,
                              const recovery::Catalog& catalog,
                              recovery::FailbackRequest& request) {
    CW_TRY_ASSIGN(const ByteVector text, read_file(*cli.seams.disk, options.hint, hint_file_max));
    CW_TRY_ASSIGN(FailbackHintFile file, parse_failback_hint(as_text(text), options.hint));
    std::optional<std::string> doubt;
    if (file.origin) {
        CW_TRY_ASSIGN(const auto* point, catalog.find_point(request.point));
        CW_TRY_ASSIGN(const recovery::DiskAtPoint disk, catalog.find_disk(*point, request.disk));
        request.hint_since = to_string(file.origin->since);
        CW_TRY_ASSIGN(
            doubt, judge_hint(*file.origin,
                              {.machine = catalog.machine(),
                               .disk = disk.disk,
                               .size_bytes = disk.size_bytes,
                               .point = {disk.generation, disk.cut},
                               .since_is_there = catalog.find_point(request.hint_since).has_value(),
                               .target_written = last_written(options.target),
                               .earlier_point = time_before(catalog, *file.origin),
                               .target_trusted = options.trust_hint}));
    } else if (!options.trust_hint) {
        doubt = "nobody can tell since when it was recorded";
    }
    if (doubt) {
        request.hint_since.clear();
        return "ignored: " + *doubt;
    }
    request.hint = std::move(file.ranges);
    request.random = cli.seams.random.get();
    return hint_used;
}

// What a master target collects lies over its target: nobody else may write it.
Result<void> check_own_targets(Cli& cli, const std::string& path) {
    CW_TRY_ASSIGN(const config::Settings settings, cli.settings());
    std::error_code ignored;
    const auto own = std::filesystem::canonical(settings.server_state_dir, ignored).string();
    if (!own.empty() && std::filesystem::canonical(path, ignored).string().starts_with(own + "/")) {
        return fail(Errc::target_unsafe, path + " is a file of this server's own");
    }
    for (const config::TargetEntry& target : settings.targets) {
        if (target.path == path || volume::share_storage(target.path, path)) {
            return fail(Errc::target_unsafe,
                        path + " is a [[target]] of this master target: `causeway failover " +
                            target.machine + "` makes it a point");
        }
    }
    return {};
}

Result<FailbackResult> fail_back(Cli& cli, const FailbackOptions& options,
                                 recovery::FailbackRequest& request) {
    const auto probe = volume::make_system_probe();
    const recovery::FailbackContext context{*cli.seams.disk, *probe};
    CW_TRY_ASSIGN(const auto phase,
                  recovery::failback_phase(context.disk, request.target.work_directory));
    if (phase == volume::Phase::switching) {  // Before anything else, and without the vault.
        CW_TRY_ASSIGN(auto resumed, recovery::resume_failback(context, request.target));
        return FailbackResult{resumed, ""};
    }
    // Before the vault is asked: a wrong target should be told at once.
    CW_TRY(probe->check_unused(request.target.path));
    CW_TRY(check_own_targets(cli, request.target.path));
    CW_TRY_ASSIGN(const OpenedCatalog opened, open_catalog(cli, options.from));
    CW_TRY_ASSIGN(const auto* point, find_point(opened, request.point));
    request.point = to_string(point->id);  // A group's point is judged once.
    request.reader.download_threads = opened.download_threads;
    CW_TRY_ASSIGN(const auto records, open_records(cli, opened));
    std::string hint;
    if (!options.hint.empty()) {
        CW_TRY_ASSIGN(hint, take_hint(cli, options, *opened.catalog, request));
    }
    CW_TRY_ASSIGN(const auto job,
                  ShownJob::begin(cli, *records,
                                  {.machine = opened.catalog->machine(), .verb = Verb::failback},
                                  "compared"));
    CW_TRY_ASSIGN(const auto report, job->outcome(recovery::failback_disk(
                                         *opened.source, *opened.catalog, context, request,
                                         job->progress("comparing " + request.target.path))));
    JobEnd end;
    end.point = report.point;
    end.point_time = report.point_time;
    end.detail = request.target.path;
    CW_TRY(job->end(end));
    return FailbackResult{report, std::move(hint)};
}

Result<void> failback(Cli& cli, const FailbackOptions& options) {
    recovery::FailbackRequest request;
    request.point = options.from.point;
    request.disk = options.from.disk;
    request.target.path = options.target;
    request.target.expected_identity = options.identity;
    request.cancelled = stop_requested;
    CW_TRY(arm_crash_point_from_environment());
    CW_TRY_ASSIGN(request.target.work_directory, work_directory_of(options));
    const std::string& work = request.target.work_directory;
    if (options.cancel && !std::filesystem::is_directory(work)) {
        return cancel(cli, work);
    }
    CW_TRY(name_full_disk(cli.seams.disk->create_directories(work), options.target, "failback"));
    CW_TRY_ASSIGN(const WorkLock lock, WorkLock::take(work));
    if (options.cancel) {
        return cancel(cli, work);
    }
    // Ctrl-C before the switch drops what was collected; after it the switch is completed first.
    stop_on_signals();
    const auto report = fail_back(cli, options, request);
    remove_if_empty(work);
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
    command->add_option(
        "--hint", options->hint,
        "With --trust-hint: file of `causeway changes`, the rest of the old disk is "
        "not read. Or by hand: OFFSET LENGTH per line, or nbdinfo's --map --json "
        "of dirty bitmaps");
    command->add_flag("--trust-hint", options->trust_hint,
                      "You know what cannot be shown: that the old disk is as it was at the "
                      "hint's point (never after a loss of power), or since when a hint made by "
                      "hand was recorded");
    command->add_flag("--cancel", options->cancel,
                      "Drop what an interrupted failback collected; the target is as it was");
    command->callback([&cli, options] { cli.run([&] { return failback(cli, *options); }); });
    add_changes_command(app, cli);
}

}  // namespace cw::appliance
