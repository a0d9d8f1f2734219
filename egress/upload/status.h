// EngineStatus: what the engine looks like from outside, for the CLI, the console and the planner.
// A value; Engine::status() copies it under a short lock.
#pragma once

#include "base/clock.h"
#include "base/error.h"
#include "egress/vault/manifest.h"

#include <optional>
#include <string>
#include <vector>

namespace cw::upload {

// Of a thread that works with an object store.
struct SignOfLife {
    Nanos at{};             // When it last went into its store or came out of it.
    bool in_store = false;  // It is in there now: whoever is slow may be the store.
};
struct EngineSigns {
    SignOfLife publish, open;
    std::vector<SignOfLife> upload;  // Of each upload stage.
};

enum class MachineMode : std::uint8_t {
    waiting,  // Records are held; the machine has not been opened yet.
    opening,  // Its chain is being read and claimed.
    active,
    fenced,  // Another server owns it: nothing is published, the spool is in quarantine.
    closed,
};
std::string_view name_of(MachineMode mode) noexcept;

struct DiskStatus {
    DiskId disk;
    std::string name;
    std::uint64_t size_bytes = 0;
    Generation generation{};
    Seq assembled{}, committed{};
    bool protected_ = false;
    bool left_out = false;  // Its agent does not protect it any more; points may still hold it.
    Seq open_fence{};
    std::uint64_t base_done = 0, base_total = 0;  // Super-chunks while a fence is open.
    bool damaged = false;
};

// Where the newest committed point spent its time, seconds. `source` is from the barrier to its
// arrival here (agent and network; two clocks: for people only).
struct RpoStages {
    double source = 0, cache = 0, transform = 0, upload = 0, commit = 0;
};

struct MachineStatus {
    MachineId machine;
    std::string name;
    MachineMode mode = MachineMode::waiting;
    std::optional<Error> trouble;  // Why it is fenced or not publishing.
    std::uint64_t manifest_number = 0;
    Sha256 manifest_hash{};
    Epoch epoch{};
    std::vector<DiskStatus> disks;
    std::uint64_t points = 0;
    std::optional<vault::PointEntry> newest_point;
    std::optional<double> rpo_seconds;  // None: no point yet.
    RpoStages stages;
    std::uint64_t backlog_bytes = 0;  // Payload durable here and not committed.
    std::uint64_t backlog_records = 0;
    std::uint64_t uploaded_bytes = 0, coalesced_bytes = 0;
    std::uint32_t lanes_active = 0, lanes_waiting = 0;  // Segments on the wire; waiting for a lane.
};

struct EngineStatus {
    std::vector<MachineStatus> machines;
    std::uint64_t backlog_bytes = 0, backlog_records = 0;
    std::uint64_t bandwidth_limit = 0;  // Bytes per second now; 0: none.
    std::uint32_t connections_used = 0, connections_max = 0;
    std::size_t jobs_running = 0;
    bool drained = false;
};

}  // namespace cw::upload
