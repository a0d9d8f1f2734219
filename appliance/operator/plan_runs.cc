#include "appliance/operator/plan_runs.h"

#include "base/assert.h"

#include <algorithm>

namespace cw::appliance {
namespace {

constexpr std::string_view plans_prefix = "plans/";
constexpr std::uint16_t format_version = 1;
constexpr unsigned attempts_max = 16;

// The last words say most.
std::string cut(const std::string& text) {
    return text.size() > plan_text_max ? text.substr(text.size() - plan_text_max) : text;
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
    CW_TRY_ASSIGN(run.name, in.text16(plan_text_max));
    CW_TRY_ASSIGN(run.id.bytes, in.array<16>());
    CW_TRY_ASSIGN(const std::uint8_t state, in.u8());
    CW_TRY_ASSIGN(run.plan, in.array<32>());
    CW_TRY_ASSIGN(run.holder.host, in.array<16>());
    CW_TRY_ASSIGN(run.holder.pid, in.u64());
    CW_TRY_ASSIGN(run.holder.started, in.u64());
    CW_TRY_ASSIGN(run.holder.host_name, in.text16(plan_text_max));
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
        CW_TRY_ASSIGN(step.name, in.text16(plan_text_max));
        CW_TRY_ASSIGN(const std::uint8_t step_state, in.u8());
        CW_TRY_ASSIGN(const std::uint64_t ended, in.u64());
        CW_TRY_ASSIGN(step.detail, in.text16(plan_text_max));
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
        std::copy(bytes->begin(), bytes->end(), subject.begin());
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

std::string name_of_tries(const PlanRun& run) {
    constexpr std::size_t hash_bytes = 8;
    return to_hex(Bytes(run.plan).first(hash_bytes)) + "-" + std::to_string(raw(run.started));
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

}  // namespace cw::appliance
