#include "appliance/operator/jobs.h"
#include "appliance/operator/plan.h"
#include "appliance/operator/plan_states.h"
#include "appliance/operator/subprocess.h"
#include "base/assert.h"
#include "base/exit_code.h"

#include <algorithm>
#include <optional>

#include <sys/stat.h>

namespace cw::appliance {
namespace {

constexpr std::string_view plans_prefix = "plans/";
constexpr std::uint16_t format_version = 1;
constexpr unsigned attempts_max = 16;
constexpr std::size_t text_max = 1024;

std::string cut(const std::string& text) {
    return text.size() > text_max ? text.substr(text.size() - text_max) : text;
}

// What a program said, on one line: messages have no others.
std::string one_line(std::string_view output) {
    std::string out;
    for (const char c : output) {
        if (c == '\n' || c == '\r') {
            out += out.empty() || out.ends_with("; ") ? "" : "; ";
        } else {
            out += c;
        }
    }
    while (out.ends_with("; ")) {
        out.resize(out.size() - 2);
    }
    return out;
}

RecordSubject subject_of(const std::string& plan) {
    const Sha256 digest = sha256(as_bytes(plan));
    RecordSubject subject;
    std::copy_n(digest.begin(), subject.size(), subject.begin());
    return subject;
}

blob::BlobName blob_of(const std::string& plan) {
    return {blob::Container::control, std::string(plans_prefix) + to_hex(subject_of(plan))};
}

bool alive(const PlanRun& run, const JobHolder& self, WallMicros now) {
    Job job;
    job.state = run.state;
    job.holder = run.holder;
    job.updated = run.updated;
    return job_alive(job, self, now);
}

// How long after its last sign of life a runner may have ended.
constexpr std::int64_t last_words_us = (job_note_pause_ns + 60 * ns_per_s) / ns_per_us;

// When the file was last changed in any way, renamed too. nullopt: it is not there.
std::optional<WallMicros> touched(const std::string& path, bool& device) {
    struct stat st{};
    if (::stat(path.c_str(), &st) != 0) {
        return std::nullopt;
    }
    device = S_ISBLK(st.st_mode);
    return WallMicros{st.st_ctim.tv_sec * (ns_per_s / ns_per_us) + st.st_ctim.tv_nsec / ns_per_us};
}

// One step of the run, as the operator's program sees it.
class Runner {
public:
    Runner(const Plan& plan, PlanRuns& runs, const PlanContext& context, JobId id)
        : plan_(plan), runs_(runs), context_(context), id_(id) {}

    Result<PlanRun> mark(const std::string& step, StepState state, const std::string& detail,
                         std::optional<JobState> whole = std::nullopt) {
        return runs_.update(plan_.name, [&](std::optional<PlanRun>& run) -> Result<void> {
            if (!run || run->id != id_ || run->holder != self_) {
                return fail(Errc::transition_refused, "the plan is run by somebody else now");
            }
            if (StepRun* found = run->find(step)) {
                found->state = state;
                found->detail = cut(detail);
                found->ended = context_.clock.wall();
            }
            run->updated = context_.clock.wall();
            run->state = whole.value_or(run->state);
            return {};
        });
    }

    // Whether the step finds a disk of its own, and may replace it. A disk gets its name when it is
    // whole, while the try that brings it back is alive: what was there before, and what was
    // touched after, is somebody's, as a device always is. Errors: file_exists; why it cannot be
    // known.
    Result<bool> finds_its_own(const PlanStep& step, const StepRun& before) {
        if (step.kind != StepKind::failover || step.force) {
            return false;
        }
        bool found = false;
        CW_TRY_ASSIGN(const auto places, context_.places(step));
        for (const std::string& path : places) {
            bool device = false;
            const auto at = touched(path, device);
            if (!at) {
                continue;
            }
            // One that was killed has left its last sign of life, not its end.
            const std::int64_t late_us = before.state == StepState::running ? last_words_us : 0;
            if (before.state == StepState::pending || device ||
                raw(*at) > raw(before.ended) + late_us) {
                return fail(Errc::file_exists,
                            path +
                                " is not what this run of the plan brought back: move it away, "
                                "name another output, or let the step say force = true");
            }
            found = true;
        }
        return found;
    }

