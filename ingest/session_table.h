// SessionTable: which session of each machine is the living one, across all reactors.
//
// The newest authenticated session fences the older one: the older one's flag is set before admit()
// returns, so nothing it still receives is taken for the machine's stream. Two agents that use one
// identity by turns (a cloned VM) are recognised by boot counters that come back after another one
// had displaced them; after more than three such returns the identity is refused until it has been
// quiet for ten minutes or is forgiven, and its condition stands as long.
//
// Thread-safety: all functions, by one mutex; Fence is lock-free. Not on the path of payload.
#pragma once

#include "base/clock.h"
#include "base/conditions.h"
#include "base/error.h"
#include "base/ids.h"
#include "base/random.h"
#include "ingest/stream_memory.h"

#include <atomic>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <utility>
#include <vector>

namespace cw::ingest {

// Set once, when a newer session has taken over. Shared by the table and the session it stops.
using Fence = std::shared_ptr<std::atomic<bool>>;

struct Admission {
    SessionId session{};
    Fence fenced;
    // Shared by the table and the machine's sessions, which follow each other.
    std::shared_ptr<StreamMemory> memory;
};

class SessionTable {
public:
    // The first session number is random, so that numbers of an earlier run do not come back.
    SessionTable(Clock& clock, Random& random, Conditions& conditions);

    // Registers the newest session of `machine`. Errors: identity_refused (identity clash).
    Result<Admission> admit(const MachineId& machine, std::uint64_t boot_counter);
    // The session has ended. A session that was fenced before has nothing to leave.
    void leave(const MachineId& machine, SessionId session);
    // Ends the machine's live session, if any, within a tick: it was revoked or moved away. What it
    // still sends is dropped at once. Whether it may come back is Authorise's business.
    void end_session(const MachineId& machine);
    enum class Attempt { welcome, clashing, too_often };
    // A connection of `machine` asks to replicate. Bounds how often one identity may try:
    // `attempts_burst` at once, one more per second.
    [[nodiscard]] Attempt attempt(const MachineId& machine, double attempts_burst);
    // An operator has sorted it out.
    void forgive(const MachineId& machine);
    // About once a second: ends the clashes that nobody has kept alive for ten minutes.
    void tick();
    [[nodiscard]] std::size_t live_count() const;

    // A stream whose sequences came with two contents: refused, and seen by people, until its disk
    // begins a new generation, which takes an agent that was started anew by hand.
    struct Quarantine {
        MachineId machine;
        DiskId disk;
        Generation generation{};
        std::string why;
        friend bool operator==(const Quarantine&, const Quarantine&) = default;
    };
    void quarantine(Quarantine what);
    // A session of the machine begins with this disk in a generation that is not quarantined.
    void end_quarantine(const MachineId& machine, const DiskId& disk);
    // An agent of the machine was refused for its state (state_superseded): seen by people until
    // one is taken, or the operator forgives the machine; raised again when the agent asks again.
    void refused_state(const MachineId& machine, const std::string& why);
    void took_state(const MachineId& machine);
    // Of all machines, for whoever keeps them over a restart (quarantine_file.h).
    [[nodiscard]] std::vector<Quarantine> quarantines() const;

private:
    struct Entry {
        SessionId session{};
        Fence fenced;  // Null: no live session.
        std::shared_ptr<StreamMemory> memory = std::make_shared<StreamMemory>();
        std::deque<std::uint64_t> boots;  // Seen lately, newest last; at most boots_max.
        unsigned returns = 0;
        Nanos last_return{};
        Nanos last_attempt{};
        bool clash = false;
        double spent = 0;  // Attempts lately, forgotten at one per second.
        Nanos spent_at{};
    };

    Result<void> note_boot(const MachineId& machine, Entry& entry, std::uint64_t boot);
    // The machine's entry, its clash forgotten if it kept quiet long enough before this attempt.
    Entry& attempted(const MachineId& machine, Nanos now);
    void end_clash(const MachineId& machine, Entry& entry);
    void drop_idle_entries(Nanos now);
    void remember_quarantines(const MachineId& machine, StreamMemory& memory) const;

    Clock& clock_;
    Conditions& conditions_;
    mutable std::mutex mutex_;
    std::unordered_map<MachineId, Entry> entries_;
    std::map<std::pair<MachineId, DiskId>, Quarantine> quarantined_;
    std::size_t live_ = 0;
    std::size_t clashes_ = 0;  // Entries with a clash.
    std::uint32_t last_session_;
};

}  // namespace cw::ingest
