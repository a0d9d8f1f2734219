// Recovery plans: what to do on the bad day, in which order, written down while there is time. A
// plan is a TOML file (docs/operations.md); its run is a record in the vault, so that it goes on
// where it was, by whoever has the file and the key.
#pragma once

#include "appliance/operator/jobs.h"

#include <map>

namespace cw::appliance {

enum class StepKind : std::uint8_t { failover, script, manual };

struct PlanStep {
    std::string group, name;  // The name is unique in the plan.
    StepKind kind{};
    std::vector<std::string> command;  // failover: arguments of `causeway`; script: the program's.
    bool force = false;                // failover: it replaces what is there.
    std::string text;                  // manual: what a person is to do.
    std::int64_t timeout_ns = 0;
};

struct Plan {
    std::string name;
    std::vector<PlanStep> steps;  // In order.
    Sha256 hash{};                // Of the file.
};
inline constexpr std::size_t plan_steps_max = 256, plan_bytes_max = 256 * 1024;

// Errors: config_invalid, naming line or step.
Result<Plan> parse_plan(std::string_view toml, std::string_view file_name);

enum class StepState : std::uint8_t { pending = 1, running = 2, done = 3, failed = 4 };
std::string_view name_of(StepState state) noexcept;

struct StepRun {
    std::string name;
    StepState state = StepState::pending;
    WallMicros ended{};
    std::string detail;
};

struct PlanRun {
    std::uint64_t revision = 0;
    std::string name;  // The plan's.
    JobId id;
    JobState state = JobState::running;
    Sha256 plan{};  // Of the file it was begun with.
    JobHolder holder;
    WallMicros started{}, updated{};
    std::vector<StepRun> steps;

    [[nodiscard]] const StepRun* find(std::string_view step) const noexcept;
    [[nodiscard]] StepRun* find(std::string_view step) noexcept;
};
ByteVector encode_plan_run(const PlanRun& run);
// Errors: object_corrupt, format_unsupported.
Result<PlanRun> decode_plan_run(Bytes payload);

// Runs of plans in the vault, control/plans/<first half of SHA-256(name)>. As MachineRecords.
class PlanRuns {
public:
    PlanRuns(blob::BlobStore& store, const vault::VaultIdentity& vault,
             std::optional<vault::ServerSigner> signer = std::nullopt)
        : store_(store), vault_(vault), signer_(std::move(signer)) {}
    // nullopt: it was never run.
    Result<std::optional<PlanRun>> load(const std::string& plan);
    // Of every plan that was ever run.
    Result<std::vector<PlanRun>> all();
    Result<PlanRun> update(const std::string& plan,
                           const std::function<Result<void>(std::optional<PlanRun>&)>& change);

private:
    blob::BlobStore& store_;
    vault::VaultIdentity vault_;
    std::optional<vault::ServerSigner> signer_;
};

// Takes the plan's run for this process: a new one, or an unfinished one with its finished steps.
// Errors: transition_refused (it runs elsewhere; it was begun with another file and not `restart`).
Result<void> take_plan_run(std::optional<PlanRun>& run, const Plan& plan, const PlanRun& fresh,
                           bool restart);

struct PlanContext {
    Clock& clock;
    Random& random;
    MachineRecords& machines;          // Read only.
    std::string program, config_path;  // Of `causeway` itself, for failover steps.
    std::function<void(const PlanStep&, StepState, const std::string&)> told;
    // The files and devices that a failover step would write; an error: they cannot be known now.
    std::function<Result<std::vector<std::string>>(const PlanStep&)> places;
    std::function<bool()> cancelled = {};  // Asked often.
};
// Runs what is not done yet. `confirmed`: manual steps that a person has done.
// A step that was interrupted, by `cancelled` or because its runner was killed, is run again. What
// a failover finds in its place stays there and ends the run, unless an earlier try of this run
// brought it back and nobody has touched it since.
// Errors: plan_failed naming the step; transition_refused (a manual step waits; it runs elsewhere;
// before anything is begun or noted: a machine is in no state for its step); cancelled.
Result<PlanRun> run_plan(const Plan& plan, PlanRuns& runs, const PlanContext& context,
                         const std::vector<std::string>& confirmed, bool restart);

}  // namespace cw::appliance
