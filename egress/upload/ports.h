// Ports: what the upload room asks of others and tells others, as plain values and two interfaces.
// appliance connects them; a simulator implements them directly.
#pragma once

#include "egress/vault/manifest.h"
#include "pipeline/messages.h"
#include "pipeline/record.h"

#include <functional>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace cw::upload {

// Reads payloads back that were dropped from memory. Same contract as cache::SpoolReader, to which
// appliance connects it: `done` runs inside poll(), never inside read(); the table is filled by the
// reader, the slabs (slab_count() of them) were provided by the caller; `record` stays in place
// until `done`. Used by the assembly stage's thread only.
class RecordReader {
public:
    virtual ~RecordReader() = default;
    // Errors: record_corrupt (the record is damaged on the device), io_error.
    virtual void read(pipeline::Lsn lsn, pipeline::Record& record,
                      std::function<void(Result<void>)> done) = 0;
    virtual std::size_t poll() = 0;
    [[nodiscard]] virtual std::size_t in_flight() const noexcept = 0;
    // Readable when poll() has work (the Disk's event_fd), or -1: then the stage polls every
    // millisecond while a read is in flight.
    [[nodiscard]] virtual int event_fd() const { return -1; }
};

// Acknowledged data that cannot be read back (it fails its checksums on the device, or memory broke
// it). The disk publishes nothing more until its agent has repaired it: appliance ends the
// machine's session, so that the next HELLO is answered with catch_up (or resync).
struct DamagedRecords {
    pipeline::StreamKey key;
    Seq first{}, last{};  // Sequences that will not be committed by writes.
    std::string evidence;
    Seq sound{};  // Up to here the disk is published all the same.
};

// Another server owns the machine, or it had to be given up: nothing more of it is published here.
// Its session must end, so that an agent that still means this server says HELLO again (which
// claims a new epoch, or is refused).
struct FencedMachine {
    MachineId machine;
    std::uint32_t reactor = 0;
    Error why;
};

// What the engine tells others. Never waits. False means full: the value is untouched and offered
// again later (ring the caller's doorbell when there is room). `reactor` is that of the machine's
// newest OpenMachine.
class EngineSink {
public:
    virtual ~EngineSink() = default;
    // The publisher's thread:
    virtual bool opened(pipeline::MachineOpened& opened) = 0;
    virtual bool committed(std::uint32_t reactor, pipeline::Committed& committed) = 0;
    virtual bool damaged(DamagedRecords& damaged) = 0;
    virtual bool fenced(FencedMachine& /*fenced*/) { return true; }  // By default: ignored.
    // The assembly stage's thread:
    virtual bool release(pipeline::Release& release) = 0;
    // A session waits for room in the cache, now.
    [[nodiscard]] virtual bool room_is_wanted() const { return false; }
};

// What the spool holds of one history of the machine that is opened (cache::StreamState).
struct StreamWatermark {
    pipeline::StreamKey key;
    Seq durable{};
    Seq fence{};                               // Open fence, 0: none.
    std::vector<std::uint32_t> base_ordinals;  // Super-chunks durable beneath it.
    bool base_lost = false;  // Others may be lost that were acknowledged: it must begin anew.
};

// --- Commands (Engine::post) ---

// A machine said HELLO. Its watermarks are those of the spool at this moment; ingest appends
// nothing for the machine between the snapshot and MachineOpened.
struct OpenCommand {
    pipeline::OpenMachine open;
    std::vector<StreamWatermark> streams;
    vault::ChainWitness server_witness;  // What this server remembers itself; number 0: nothing.
};
// After a restart: upload what the spool still holds of a machine, without waiting for its agent
// (its site may be the disaster). Opens only a chain that this server wrote last; otherwise the
// machine stays in quarantine until its agent comes or an operator decides.
struct RecoverCommand {
    MachineId machine;
    vault::ChainWitness server_witness;
};
// Retention's decision: the points are pruned, `dropped` segments are declared dead, `added` are
// their compacted replacements (already stored). `decided_at` is the manifest the decision was made
// on: every chunk that a point not in `points`, or the newest state as of that manifest, can see
// lies in a segment not in `dropped` or in `added`. Generations that nothing reaches any more are
// dropped by the publisher itself. Refused (logged, no effect) unless all it names exists.
struct PruneCommand {
    MachineId machine;
    std::uint64_t decided_at = 0;
    std::vector<PointId> points;
    std::vector<vault::SegmentName> dropped;
    std::vector<vault::SegmentRef> added;
};
// Seals and publishes what is there now, whatever its size: before a move, for a barrier.
struct FlushCommand {
    MachineId machine;
};
// Lets go of a machine: no more publishing, its uncommitted records stay in the spool unreleased.
// For `move` (after a flush was committed) and for shutting one machine down.
struct CloseCommand {
    MachineId machine;
};
// An operator's word on a fenced or closed machine, or on one that waits for its agent to repair
// damage, which is closed then: its uncommitted records are released. (Without it they stay until
// the agent comes back: its HELLO claims a new epoch, and what is still beyond committed continues
// the agent's one history.)
struct DiscardQuarantineCommand {
    MachineId machine;
};
// The data encryption key of the machine is replaced for new segments.
struct RotateDekCommand {
    MachineId machine;
};

using Command = std::variant<OpenCommand, RecoverCommand, PruneCommand, FlushCommand, CloseCommand,
                             DiscardQuarantineCommand, RotateDekCommand>;

}  // namespace cw::upload
