// PolicyTable: how often each machine's agent shall make points, for the sessions to say (POLICY).
//
// Thread-safety: all functions; version() is lock-free, so that a session may look at each tick.
#pragma once

#include "base/ids.h"
#include "ingest/wire/messages.h"

#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>
#include <utility>

namespace cw::ingest {

class PolicyTable {
public:
    struct Policies {
        wire::Policy fallback;
        std::map<MachineId, wire::Policy> by_machine;
    };
    // Live sessions say what became different for them within a tick.
    void set(Policies policies) {
        const std::scoped_lock lock(mutex_);
        policies_ = std::move(policies);
        version_.fetch_add(1, std::memory_order_release);
    }
    // Grows with each set(). 0: nothing was set, agents go by their own defaults.
    [[nodiscard]] std::uint64_t version() const noexcept {
        return version_.load(std::memory_order_acquire);
    }
    [[nodiscard]] wire::Policy of(const MachineId& machine) const {
        const std::scoped_lock lock(mutex_);
        const auto found = policies_.by_machine.find(machine);
        return found == policies_.by_machine.end() ? policies_.fallback : found->second;
    }

private:
    mutable std::mutex mutex_;
    Policies policies_;
    std::atomic<std::uint64_t> version_{0};
};

}  // namespace cw::ingest
