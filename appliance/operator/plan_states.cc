#include "appliance/operator/plan_states.h"

#include "base/assert.h"

#include <map>

namespace cw::appliance {
namespace {

// Takes the step on a copy of the record, as if it came to its end. Errors: those of begin_job.
Result<void> take_step(MachineRecord& record, const JobHolder& self, Random& random,
                       WallMicros now) {
    Job job;
    job.id = make_id<JobId>(random);
    job.verb = Verb::failover;
    job.holder = self;
    job.started = job.updated = now;
    CW_TRY(begin_job(record, job, [&](const Job& other) { return job_alive(other, self, now); }));
    JobEnd end;
    end.at = now;
    const auto ended = end_job(record, job.id, end);
    CW_ASSERT(ended.has_value());  // Nobody else works on the copy.
    return {};
}

}  // namespace

bool goes_on(const Plan& plan, const std::optional<PlanRun>& earlier) {
    return earlier && earlier->state != JobState::succeeded && earlier->plan == plan.hash;
}

std::vector<const PlanStep*> steps_to_do(const Plan& plan, const std::optional<PlanRun>& earlier) {
    const bool unfinished = goes_on(plan, earlier);
    std::vector<const PlanStep*> steps;
    for (const PlanStep& step : plan.steps) {
        const StepRun* seen = unfinished ? earlier->find(step.name) : nullptr;
        if (seen == nullptr || seen->state != StepState::done) {
            steps.push_back(&step);
        }
    }
    return steps;
}

Result<std::vector<RefusedStep>> refused_steps(const std::vector<const PlanStep*>& steps,
                                               MachineRecords& machines, Random& random,
                                               WallMicros now) {
    const JobHolder self = this_holder();
    std::map<std::string, MachineRecord> records;
    std::vector<RefusedStep> refused;
    for (const PlanStep* step : steps) {
        if (step->kind != StepKind::failover) {
            continue;
        }
        const std::string& machine = step->command.at(1);
        auto found = records.find(machine);
        if (found == records.end()) {
            CW_TRY_ASSIGN(const MachineId id, parse_id<MachineId>(machine));
            CW_TRY_ASSIGN(MachineRecord record, machines.load(id));
            found = records.emplace(machine, std::move(record)).first;
        }
        if (const auto taken = take_step(found->second, self, random, now); !taken) {
            refused.push_back({step, taken.error()});
            refused.back().why.detail = "machine " + machine + ": " + taken.error().detail +
                                        "; see causeway machines " + machine;
        }
    }
    return refused;
}

}  // namespace cw::appliance
