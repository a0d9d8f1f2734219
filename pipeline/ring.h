// Ring<T>: a bounded single-producer single-consumer hand-over between two threads.
//
// Acquire/release indices, no mutex, no allocation after construction, no spinning. "Full" and
// "empty" are answers. A failed push leaves its argument untouched. Wake-ups are the Doorbell's
// business: push, then ring; the consumer re-checks before it parks.
// Thread-safety: one thread pushes, one thread pops.
#pragma once

#include "base/assert.h"

#include <atomic>
#include <bit>
#include <cstddef>
#include <memory>
#include <optional>
#include <utility>

namespace cw::pipeline {

template <typename T>
class Ring {
public:
    // `capacity` is rounded up to a power of two, >= 1.
    explicit Ring(std::size_t capacity)
        : mask_(std::bit_ceil(capacity) - 1),
          slots_(std::make_unique<std::optional<T>[]>(mask_ + 1)) {
        CW_ASSERT(capacity >= 1);
    }

    bool try_push(T& value) noexcept {
        const std::size_t tail = tail_.load(std::memory_order_relaxed);
        if (tail - head_seen_ > mask_) {
            head_seen_ = head_.load(std::memory_order_acquire);
            if (tail - head_seen_ > mask_) {
                return false;
            }
        }
        slots_[tail & mask_].emplace(std::move(value));
        tail_.store(tail + 1, std::memory_order_release);
        return true;
    }
    bool try_push(T&& value) noexcept { return try_push(value); }

    bool try_pop(T& value) noexcept {
        const std::size_t head = head_.load(std::memory_order_relaxed);
        if (head == tail_seen_) {
            tail_seen_ = tail_.load(std::memory_order_acquire);
            if (head == tail_seen_) {
                return false;
            }
        }
        value = std::move(*slots_[head & mask_]);
        slots_[head & mask_].reset();
        head_.store(head + 1, std::memory_order_release);
        return true;
    }

    [[nodiscard]] std::size_t capacity() const noexcept { return mask_ + 1; }
    // Snapshots, exact only on the thread that moves the index in question.
    [[nodiscard]] std::size_t size() const noexcept {
        return tail_.load(std::memory_order_acquire) - head_.load(std::memory_order_acquire);
    }
    [[nodiscard]] bool empty() const noexcept { return size() == 0; }
    [[nodiscard]] bool full() const noexcept { return size() > mask_; }

private:
    std::size_t mask_;
    std::unique_ptr<std::optional<T>[]> slots_;
    alignas(64) std::atomic<std::size_t> tail_{0};  // Written by the producer.
    std::size_t head_seen_ = 0;                     // The producer's last look at head_.
    alignas(64) std::atomic<std::size_t> head_{0};  // Written by the consumer.
    std::size_t tail_seen_ = 0;                     // The consumer's last look at tail_.
};

}  // namespace cw::pipeline