    Result<std::string> execute(const PlanStep& step, bool replace) {
        std::vector<std::string> argv = step.command;
        if (step.kind == StepKind::failover) {
            argv.insert(argv.begin(), {context_.program, "--config", context_.config_path});
            if (step.force || replace) {
                argv.emplace_back("--force");
            }
        }
        Nanos noted = context_.clock.boot();
        CommandLimits limits;
        limits.timeout_ns = step.timeout_ns;
        limits.cancelled = [&] {
            if (asked_to_stop()) {
                return true;
            }
            if (context_.clock.boot() - noted > job_note_pause_ns) {
                noted = context_.clock.boot();
                return !mark(step.name, StepState::running, "").has_value();
            }
            return false;
        };
        CW_TRY_ASSIGN(const CommandResult result, run_command(argv, context_.clock, limits));
        if (result.exit_code != 0) {
            const bool refused = step.kind == StepKind::failover &&
                                 result.exit_code == exit_code_of(Errc::file_exists);
            return fail(refused ? Errc::transition_refused : Errc::plan_failed,
                        "ended with " + std::to_string(result.exit_code) + ": " +
                            cut(one_line(result.output)));
        }
        return cut(one_line(result.output));
    }

    [[nodiscard]] bool asked_to_stop() const { return context_.cancelled && context_.cancelled(); }

    // The step stays as one that is running: the next run begins it again.
    Result<void> interrupted(const std::string& step) {
        CW_TRY(mark(step, StepState::running, "interrupted", JobState::interrupted));
        return fail(Errc::cancelled, "in step " + step +
                                         "; the plan goes on with it, from its "
                                         "beginning, when it is run again");
    }

    // A step that was begun before stays as that try left it, with the time of its end.
    Result<void> not_begun(const PlanStep& step, const StepRun& before, const Error& why) {
        const bool new_one = before.state == StepState::pending;
        CW_TRY(
            mark(new_one ? step.name : "", StepState::pending, to_string(why), JobState::failed));
        context_.told(step, StepState::failed, to_string(why));
        return fail(Errc::plan_failed, "step " + step.name + " of group " + step.group +
                                           " was not begun: " + to_string(why));
    }

    // Between two steps.
    Result<void> stop_if_asked(const PlanStep& next) {
        if (!asked_to_stop()) {
            return {};
        }
        CW_TRY(mark("", StepState::pending, "", JobState::interrupted));
        return fail(Errc::cancelled, "before step " + next.name);
    }

