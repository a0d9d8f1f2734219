// SlabPool: the only memory that payload lives in, counted at start and never grown.
//
// Invariants: free + loans == count; one owner per slab; a slab returns to its pool when its Slab
// is destroyed, on whatever thread that happens.
//
// Thread-safety: try_take() and returning are lock-free and safe from any thread.
//
// Lifetime: the pool outlives every Slab taken from it.
#pragma once

#include "base/bytes.h"
#include "base/error.h"

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>

namespace cw::pipeline {

inline constexpr std::size_t slab_bytes = 1024 * 1024;
inline constexpr std::size_t slabs_per_record_max = 8;  // A payload is at most 8 MiB.

class SlabPool;

// One 1 MiB buffer on loan, 4 KiB-aligned. Move-only.
class Slab {
public:
    Slab() = default;
    Slab(Slab&& other) noexcept
        : pool_(std::exchange(other.pool_, nullptr)), data_(std::exchange(other.data_, nullptr)) {}
    Slab& operator=(Slab&& other) noexcept {
        if (this != &other) {
            reset();
            pool_ = std::exchange(other.pool_, nullptr);
            data_ = std::exchange(other.data_, nullptr);
        }
        return *this;
    }
    Slab(const Slab&) = delete;
    Slab& operator=(const Slab&) = delete;
    ~Slab() { reset(); }

    void reset() noexcept;
    [[nodiscard]] explicit operator bool() const noexcept { return data_ != nullptr; }
    [[nodiscard]] std::byte* data() const noexcept { return data_; }
    [[nodiscard]] MutableBytes bytes() const noexcept { return {data_, data_ ? slab_bytes : 0}; }

private:
    friend class SlabPool;
    Slab(SlabPool* pool, std::byte* data) noexcept : pool_(pool), data_(data) {}
    SlabPool* pool_ = nullptr;
    std::byte* data_ = nullptr;
};

class SlabPool {
public:
    // Maps count MiB (huge pages where the kernel gives them). `name` appears in the budget and in
    // metrics. Errors: out_of_budget.
    static Result<std::unique_ptr<SlabPool>> create(std::string name, std::size_t count);
    ~SlabPool();  // Asserts that every slab has come home.

    // Takes all of its memory from the machine now, so that no first use has to wait for it and the
    // process is as large at its start as it ever gets. Blocking: about 0.3 s per GiB. A wish: a
    // kernel before 5.14 gives the memory with each slab's first use.
    void make_resident() noexcept;

    // An empty Slab when none is free: an answer, not an error.
    Slab try_take() noexcept;

    [[nodiscard]] std::size_t count() const noexcept { return count_; }
    [[nodiscard]] std::size_t free_count() const noexcept;  // A snapshot.
    [[nodiscard]] const std::string& name() const noexcept { return name_; }
    // Runs (on the returning thread) after a slab came home to a pool that had been empty; set
    // once, before threads start. Rings a doorbell of whoever waits for memory.
    void on_available(void (*hook)(void*), void* context) noexcept;

private:
    friend class Slab;
    SlabPool(std::string name, std::size_t count, std::byte* memory);
    void give_back(std::byte* data) noexcept;

    std::string name_;
    std::size_t count_;
    std::byte* memory_;
    // A lock-free stack of indices; the tag in the upper half defeats ABA.
    std::unique_ptr<std::atomic<std::uint32_t>[]> next_;
    alignas(64) std::atomic<std::uint64_t> head_;
    alignas(64) std::atomic<std::size_t> free_;
    void (*hook_)(void*) = nullptr;
    void* hook_context_ = nullptr;
};

}  // namespace cw::pipeline
