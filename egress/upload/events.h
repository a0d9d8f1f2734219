// What assembly, publishing and opening say to each other. Internal to the room.
//
// A machine's history is a ledger of steps, numbered in assembly order within one opening
// (`Opening`): assembly creates them, the publisher folds the finished prefix into manifests,
// assembly forgets and releases what was committed.
#pragma once

#include "egress/upload/ports.h"
#include "egress/vault/manifest.h"
#include "pipeline/messages.h"
#include "pipeline/point.h"

#include <array>
#include <map>
#include <memory>
#include <optional>
#include <variant>
#include <vector>

namespace cw::upload {

// Which opening of a machine a message belongs to: late messages of an earlier one are dropped.
enum class Opening : std::uint64_t {};
enum class StepId : std::uint64_t {};  // From 1 within an opening.

enum class StepKind : std::uint8_t {
    segment,      // Writes of one disk, or BASE data of one fence.
    fence_begin,  // `seq` is the fence.
    fence_end,
    resize,
    generation,  // A new history of the disk begins; what follows of it carries `generation`.
    point,
    point_result,
};

// assembly → publisher: the next step of the machine's history.
struct Step {
    StepId id{};
    StepKind kind{};
    DiskId disk;
    Generation generation{};
    bool base = false;
    bool repairs = false;  // fence_begin: what was lost before it lies beneath it now.
    Seq seq{};             // The disk is committed through here once the step is; base: the fence.
    // resize: the new size. fence_begin, generation: as the record said, 0: it did not.
    std::uint64_t size_bytes = 0;
    std::vector<std::uint32_t> ordinals;  // base: super-chunks it holds.
    std::optional<pipeline::Point> point;
    std::optional<pipeline::PointResult> result;
    Nanos received{};   // When the (first) record arrived at this server,
    Nanos assembled{};  // and when it was sealed.
};

// When a finished segment passed which mark, for the RPO stages.
struct SegmentTimes {
    Nanos transformed{}, uploaded{};
};

// assembly → publisher: a segment step is in the store.
struct SegmentStored {
    StepId step{};
    vault::SegmentRef ref;
    Nanos put_started{};  // The object is not older than this.
    SegmentTimes times;
};
// assembly → publisher: a segment step can never be stored.
struct SegmentLost {
    StepId step{};
    DamagedRecords damage;
    bool repaired = false;  // A step behind it repairs it: its agent need not be asked.
};

struct AssemblyEvent {
    MachineId machine;
    Opening opening{};
    // DamagedRecords alone: a hole in what the cache delivered; no step is concerned.
    std::variant<Step, SegmentStored, SegmentLost, DamagedRecords> what;
};

// What assembly needs of an opened machine to build segments.
struct SegmentKeys {
    MachineId machine;
    Epoch epoch{};
    std::shared_ptr<const vault::Dek> dek;  // Shared: assembly and jobs under way.
    FingerprintSecret fingerprint_secret{};
};
struct DiskPosition {
    Generation generation{};
    Seq committed{};
    Seq fence{};
    ByteVector base_done;
};

// publisher → assembly
struct MachineReady {
    Opening opening{};
    std::shared_ptr<const SegmentKeys> keys;  // Shared: assembly and jobs under way.
    std::map<DiskId, DiskPosition> disks;
};
// Nothing more of this opening will be published. With `discard` its records are released.
struct MachineStopped {
    bool discard = false;
};
struct StepsCommitted {
    Opening opening{};
    StepId through{};
};
// The stored object must not be named (too old, or swept): upload the segment again.
struct StoreAgain {
    Opening opening{};
    StepId step{};
};
// The disk's agent was told, in this session, to repair what is damaged: here, or in the cache
// alone, as what lies beneath an open fence.
struct RepairAllowed {
    Opening opening{};
    DiskId disk;
    SessionId session{};
};
struct FlushNow {};
struct KeysChanged {
    Opening opening{};
    std::shared_ptr<const SegmentKeys> keys;
};

struct PublishEvent {
    MachineId machine;
    std::variant<MachineReady, MachineStopped, StepsCommitted, StoreAgain, RepairAllowed, FlushNow,
                 KeysChanged>
        what;
};

// Who writes a machine's chain from here on.
struct ChainClaim {
    std::shared_ptr<vault::MachineKeys> keys;  // The publisher's after opening.
    vault::ChainState state;                   // Newest is our takeover manifest.
    std::vector<std::uint64_t> checkpoints;    // vault::past_checkpoints()
};
// What an agent and what this server remember; number 0: nothing.
using Witnesses = std::array<vault::ChainWitness, 2>;

// publisher ⇄ opener
struct OpenTask {
    MachineId machine;
    std::string name;
    std::vector<pipeline::DiskHello> disks;  // Empty for a recovery.
    std::vector<DiskId> cached;              // Of these something may be published yet.
    Witnesses witnesses;                     // The chain must have them all.
    bool only_if_ours = false;
    bool only_look = false;  // Nothing is made or claimed; errc `cancelled`: it could be.
};
struct OpenOutcome {
    MachineId machine;
    Result<ChainClaim> claim;
};

}  // namespace cw::upload
