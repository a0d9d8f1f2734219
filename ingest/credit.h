// Credit: how much payload a peer may send before the cache has room for it, whatever it does.
//
// A session reserves before it grants; a reservation is consumed by the spool when it takes the
// record, and given back by the session for what it discards or never receives.
#pragma once

#include "base/ids.h"

#include <atomic>
#include <cstdint>

namespace cw::ingest {

// The largest payload a single frame may have: no window is smaller, or it could never be sent. A
// session begins with this much and keeps it; more comes with use and goes without.
inline constexpr std::uint64_t credit_window_min = 8 * mib + 64 * kib;
// Where there is room a little more, so that credit need not be renewed with every frame.
inline constexpr std::uint64_t credit_window_idle = credit_window_min + mib;

// The port to the cache's space. Thread-safe: reactors call it concurrently.
class CreditPolicy {
public:
    virtual ~CreditPolicy() = default;
    // Bytes one session may have outstanding (granted, not yet durable): its fair share now.
    [[nodiscard]] virtual std::uint64_t window_bytes() const noexcept = 0;
    // Sets `bytes` of cache space aside; false when they are not there (credit then stops growing).
    virtual bool reserve(std::uint64_t bytes) noexcept = 0;
    // The same for what goes beyond the least window: also false when it would take what sessions
    // yet to come may need for theirs, because credit cannot be taken back from who has it.
    virtual bool reserve_more(std::uint64_t bytes) noexcept = 0;
    virtual void unreserve(std::uint64_t bytes) noexcept = 0;
    // Counts a record that needs no credit (a point) as reserved, whether or not there is room: its
    // taker uses the reservation up like any other.
    virtual void charge(std::uint64_t bytes) noexcept = 0;
    // A session begins or ends: changes the others' share.
    virtual void session_began() noexcept = 0;
    virtual void session_ended() noexcept = 0;
    // How many least windows there are, and how many of them fit what may be promised.
    struct Windows {
        std::uint64_t wanted = 0, fitting = 0;
    };
    [[nodiscard]] virtual Windows least_windows() const noexcept = 0;
    // A session cannot get its least window now, or has got it after all.
    virtual void starved(bool begins) noexcept = 0;
    // Somebody starves only because others hold more than they use: those that are idle should give
    // it back, for which their sessions must end.
    [[nodiscard]] virtual bool wants_back() const noexcept = 0;
};

// A budget that appliance keeps up to date from the spool's free space, shared fairly.
//
// Invariants: reserve() never takes reserved() above the budget of that moment, reserve_more()
// never above half of it. A budget that shrinks takes nothing back: credit never
// decreases, it only stops growing.
class SharedCredit final : public CreditPolicy {
public:
    // `window_max`: one session's outstanding bytes however empty the cache is; at least
    // credit_window_min.
    SharedCredit(std::uint64_t budget, std::uint64_t window_max);

    // Space that may be promised in all, including what is promised now. Any thread.
    void set_budget(std::uint64_t bytes) noexcept { budget_.store(bytes); }
    // The spool took a record of `bytes`: they are no longer a promise but data. Any thread.
    void consume(std::uint64_t bytes) noexcept { unreserve(bytes); }
    [[nodiscard]] std::uint64_t reserved() const noexcept { return reserved_.load(); }
    [[nodiscard]] std::uint64_t sessions() const noexcept { return sessions_.load(); }
    // Some session cannot get its least window now. Any thread.
    [[nodiscard]] bool starving() const noexcept { return starving_.load() > 0; }

    [[nodiscard]] std::uint64_t window_bytes() const noexcept override;
    bool reserve(std::uint64_t bytes) noexcept override;
    bool reserve_more(std::uint64_t bytes) noexcept override;
    void unreserve(std::uint64_t bytes) noexcept override;
    void charge(std::uint64_t bytes) noexcept override { reserved_.fetch_add(bytes); }
    void session_began() noexcept override { sessions_.fetch_add(1); }
    void session_ended() noexcept override;
    [[nodiscard]] Windows least_windows() const noexcept override;
    void starved(bool begins) noexcept override;
    [[nodiscard]] bool wants_back() const noexcept override;

private:
    bool reserve_below(std::uint64_t bytes, bool leave_some) noexcept;

    const std::uint64_t window_max_;
    std::atomic<std::uint64_t> budget_;
    std::atomic<std::uint64_t> reserved_{0};
    std::atomic<std::uint64_t> sessions_{0}, starving_{0};
};

}  // namespace cw::ingest
