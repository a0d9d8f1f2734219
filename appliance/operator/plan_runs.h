// PlanRuns: how far each plan's run is, as a record in the vault, so that it goes on where it was,
// by whoever has the file and the key. Format: appliance/operator/RECORDS.md.
//
// Blocking. Thread-safety: none; belongs to the store's thread. Lifetime: the store outlives it.
#pragma once

#include "appliance/operator/jobs.h"
#include "appliance/operator/plan.h"

#include <functional>
#include <optional>

namespace cw::appliance {

enum class StepState : std::uint8_t { pending = 1, running = 2, done = 3, failed = 4 };
std::string_view name_of(StepState state) noexcept;

inline constexpr std::size_t plan_text_max = 1024;  // Of longer texts the end is stored.
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
// One word that is the same for every try of this run, and of no other run.
std::string name_of_tries(const PlanRun& run);
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

}  // namespace cw::appliance
