// Plain values that cross rooms through rings; appliance connects the rings. Nobody below appliance
// knows who is at the other end.
#pragma once

#include "base/checksum.h"
#include "base/ids.h"
#include "pipeline/point.h"
#include "pipeline/record.h"

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace cw::pipeline {

// ingest → control of the data path: a machine has said HELLO and its certificate was accepted.
struct DiskHello {
    DiskId disk;
    std::uint64_t size_bytes = 0;
    Generation generation{};
    Seq next_seq{};                  // The next sequence the agent would send.
    Seq oldest_held{};               // Oldest sequence it can still resend; next_seq if none.
    bool catch_up_possible = false;  // Its dirty maps cover everything not committed.
    std::string name;                // People's word; data.
};
struct OpenMachine {
    MachineId machine;
    SessionId session{};
    std::uint32_t reactor = 0;  // Where the reply goes.
    std::uint64_t token = 0;    // Chosen by the asker; comes back.
    std::string name;           // People's word; data.
    std::vector<DiskHello> disks;
    std::uint64_t witness_number = 0;  // Newest manifest the agent saw, 0: none
    Sha256 witness_hash{};
};

// What the agent must do with each disk.
enum class DiskAction : std::uint8_t {
    continue_ = 1,
    initial = 2,
    resync = 3,
    reject = 4,
    catch_up = 5
};
struct DiskWelcome {
    DiskId disk;
    Generation generation{};
    DiskAction action = DiskAction::reject;
    Seq durable{};             // Spooled here (>= committed).
    Seq committed{};           // Named by a committed manifest.
    bool resync_open = false;  // A fence is open: continue it from the bitmap.
    Seq fence{};
    ByteVector base_durable;  // Bitmap of super-chunk ordinals held under that fence.
    std::string reason;       // Why, for reject and resync. Shown to people.
    // With reject: the agent's whole state is from before another's took over, so the session is
    // refused with it (Errc::state_superseded).
    bool superseded = false;
};
enum class PointState : std::uint8_t { durable = 1, committed = 2, same_as = 3, dropped = 4 };
struct PointStatus {
    PointId id;
    PointState state = PointState::durable;
    std::uint64_t manifest_number = 0;  // committed, same_as
    std::string reason;                 // dropped
};

// control → ingest: the answer to OpenMachine.
struct MachineOpened {
    MachineId machine;
    SessionId session{};
    std::uint32_t reactor = 0;
    std::uint64_t token = 0;
    std::optional<Error> refused;
    std::vector<DiskWelcome> disks;
    FingerprintSecret fingerprint_secret{};
    std::uint64_t manifest_number = 0;
    Sha256 manifest_hash{};
    // What became of the machine's newest points, oldest first: the word of it may have been lost
    // with a connection, so it is said again after WELCOME.
    std::vector<PointStatus> points;
};

// cache → ingest: what became durable, cumulative per stream.
struct Spooled {
    StreamKey key;
    Seq durable{};  // Valid when seq advanced.
    SessionId session{};
    std::uint64_t bytes = 0;  // Payload bytes that left the in-flight account (credit).
    std::vector<std::uint32_t> base_ordinals;  // Newly durable super-chunks of `fence`.
    Seq fence{};
    std::vector<PointId> points;  // Points whose record is durable.
    std::optional<Seq> expected;  // A gap was met: re-send from here (NAK).
    Seq refused_fence{};          // BASE of it was not taken: the cache knows it as over.
};

// publisher → ingest (acks) and → cache (release).
struct Committed {
    MachineId machine;
    struct Disk {
        DiskId disk;
        Generation generation{};
        Seq committed{};
        Seq fence{};                               // Of the ordinals below.
        std::vector<std::uint32_t> base_ordinals;  // Newly committed super-chunks.
    };
    std::vector<Disk> disks;
    std::vector<PointStatus> points;
    std::uint64_t manifest_number = 0;
    Sha256 manifest_hash{};
};

// publisher → cache: these records are no longer needed.
struct Release {
    std::vector<Lsn> lsns;
};

}  // namespace cw::pipeline
