#include "pipeline/slab.h"

#include "base/assert.h"
#include "base/ids.h"

#include <cerrno>

#include <sys/mman.h>

namespace cw::pipeline {
namespace {

constexpr std::size_t huge_page_bytes = 2 * mib;

// head_: the upper half counts changes (defeats ABA), the lower half is slab index + 1, 0 for none.
constexpr std::uint64_t pack(std::uint64_t tag, std::uint32_t place) noexcept {
    return (tag << 32) | place;
}
constexpr std::uint64_t tag_of(std::uint64_t head) noexcept {
    return head >> 32;
}
constexpr std::uint32_t place_of(std::uint64_t head) noexcept {
    return static_cast<std::uint32_t>(head);
}

// Maps `bytes` aligned to a huge page, so that the kernel can back all of it with huge pages: they
// cut the cost of submitting O_DIRECT writes to a third.
void* map_aligned(std::size_t bytes) noexcept {
    const std::size_t reach = bytes + huge_page_bytes;
    void* const raw =
        ::mmap(nullptr, reach, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (raw == MAP_FAILED) {
        return nullptr;
    }
    const auto start = reinterpret_cast<std::uintptr_t>(raw);
    const std::uintptr_t aligned = align_up(start, huge_page_bytes);
    const std::size_t before = aligned - start, after = reach - before - bytes;
    if (before > 0) {
        ::munmap(raw, before);
    }
    if (after > 0) {
        ::munmap(reinterpret_cast<void*>(aligned + bytes), after);
    }
    void* const memory = reinterpret_cast<void*>(aligned);
    ::madvise(memory, bytes, MADV_HUGEPAGE);  // A wish: kernels without it work, only slower.
    ::madvise(memory, bytes, MADV_DONTDUMP);  // Customers' data does not belong into core files.
    return memory;
}

}  // namespace

Result<std::unique_ptr<SlabPool>> SlabPool::create(std::string name, std::size_t count) {
    CW_ASSERT(count >= 1 && count < UINT32_MAX);
    void* const memory = map_aligned(count * slab_bytes);
    if (memory == nullptr) {
        return fail_errno(Errc::out_of_budget,
                          "pool '" + name + "' of " + std::to_string(count) + " MiB", errno);
    }
    // The constructor is private: make_unique cannot reach it.
    return std::unique_ptr<SlabPool>(
        new SlabPool(std::move(name), count, static_cast<std::byte*>(memory)));
}

SlabPool::SlabPool(std::string name, std::size_t count, std::byte* memory)
    : name_(std::move(name)),
      count_(count),
      memory_(memory),
      next_(std::make_unique<std::atomic<std::uint32_t>[]>(count)),
      head_(pack(0, 1)),
      free_(count) {
    for (std::size_t i = 0; i < count; ++i) {
        const std::size_t next = i + 1 < count ? i + 2 : 0;
        next_[i].store(static_cast<std::uint32_t>(next), std::memory_order_relaxed);
    }
}

SlabPool::~SlabPool() {
    CW_ASSERT(free_.load(std::memory_order_acquire) == count_);
    ::munmap(memory_, count_ * slab_bytes);
}

void SlabPool::make_resident() noexcept {
    ::madvise(memory_, count_ * slab_bytes, MADV_POPULATE_WRITE);
}

Slab SlabPool::try_take() noexcept {
    std::uint64_t head = head_.load(std::memory_order_acquire);
    for (;;) {
        const std::uint32_t place = place_of(head);
        if (place == 0) {
            return {};
        }
        // May be stale if another thread takes this slab meanwhile; then the tag has moved on and
        // the exchange fails.
        const std::uint32_t next = next_[place - 1].load(std::memory_order_relaxed);
        if (head_.compare_exchange_weak(head, pack(tag_of(head) + 1, next),
                                        std::memory_order_acq_rel, std::memory_order_acquire)) {
            free_.fetch_sub(1, std::memory_order_relaxed);
            return Slab(this, memory_ + std::size_t{place - 1} * slab_bytes);
        }
    }
}

void SlabPool::give_back(std::byte* data) noexcept {
    CW_ASSERT(data >= memory_ && data < memory_ + count_ * slab_bytes);
    const std::size_t distance = static_cast<std::size_t>(data - memory_);
    CW_ASSERT(distance % slab_bytes == 0);
    const auto place = static_cast<std::uint32_t>(distance / slab_bytes + 1);
    // Counted before it can be taken again, so that the count never dips below zero. The release
    // pairs with the destructor's look.
    free_.fetch_add(1, std::memory_order_release);
    void (*const hook)(void*) = hook_;
    void* const context = hook_context_;
    std::uint64_t head = head_.load(std::memory_order_relaxed);
    do {
        next_[place - 1].store(place_of(head), std::memory_order_relaxed);
    } while (!head_.compare_exchange_weak(head, pack(tag_of(head) + 1, place),
                                          std::memory_order_acq_rel, std::memory_order_relaxed));
    // Judged by the stack, not by the count: whoever saw the stack empty is woken by the next push.
    if (place_of(head) == 0 && hook != nullptr) {
        hook(context);
    }
}

std::size_t SlabPool::free_count() const noexcept {
    return free_.load(std::memory_order_relaxed);
}

void SlabPool::on_available(void (*hook)(void*), void* context) noexcept {
    CW_ASSERT(hook_ == nullptr);
    hook_ = hook;
    hook_context_ = context;
}

void Slab::reset() noexcept {
    if (data_ != nullptr) {
        pool_->give_back(std::exchange(data_, nullptr));
        pool_ = nullptr;
    }
}

}  // namespace cw::pipeline
