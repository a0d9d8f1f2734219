#include "appliance/operator/plan_run.h"

#include "appliance/operator/own_files.h"
#include "appliance/operator/plan_states.h"
#include "appliance/operator/subprocess.h"
#include "base/assert.h"
#include "base/exit_code.h"

#include <algorithm>
#include <filesystem>
#include <optional>

namespace cw::appliance {

Result<void> check_replaceable(const PlanRun& run, const StepRun& before,
                               const MachineRecord& machine,
                               const std::vector<std::string>& paths) {
    const auto own = before.state == StepState::pending
                         ? MarkedFiles{}
                         : own_files(machine, name_of_tries(run), paths);
    for (const std::string& path : paths) {
        std::error_code ignored;
        if (!own.contains(path) && std::filesystem::exists(path, ignored)) {
            return fail(Errc::file_exists,
                        path +
                            " is not what this run of the plan brought back: move it away, "
                            "name another output, or let the step say force = true");
        }
    }
    return {};
}

namespace {

// One step of the run, as the operator's program sees it.
class Runner {
public:
    // `run`: as it was begun, or taken over.
    Runner(const Plan& plan, PlanRuns& runs, const PlanContext& context, const PlanRun& run)
        : plan_(plan), runs_(runs), context_(context), run_(run) {}

    Result<PlanRun> mark(const std::string& step, StepState state, const std::string& detail,
                         std::optional<JobState> whole = std::nullopt) {
        return runs_.update(plan_.name, [&](std::optional<PlanRun>& run) -> Result<void> {
            if (!run || run->id != run_.id || run->holder != self_) {
                return fail(Errc::transition_refused, "the plan is run by somebody else now");
            }
            if (StepRun* found = run->find(step)) {
                found->state = state;
                found->detail = detail;
                found->ended = context_.clock.wall();
            }
            run->updated = context_.clock.wall();
            run->state = whole.value_or(run->state);
            return {};
        });
    }

    Result<void> check_replaceable(const PlanStep& step, const StepRun& before) {
        if (step.kind != StepKind::failover || step.force) {
            return {};
        }
        CW_TRY_ASSIGN(const auto places, context_.places(step));
        CW_TRY_ASSIGN(const MachineId machine, parse_id<MachineId>(step.command.at(1)));
        CW_TRY_ASSIGN(const MachineRecord stored, context_.machines.load(machine));
        return appliance::check_replaceable(run_, before,
                                            as_it_stands(stored, context_.clock.wall()), places);
    }

    Result<std::string> execute(const PlanStep& step) {
        std::vector<std::string> argv = step.command;
        if (step.kind == StepKind::failover) {
            argv.insert(argv.begin(), {context_.program, "--config", context_.config_path});
            argv.insert(argv.end(), {"--plan-run", name_of_tries(run_)});
            if (step.force) {
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
                            last_words(result.output, plan_text_max));
        }
        return last_words(result.output, plan_text_max);
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
        if (const auto replaceable = check_replaceable(step, before); !replaceable) {
            return not_begun(step, before, replaceable.error());
        }
        CW_TRY(mark(step.name, StepState::running, ""));
        context_.told(step, StepState::running,
                      before.state == StepState::running ? "again: it was interrupted" : "");
        const auto done = execute(step);
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
    const PlanRun& run_;
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
    CW_TRY_ASSIGN(const PlanRun run,
                  runs.update(plan.name, [&](std::optional<PlanRun>& stored) -> Result<void> {
                      CW_TRY(take_plan_run(stored, plan, fresh, restart));
                      return check_states(steps_to_do(plan, stored), context);
                  }));
    Runner runner(plan, runs, context, run);
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
