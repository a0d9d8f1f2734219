// NbdGuard: a process beside the agent that lets go of a mirror's connections when the agent stands
// still (SIGSTOP, a debugger, starved of CPU), so that the guest behind them goes on.
//
// A write-blocking mirror holds a guest's write until we answer. Whoever holds a descriptor of a
// connection can shut it down for everybody, so the guard holds copies: QEMU then sees what it sees
// when an agent dies, ends the mirror and lets the guest go on. It needs no monitor and no answer
// of ours. It judges by shared memory: a connection is owed an answer when its counter is odd or
// bytes lie unread in its socket; it is cut when it is owed one and neither its counter nor the
// agent's beat has moved for guard_looks looks in a row. A guest that writes to two disks in turn
// waits for both within a second: the second is cut at the first look that finds it owed. Looks are
// counted and not time, so that a machine that stalls as a whole is not mistaken for its agent.
//
// Thread-safety: none, except for the counters.
#pragma once

#include "base/clock.h"
#include "base/net.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

namespace cw::agent {

inline constexpr std::size_t guard_slots = 16;
inline constexpr int guard_look_ms = 125, guard_looks = 4;

// In memory shared by both processes.
struct GuardBoard {
    std::atomic<std::uint64_t> beat{0};
    std::array<std::atomic<std::uint64_t>, guard_slots> turns{};
};
static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

// One connection as the guard sees it.
class StandStill {
public:
    // True: it is to be cut.
    bool look(std::uint64_t beat, std::uint64_t turns, bool owed) noexcept {
        const bool moved = beat != beat_ || turns != turns_;
        beat_ = beat;
        turns_ = turns;
        looks_ = moved ? 0 : std::min(looks_ + 1, guard_looks);
        return owed && looks_ == guard_looks;
    }

private:
    std::uint64_t beat_ = UINT64_MAX, turns_ = 0;
    int looks_ = 0;
};

class NbdGuard {
public:
    // `program guard` is run_guard(). `listener`: not blocking; who has connected and was not
    // accepted is owed an answer too. A guard that cannot be started, or that dies, is started
    // again by beat(); meanwhile there is none, which is logged.
    NbdGuard(std::string program, int listener);
    ~NbdGuard();

    // To be called at least once per guard_look_ms.
    void beat();
    // Slots are the caller's to number. The socket must stay open until forget().
    void watch(std::size_t slot, int socket);
    void forget(std::size_t slot);
    // Odd while the peer waits for us; grows with all that we do for it.
    [[nodiscard]] std::atomic<std::uint64_t>& turns(std::size_t slot) noexcept {
        return board_->turns.at(slot);
    }
    [[nodiscard]] int pid() const noexcept { return pid_; }

private:
    void start();
    void end();
    bool tell(std::uint32_t what, std::uint32_t slot, int fd);

    const std::string program_;
    const int listener_;
    Fd memory_;
    GuardBoard* board_ = nullptr;
    std::array<int, guard_slots> sockets_{};  // -1: free
    Fd channel_;
    int pid_ = -1;
    std::uint64_t start_at_beat_ = 0;
};

// The guard process itself: serves the agent at the other end of `channel` until that closes.
// Returns an exit code.
int run_guard(int channel, Clock& clock);

}  // namespace cw::agent
