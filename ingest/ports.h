// The ports of one reactor: rings that appliance connects. Every ring has one producer and one
// consumer; the reactor is one of them, on its own thread.
//
// Whoever pushes into an inbound ring rings Reactor::doorbell() afterwards. A reactor that finds an
// outbound ring full holds what it has, stops reading that connection and tries again within
// milliseconds, so consumers need not tell it.
#pragma once

#include "base/checksum.h"
#include "base/ids.h"
#include "ingest/wire/messages.h"
#include "pipeline/messages.h"
#include "pipeline/record.h"
#include "pipeline/ring.h"

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace cw::ingest {

// ingest → whoever keeps the digests of the vault's blocks. Answered by one DigestReply.
struct DigestRequest {
    MachineId machine;
    DiskId disk;
    Generation generation{};
    Seq fence{};  // The open one: what lies beneath it is compared. 0: none.
    SessionId session{};
    std::uint32_t reactor = 0;  // Where the reply goes.
    std::uint16_t slot = 0;     // Comes back.
    std::uint64_t first_block = 0;
    std::uint32_t count = 0;  // 1..4096 blocks of 64 KiB
    bool summaries = false;   // Comes back: they are told as one entry for each super-chunk.
};
struct DigestReply {
    MachineId machine;
    SessionId session{};
    std::uint16_t slot = 0;
    std::uint64_t first_block = 0;
    std::vector<bool> known;                // `count` of them.
    std::vector<Fingerprint> fingerprints;  // One per known bit.
    bool summaries = false;
};

// ingest → status and health: what an agent says about itself. `closed` follows for every session
// that was asked to be opened; the others are dropped, oldest first, when nobody takes them.
struct AgentNotice {
    enum class Kind : std::uint8_t {
        connected,
        mode,
        extents,
        resync_required,
        resync_begin,
        resync_end,
        goodbye,
        closed
    };
    Kind kind{};
    MachineId machine;
    SessionId session{};
    std::string software{}, peer{};   // connected
    wire::ReplicationMode mode{};     // mode
    std::uint64_t backlog_bytes = 0;  // mode
    DiskId disk{};                    // extents, resync_…
    std::uint64_t unread_bytes = 0;   // extents, resync_required: missed
    std::uint32_t unread_ranges = 0;  // extents
    bool planned_failover = false;    // goodbye
    std::string reason{};             // mode, resync_…, closed; people's words: data
    std::string subject{};            // resync_…: machine and disk as they call themselves: data
    wire::ResyncKind resync{};        // resync_begin
};

// Null where nobody listens: `records`, `opens` and the first three inbound rings are required.
struct ReactorPorts {
    // Out. A record pushed here is followed, sooner or later, by a Spooled notice that accounts for
    // its payload bytes, also if the record was dropped as stale or duplicate.
    pipeline::Ring<pipeline::Record>* records = nullptr;
    pipeline::Ring<pipeline::OpenMachine>* opens = nullptr;
    pipeline::Ring<DigestRequest>* digest_requests = nullptr;
    pipeline::Ring<AgentNotice>* notices = nullptr;
    // In.
    pipeline::Ring<pipeline::MachineOpened>* opened = nullptr;
    pipeline::Ring<pipeline::Spooled>* spooled = nullptr;
    pipeline::Ring<pipeline::Committed>* committed = nullptr;
    pipeline::Ring<DigestReply>* digest_replies = nullptr;
    // Called after a round in which something was pushed; rings the consumers' doorbells.
    std::function<void()> wake_records, wake_opens, wake_digests, wake_notices;
};

}  // namespace cw::ingest