    Result<void> step(const PlanStep& step, const StepRun& before,
                      const std::vector<std::string>& confirmed) {
        if (step.kind == StepKind::manual) {
            if (std::ranges::find(confirmed, step.name) == confirmed.end()) {
                CW_TRY(mark(step.name, StepState::pending, step.text, JobState::waiting));
                return fail(Errc::transition_refused,
                            "manual step " + step.name + ": " + step.text +
                                "; when it is done, run the plan again with --confirm \"" +
                                step.name + "\"");
            }
            CW_TRY(mark(step.name, StepState::done, "confirmed"));
            context_.told(step, StepState::done, "confirmed");
            return {};
        }
        const auto replace = finds_its_own(step, before);
        if (!replace) {
            return not_begun(step, before, replace.error());
        }
        CW_TRY(mark(step.name, StepState::running, ""));
        context_.told(step, StepState::running,
                      before.state == StepState::running ? "again: it was interrupted" : "");
        const auto done = execute(step, *replace);
        if (!done && done.error().code == Errc::cancelled && asked_to_stop()) {
            return interrupted(step.name);
        }
        if (!done) {
            const std::string& why = done.error().detail;
            // A refused one has begun nothing: what it found there is not its own, next time
            // either.
            const bool refused = done.error().code == Errc::transition_refused;
            CW_TRY(mark(step.name, refused ? StepState::pending : StepState::failed, why,
                        JobState::failed));
            context_.told(step, StepState::failed, why);
            return fail(Errc::plan_failed,
                        "step " + step.name + " of group " + step.group + ": " + why);
        }
        CW_TRY(mark(step.name, StepState::done, *done));
        context_.told(step, StepState::done, *done);
        return {};
    }

private:
    const Plan& plan_;
    PlanRuns& runs_;
    const PlanContext& context_;
    JobId id_;
    JobHolder self_ = this_holder();
};

// Errors: transition_refused, naming the first step that its machine's state forbids.
Result<void> check_states(const std::vector<const PlanStep*>& steps, const PlanContext& context) {
    CW_TRY_ASSIGN(const auto refused,
                  refused_steps(steps, context.machines, context.random, context.clock.wall()));
    if (refused.empty()) {
        return {};
    }
    const RefusedStep& first = refused.front();
    return fail(first.why.code, "step " + first.step->name + " of group " + first.step->group +
                                    ": " + first.why.detail + ". Nothing was begun");
}

}  // namespace

const StepRun* PlanRun::find(std::string_view step) const noexcept {
    const auto found = std::ranges::find(steps, step, &StepRun::name);
    return found == steps.end() ? nullptr : &*found;
}

StepRun* PlanRun::find(std::string_view step) noexcept {
    const auto found = std::ranges::find(steps, step, &StepRun::name);
    return found == steps.end() ? nullptr : &*found;
}

std::string_view name_of(StepState state) noexcept {
    switch (state) {
        case StepState::pending:
            return "pending";
        case StepState::running:
            return "running";
        case StepState::done:
            return "done";
        case StepState::failed:
            return "failed";
    }
    return "";
}

ByteVector encode_plan_run(const PlanRun& run) {
    CW_ASSERT(run.steps.size() <= plan_steps_max);
    ByteVector bytes;
    ByteAppender out(bytes);
    out.u16(format_version);
    out.u64(run.revision);
    out.text16(cut(run.name));
    out.bytes(run.id.bytes);
    out.u8(raw(run.state));
    out.bytes(run.plan);
    out.bytes(run.holder.host);
    out.u64(run.holder.pid);
    out.u64(run.holder.started);
    out.text16(cut(run.holder.host_name));
    out.u64(static_cast<std::uint64_t>(raw(run.started)));
    out.u64(static_cast<std::uint64_t>(raw(run.updated)));
    out.u16(static_cast<std::uint16_t>(run.steps.size()));
    for (const StepRun& step : run.steps) {
        out.text16(cut(step.name));
        out.u8(raw(step.state));
        out.u64(static_cast<std::uint64_t>(raw(step.ended)));
        out.text16(cut(step.detail));
    }
    return bytes;
}

Result<PlanRun> decode_plan_run(Bytes payload) {
    ByteReader in(payload, Errc::object_corrupt);
    CW_TRY_ASSIGN(const std::uint16_t version, in.u16());
    if (version != format_version) {
        return fail(Errc::format_unsupported, "plan run version " + std::to_string(version));
    }
    PlanRun run;
    CW_TRY_ASSIGN(run.revision, in.u64());
    CW_TRY_ASSIGN(run.name, in.text16(text_max));
    CW_TRY_ASSIGN(run.id.bytes, in.array<16>());
    CW_TRY_ASSIGN(const std::uint8_t state, in.u8());
    CW_TRY_ASSIGN(run.plan, in.array<32>());
    CW_TRY_ASSIGN(run.holder.host, in.array<16>());
    CW_TRY_ASSIGN(run.holder.pid, in.u64());
    CW_TRY_ASSIGN(run.holder.started, in.u64());
    CW_TRY_ASSIGN(run.holder.host_name, in.text16(text_max));
    CW_TRY_ASSIGN(const std::uint64_t started, in.u64());
    CW_TRY_ASSIGN(const std::uint64_t updated, in.u64());
    CW_TRY_ASSIGN(const std::uint16_t count, in.u16());
    if (count > plan_steps_max || state < raw(JobState::running) ||
        state > raw(JobState::interrupted)) {
        return fail(Errc::object_corrupt, "a plan's run with impossible numbers");
    }
    run.state = JobState{state};
    run.started = WallMicros{static_cast<std::int64_t>(started)};
    run.updated = WallMicros{static_cast<std::int64_t>(updated)};
    for (std::uint16_t i = 0; i < count; ++i) {
        StepRun step;
        CW_TRY_ASSIGN(step.name, in.text16(text_max));
        CW_TRY_ASSIGN(const std::uint8_t step_state, in.u8());
        CW_TRY_ASSIGN(const std::uint64_t ended, in.u64());
        CW_TRY_ASSIGN(step.detail, in.text16(text_max));
        if (step_state < raw(StepState::pending) || step_state > raw(StepState::failed)) {
            return fail(Errc::object_corrupt, "a plan's step in no state");
        }
        step.state = StepState{step_state};
        step.ended = WallMicros{static_cast<std::int64_t>(ended)};
        run.steps.push_back(std::move(step));
    }
    if (!in.at_end()) {
        return fail(Errc::object_corrupt, "a plan's run has the wrong length");
    }
    return run;
}

Result<std::optional<PlanRun>> PlanRuns::load(const std::string& plan) {
    CW_TRY_ASSIGN(const StoredRecord stored,
                  read_record(store_, vault_, RecordKind::plan, blob_of(plan), subject_of(plan)));
    if (stored.etag.empty()) {
        return std::nullopt;
    }
    return decode_plan_run(stored.payload);
}

Result<std::vector<PlanRun>> PlanRuns::all() {
    CW_TRY_ASSIGN(const auto entries,
                  blob::list_all(store_, blob::Container::control, std::string(plans_prefix)));
    std::vector<PlanRun> runs;
    for (const auto& entry : entries) {
        const auto bytes = from_hex(entry.name.substr(plans_prefix.size()));
        RecordSubject subject{};
        if (!bytes || bytes->size() != subject.size()) {
            continue;  // Not one of ours.
        }
        std::ranges::copy(*bytes, subject.begin());
        CW_TRY_ASSIGN(const StoredRecord stored,
                      read_record(store_, vault_, RecordKind::plan,
                                  {blob::Container::control, entry.name}, subject));
        if (!stored.etag.empty()) {
            CW_TRY_ASSIGN(PlanRun run, decode_plan_run(stored.payload));
            runs.push_back(std::move(run));
        }
    }
    return runs;
}

Result<PlanRun> PlanRuns::update(
    const std::string& plan, const std::function<Result<void>(std::optional<PlanRun>&)>& change) {
    CW_ASSERT(signer_.has_value());
    for (unsigned attempt = 0; attempt < attempts_max; ++attempt) {
        CW_TRY_ASSIGN(const StoredRecord stored, read_record(store_, vault_, RecordKind::plan,
                                                             blob_of(plan), subject_of(plan)));
        std::optional<PlanRun> run;
        if (!stored.etag.empty()) {
            CW_TRY_ASSIGN(run, decode_plan_run(stored.payload));
        }
        CW_TRY(change(run));
        CW_ASSERT(run.has_value());
        ++run->revision;
        CW_TRY_ASSIGN(const bool done, write_record(store_, blob_of(plan),
                                                    seal_record(RecordKind::plan, subject_of(plan),
                                                                *signer_, encode_plan_run(*run)),
                                                    stored.etag));
        if (done) {
            return *run;
        }
    }
    return fail(Errc::transition_refused, "the plan's run is being changed by others; try again");
}

Result<void> take_plan_run(std::optional<PlanRun>& run, const Plan& plan, const PlanRun& fresh,
                           bool restart) {
    if (run && run->id == fresh.id) {
        return {};  // Taken already; the answer was lost.
    }
    if (run && run->state == JobState::running && alive(*run, fresh.holder, fresh.started)) {
        return fail(Errc::transition_refused, "the plan runs already: process " +
                                                  std::to_string(run->holder.pid) + " on " +
                                                  run->holder.host_name);
    }
    const bool unfinished = run && run->state != JobState::succeeded;
    if (unfinished && !restart && run->plan != plan.hash) {
        return fail(Errc::transition_refused,
                    "an unfinished run was begun with another version of this file: bring that "
                    "back, or give the run up with --restart");
    }
    PlanRun next = fresh;
    next.revision = run ? run->revision : 0;
    if (unfinished && !restart) {
        next.steps = run->steps;
        next.started = run->started;
    }
    run = std::move(next);
    return {};
}

Result<PlanRun> run_plan(const Plan& plan, PlanRuns& runs, const PlanContext& context,
                         const std::vector<std::string>& confirmed, bool restart) {
    PlanRun fresh;
    fresh.id = make_id<JobId>(context.random);
    fresh.name = plan.name;
    fresh.plan = plan.hash;
    fresh.holder = this_holder();
    fresh.started = fresh.updated = context.clock.wall();
    for (const PlanStep& step : plan.steps) {
        fresh.steps.push_back({.name = step.name, .ended = {}, .detail = {}});
    }
    CW_TRY_ASSIGN(PlanRun run,
                  runs.update(plan.name, [&](std::optional<PlanRun>& stored) -> Result<void> {
                      CW_TRY(take_plan_run(stored, plan, fresh, restart));
                      return check_states(steps_to_do(plan, stored), context);
                  }));
    Runner runner(plan, runs, context, run.id);
    for (const PlanStep& step : plan.steps) {
        const StepRun* before = run.find(step.name);
        CW_ASSERT(before != nullptr);  // The file is the one that the run was begun with.
        if (before->state != StepState::done) {
            CW_TRY(runner.stop_if_asked(step));
            CW_TRY(runner.step(step, *before, confirmed));
        }
    }
    return runner.mark("", StepState::done, "", JobState::succeeded);
}

}  // namespace cw::appliance
