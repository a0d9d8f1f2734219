// A server that comes back with its disk still has what it called SPOOLED, or has it in the vault.
#pragma once

#include "tests/sim/oracles/watch.h"

#include <map>
#include <set>
#include <vector>

namespace cw::sim {

// What was done to the device of a cache since the process on it was started.
enum class DeviceState : std::uint8_t {
    whole,    // No more than it promises to survive.
    damaged,  // More: what is missing must be reported as lost, and is not asked for again.
    ended,    // Its last writes went astray: nothing there can tell that anything is missing.
};

class DurabilityOracle {
public:
    explicit DurabilityOracle(Complain complain) : complain_(std::move(complain)) {}

    // The cache of `server` is about to let sessions acknowledge this.
    void on_spooled(std::size_t server, const pipeline::Spooled& notice);
    // The vault holds it: the cache may forget.
    void on_committed(std::size_t server, const pipeline::Committed& committed);
    // The answer to a HELLO is on its way: never below what was told before. Here and not where the
    // session takes it: what is committed meanwhile follows it.
    void on_answered(std::size_t server, const pipeline::MachineOpened& opened);
    // A session is told where it stands; other generations of these disks are over.
    void on_opened(std::size_t server, const pipeline::MachineOpened& opened);
    // `copy` was made of what `original` has on its disk: it owes what that had acknowledged.
    void on_cloned(std::size_t original, std::size_t copy);
    // For good: what it had acknowledged is the agents' again, what was committed the vault's.
    void on_lost(std::size_t server);
    // An adversary has put chains back to what they were once: what a server commits from here on,
    // before an agent is heard, is less than what it had. That no agent is told so still holds.
    void on_taken_back() noexcept { taken_back_ = true; }
    // The process has come back.
    void on_recovered(std::size_t server, const cache::Spool& spool, DeviceState device);

    Looks recovered = 0, told_again = 0;  // Streams after a restart; disks in a WELCOME.

private:
    struct Acked {
        Seq seq{};
        Seq fence{};
        std::set<std::uint32_t> ordinals;  // Super-chunks beneath the fence.
    };
    using Key = std::pair<std::size_t, pipeline::StreamKey>;
    Complain complain_;
    bool taken_back_ = false;
    std::map<Key, Acked> acked_;
    std::map<pipeline::StreamKey, Seq> committed_;
    std::map<std::pair<MachineId, DiskId>, Generation> opened_;  // The newest, by any server.
    std::map<Key, Seq> told_;  // By the server itself: one that was fenced may know less than all.
};

}  // namespace cw::sim
