// Progress of what an operator's command does: a line on the terminal, and a job that others see.
#pragma once

#include "appliance/operator/jobs.h"
#include "base/clock.h"

#include <functional>
#include <memory>
#include <string>

namespace cw::appliance {

struct Cli;

// "restored: 1.2 GiB of 4.0 GiB, 310.0 MiB/s, 9 s left" on stderr, after 2 s; on a terminal four
// times a second, else every 5 s.
class ProgressLine {
public:
    enum class Unit : std::uint8_t { bytes, items };
    ProgressLine(Clock& clock, std::string what, Unit unit = Unit::bytes)
        : clock_(clock), what_(std::move(what)), unit_(unit) {}
    ~ProgressLine() { finish(); }
    ProgressLine(const ProgressLine&) = delete;
    ProgressLine& operator=(const ProgressLine&) = delete;
    void update(std::uint64_t done, std::uint64_t total);
    void finish();  // Ends the line, before a result is printed.

private:
    [[nodiscard]] std::string amount(std::uint64_t value) const;

    Clock& clock_;
    std::string what_;
    Unit unit_;
    Nanos started_{}, shown_{};
    bool visible_ = false;
};

// A job in the machine's record whose progress is shown on the terminal as well.
class ShownJob {
public:
    // `records` outlives the job. Errors: those of JobRun::begin().
    static Result<std::unique_ptr<ShownJob>> begin(Cli& cli, MachineRecords& records,
                                                   const JobRequest& request, std::string what);

    void note(const std::string& step, std::uint64_t done, std::uint64_t total);
    // note() for a work of one step; valid as long as the job.
    std::function<void(std::uint64_t, std::uint64_t)> progress(std::string step);
    [[nodiscard]] JobRun& run() noexcept { return run_; }
    // What the work has come to: a failure ends the job as failed.
    template <typename Report>
    Result<Report> outcome(Result<Report> report) {
        line_.finish();
        if (!report) {
            return run_.failed(report.error());
        }
        return report;
    }
    // Errors: those of JobRun::end().
    Result<MachineRecord> end(JobEnd end) { return run_.end(std::move(end)); }

private:
    ShownJob(JobRun run, Clock& clock, std::string what)
        : run_(std::move(run)), line_(clock, std::move(what)) {}

    JobRun run_;
    ProgressLine line_;
};

}  // namespace cw::appliance
