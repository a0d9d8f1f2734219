// AdmissionGate: holds the writers of all disks of an agent while a barrier of a group stands, or
// while a point of its own waits for a writer to be done (standstill.h).
//
// It opens by itself: the first writer that still waits when the time is over opens it, whatever
// has become of the loop. Then the barrier did not hold, and open() says so.
// Thread-safety: pass() from any thread, the rest from the agent's loop.
#pragma once

#include "base/clock.h"
#include "base/net.h"

#include <atomic>
#include <mutex>

namespace cw::agent {

class AdmissionGate {
public:
    explicit AdmissionGate(Clock& clock);

    // Whoever takes a disk's order lock from now on waits in pass(), until `until` at the latest.
    // Open or broken before.
    void close(Nanos until);
    // True: since close() nobody has passed, and the time is not over.
    bool open();
    [[nodiscard]] bool closed() const noexcept { return state_.load() == State::closed; }
    // Of the last close().
    [[nodiscard]] Nanos until() const noexcept { return until_.load(); }
    // A writer, holding `lock` on its disk's order; let go of while it waits.
    void pass(std::unique_lock<std::mutex>& lock) {
        if (state_.load(std::memory_order_relaxed) == State::closed) {
            wait(lock);
        }
    }

private:
    enum class State : std::uint8_t { open, closed, broken };
    void wait(std::unique_lock<std::mutex>& lock);

    Clock& clock_;
    Fd opened_;  // eventfd; readable while it is open
    // Changed under no lock: a writer sees it through the order lock that close()'s caller takes
    // after it.
    std::atomic<State> state_{State::open};
    std::atomic<Nanos> until_{};
};

}  // namespace cw::agent
