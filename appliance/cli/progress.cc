#include "appliance/cli/progress.h"

#include "appliance/cli/cli.h"

#include <cstdio>

#include <unistd.h>

namespace cw::appliance {

std::string ProgressLine::amount(std::uint64_t value) const {
    return unit_ == Unit::bytes ? config::format_bytes(value) : std::to_string(value);
}

void ProgressLine::finish() {
    if (visible_) {
        std::fputc('\n', stderr);
        visible_ = false;
    }
}

void ProgressLine::update(std::uint64_t done, std::uint64_t total) {
    const Nanos now = clock_.boot();
    if (started_ == Nanos{}) {
        started_ = shown_ = now;
    }
    const bool terminal = ::isatty(STDERR_FILENO) != 0;
    const std::int64_t pause = terminal ? ns_per_s / 4 : 5 * ns_per_s;
    if (now - started_ < 2 * ns_per_s || now - shown_ < pause) {
        return;
    }
    shown_ = now;
    visible_ = terminal;
    const double seconds = static_cast<double>(now - started_) / static_cast<double>(ns_per_s);
    const double rate = static_cast<double>(done) / seconds;
    const double left = rate > 0 ? static_cast<double>(total - done) / rate : 0;
    std::fprintf(stderr, "%s%s: %s of %s, %s/s, %.0f s left%s", terminal ? "\r\033[K" : "",
                 what_.c_str(), amount(done).c_str(), amount(total).c_str(),
                 amount(static_cast<std::uint64_t>(rate)).c_str(), left, terminal ? "" : "\n");
    std::fflush(stderr);
}

Result<std::unique_ptr<ShownJob>> ShownJob::begin(Cli& cli, MachineRecords& records,
                                                  const JobRequest& request, std::string what) {
    Clock& clock = *cli.seams.clock;
    CW_TRY_ASSIGN(JobRun run, JobRun::begin(records, clock, *cli.seams.random, request));
    return std::unique_ptr<ShownJob>(new ShownJob(std::move(run), clock, std::move(what)));
}

void ShownJob::note(const std::string& step, std::uint64_t done, std::uint64_t total) {
    line_.update(done, total);
    run_.note(step, done, total);
}

std::function<void(std::uint64_t, std::uint64_t)> ShownJob::progress(std::string step) {
    return [this, step = std::move(step)](std::uint64_t done, std::uint64_t total) {
        note(step, done, total);
    };
}

}  // namespace cw::appliance
