// Stage, Doorbell and Runner: work that never waits, and the thread that does the waiting.
//
// A Stage's step(budget) does bounded work and says how it went; it never sleeps, holds its item
// when blocked, and may be driven by a seeded simulator in any order. The Runner owns one thread
// and drives one or more stages; it parks on its Doorbell after re-checking, never spins.
#pragma once

#include "base/clock.h"
#include "base/net.h"

#include <atomic>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace cw::pipeline {

enum class Progress : std::uint8_t {
    worked,   // Something moved: call again.
    starved,  // No input.
    blocked,  // Input is there, output is full or memory is short.
    drained,  // Finished for good after a drain.
};

class Stage {
public:
    virtual ~Stage() = default;
    virtual Progress step(std::size_t budget) = 0;
    // The next moment at which step() has something to do without being rung (a timer), or
    // std::nullopt-like max: Nanos{INT64_MAX}. Asked before parking.
    [[nodiscard]] virtual Nanos next_deadline() const { return Nanos{INT64_MAX}; }
    // A descriptor whose readiness means work (a Disk's event fd), or -1.
    [[nodiscard]] virtual int event_fd() const { return -1; }
    [[nodiscard]] virtual std::string_view name() const noexcept = 0;
};

// Wakes one parked thread. ring() is cheap when nobody is parked: one atomic exchange.
// Thread-safety: ring() from any thread; the rest from the owner.
class Doorbell {
public:
    Doorbell();
    void ring() noexcept;
    // Announce intent to park; then re-check all inputs; then park() or cancel().
    void prepare() noexcept;
    void cancel() noexcept;
    [[nodiscard]] int fd() const noexcept { return fd_.get(); }
    // Empties the eventfd after a wake-up and withdraws the announcement.
    void consume() noexcept;

private:
    Fd fd_;
    std::atomic<bool> parked_{false};
};

// Drives stages on one named thread until stop(). Accounts CPU seconds per stage where the kernel
// tells (thread clock), for causeway_stage_cpu_seconds_total.
class Runner {
public:
    Runner(std::string name, Clock& clock);
    ~Runner();               // stop()s and joins.
    void add(Stage& stage);  // Before start().
    void start();
    void stop();  // After the current step; joins. Idempotent.
    Doorbell& doorbell() noexcept { return doorbell_; }
    // CPU seconds this thread has used so far. Any thread.
    [[nodiscard]] double cpu_seconds() const noexcept;
    // Boot time of the last completed round, for the watchdog. Any thread.
    [[nodiscard]] Nanos last_round() const noexcept;

private:
    void run();
    void park();

    std::string name_;
    Clock& clock_;
    std::vector<Stage*> stages_;
    Doorbell doorbell_;
    std::atomic<bool> stopping_{false};
    std::atomic<std::int64_t> last_round_{0};
    std::atomic<std::int64_t> cpu_ns_{0};
    std::thread thread_;
};

}  // namespace cw::pipeline
