// CreditAccount: one connection's credit, from grant to durable.
//
// Invariants: used <= granted; granted never decreases; every byte granted is, in the end, either
// handed on with a record (whose taker consumes the reservation) or given back to the policy.
// Thread-safety: none; belongs to its session. Lifetime: the policy outlives the account.
#pragma once

#include "base/assert.h"
#include "ingest/credit.h"

#include <algorithm>
#include <cstdint>

namespace cw::ingest {

class CreditAccount {
public:
    explicit CreditAccount(CreditPolicy& policy) : policy_(policy) { policy_.session_began(); }
    CreditAccount(const CreditAccount&) = delete;
    CreditAccount& operator=(const CreditAccount&) = delete;
    ~CreditAccount() {
        policy_.unreserve(granted_ - used_);
        policy_.session_ended();
    }

    // A payload has come; false (and nothing changes) if it exceeds the credit.
    bool receive(std::uint64_t bytes) noexcept {
        if (bytes > granted_ - used_) {
            return false;
        }
        used_ += bytes;
        in_flight_ += bytes;
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
    bool grow() noexcept {
        const std::uint64_t window = policy_.window_bytes();
        const std::uint64_t open = granted_ - used_ + in_flight_;
        if (open >= window) {
            return false;
        }
        const bool can_wait = available() >= credit_window_min;  // For any frame there may be.
        if (can_wait && window - open < std::min(window / 8, step_max)) {
            return false;
        }
        std::uint64_t step = window - open;
        while (!policy_.reserve(step)) {
            step /= 2;
            if (step < step_min) {
                return false;
            }
        }
        granted_ += step;
        return true;
    }

    [[nodiscard]] std::uint64_t granted() const noexcept { return granted_; }
    [[nodiscard]] std::uint64_t available() const noexcept { return granted_ - used_; }
    [[nodiscard]] std::uint64_t in_flight() const noexcept { return in_flight_; }

private:
    static constexpr std::uint64_t step_max = 4 * mib, step_min = 256 * kib;

    CreditPolicy& policy_;
    std::uint64_t granted_ = 0;
    std::uint64_t used_ = 0;       // Payload bytes received since WELCOME.
    std::uint64_t in_flight_ = 0;  // Of those and what was charged, not yet durable nor dropped.
};

}  // namespace cw::ingest
