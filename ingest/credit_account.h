// CreditAccount: one connection's credit, from grant to durable.
//
// The window, what the peer may have outstanding, begins at the least there is, doubles while the
// peer uses it up, and shrinks while it does not. Credit that is granted cannot be taken back: an
// idle peer is not given more before it is down to its window, and when others starve for what it
// holds (hoards()) its session ends; the next begins with little.
//
// Invariants: used <= granted; granted never decreases; every byte granted is, in the end, either
// handed on with a record (whose taker consumes the reservation) or given back to the policy.
// Thread-safety: none; belongs to its session. Lifetime: the policy outlives the account.
#pragma once

#include "base/assert.h"
#include "ingest/credit.h"

#include <cstdint>

namespace cw::ingest {

class CreditAccount {
public:
    explicit CreditAccount(CreditPolicy& policy) : policy_(policy) { policy_.session_began(); }
    CreditAccount(const CreditAccount&) = delete;
    CreditAccount& operator=(const CreditAccount&) = delete;
    ~CreditAccount() {
        policy_.unreserve(granted_ - used_);
        if (starving_) {
            policy_.starved(false);
        }
        policy_.session_ended();
    }

    // A payload has come; false (and nothing changes) if it exceeds the credit.
    bool receive(std::uint64_t bytes) noexcept {
        if (bytes > granted_ - used_) {
            return false;
        }
        used_ += bytes;
        in_flight_ += bytes;
        recent_ += bytes;
        return true;
    }
    // A record that needs no credit is handed on.
    void charge(std::uint64_t bytes) noexcept {
        in_flight_ += bytes;
        policy_.charge(bytes);
    }
    // A received payload was thrown away.
    void discard(std::uint64_t bytes) noexcept {
        settle(bytes);
        policy_.unreserve(bytes);
    }
    // A received payload is durable, or was dropped further on.
    void settle(std::uint64_t bytes) noexcept {
        CW_ASSERT(bytes <= in_flight_);
        in_flight_ -= bytes;
    }
    // Grants what the window and the policy allow; true if the peer is to be told. Small steps are
    // saved up, so that CREDIT frames cost nothing.
    bool grow() noexcept;
    // A while has passed, a fraction of a second: what was not used in it shrinks.
    void tick() noexcept;

    [[nodiscard]] std::uint64_t granted() const noexcept { return granted_; }
    [[nodiscard]] std::uint64_t available() const noexcept { return granted_ - used_; }
    [[nodiscard]] std::uint64_t in_flight() const noexcept { return in_flight_; }
    // It holds more than the least window and has not used any of it for some ticks.
    [[nodiscard]] bool hoards() const noexcept;
    // What the peer's use of late entitles it to, its share permitting.
    [[nodiscard]] std::uint64_t demand() const noexcept { return demand_; }

private:
    void top_up() noexcept;
    [[nodiscard]] std::uint64_t outstanding() const noexcept { return available() + in_flight_; }

    CreditPolicy& policy_;
    std::uint64_t granted_ = 0;
    std::uint64_t used_ = 0;       // Payload bytes received since WELCOME.
    std::uint64_t in_flight_ = 0;  // Of those and what was charged, not yet durable nor dropped.
    std::uint64_t recent_ = 0;     // Received since the last tick.
    std::uint64_t demand_ = credit_window_idle;
    unsigned idle_ticks_ = 0;
    bool starving_ = false;  // The policy has been told that the least window is missing.
};

}  // namespace cw::ingest
