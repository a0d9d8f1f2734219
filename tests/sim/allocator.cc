// operator new and delete for a program of one thread: asking malloc for pieces and returning them
// cost a schedule a tenth of its time. Free pieces of one size form a list; what is large is
// malloc's. Not under sanitizers, which want to see every piece.
//
// One thread: nothing here is locked. pthread_create, by whomever it is called, ends the program.
#include "base/assert.h"

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>

#include <pthread.h>
#include <sys/mman.h>

namespace cw::sim {
namespace {

constexpr std::size_t page = std::size_t{1} << 16, arena_bytes = std::size_t{1} << 32,
                      huge_page = std::size_t{1} << 21;

// Sizes go up by 16 bytes to begin with, and then in quarters of a power of two.
constexpr std::size_t step = 16, stepped_max = 1024, quarters = 4,
                      pooled_max = std::size_t{1} << 21;
constexpr std::size_t stepped_kinds = stepped_max / step;

constexpr std::size_t kind_of(std::size_t size) noexcept {
    if (size <= stepped_max) {
        return size == 0 ? 1 : (size + step - 1) / step;
    }
    const auto power = static_cast<std::size_t>(std::bit_width(size - 1)) - 1;
    return stepped_kinds + (power - 10) * quarters + ((size - 1) >> (power - 2)) % quarters + 1;
}
constexpr std::size_t size_of(std::size_t kind) noexcept {
    if (kind <= stepped_kinds) {
        return kind * step;
    }
    const std::size_t at = kind - stepped_kinds - 1;
    return (stepped_max + (at % quarters + 1) * (stepped_max / quarters)) << (at / quarters);
}
constexpr std::size_t kinds = kind_of(pooled_max) + 1;
static_assert(kinds <= 256 && size_of(kinds - 1) == pooled_max &&
              size_of(kind_of(stepped_max + 1)) == stepped_max * 5 / 4 &&
              size_of(kind_of(4096)) == 4096 && size_of(kind_of(4097)) == 5120);

struct Piece {
    Piece* next;
};

// Pieces of one size share pages, and a large one has several to itself: the page in which a piece
// begins tells how large it is.
struct Arena {
    std::byte* base = nullptr;
    std::size_t pages = 0;
    std::array<Piece*, kinds> free{};
    std::array<std::uint8_t, arena_bytes / page> kind_of_page{};
};
constinit Arena arena;

// In huge pages, if the system has any: schedules walk through all of it again and again.
std::byte* map_arena() noexcept {
    void* const made = mmap(nullptr, arena_bytes + huge_page, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CW_ASSERT(made != MAP_FAILED);
    auto* const bytes = static_cast<std::byte*>(made);
    std::byte* const base =
        bytes + (huge_page - reinterpret_cast<std::uintptr_t>(made) % huge_page);
    return base;
}

void add_pages(std::size_t kind) noexcept {
    if (arena.base == nullptr) {
        arena.base = map_arena();
        ::madvise(arena.base, arena_bytes, MADV_HUGEPAGE);
    }
    const std::size_t size = size_of(kind), wanted = (size + page - 1) / page;
    CW_ASSERT(wanted <= arena.kind_of_page.size() - arena.pages);
    std::byte* const at = arena.base + arena.pages * page;
    arena.kind_of_page[arena.pages] = static_cast<std::uint8_t>(kind);
    arena.pages += wanted;
    for (std::size_t n = wanted * page / size; n > 0; --n) {
        arena.free[kind] = new (at + (n - 1) * size) Piece{arena.free[kind]};
    }
}

void* take(std::size_t size) {
    if (size > pooled_max) {
        void* const large = std::malloc(size);
        CW_ASSERT(large != nullptr);
        return large;
    }
    const std::size_t kind = kind_of(size);
    if (arena.free[kind] == nullptr) {
        add_pages(kind);
    }
    Piece* const piece = arena.free[kind];
    arena.free[kind] = piece->next;
    return piece;
}

void give_back(void* piece) noexcept {
    const std::size_t at =
        reinterpret_cast<std::uintptr_t>(piece) - reinterpret_cast<std::uintptr_t>(arena.base);
    if (at >= arena.pages * page) {
        std::free(piece);  // Large, or null.
        return;
    }
    Piece*& first = arena.free[arena.kind_of_page[at / page]];
    first = new (piece) Piece{first};
}

}  // namespace
}  // namespace cw::sim

void* operator new(std::size_t size) {
    return cw::sim::take(size);
}
void operator delete(void* piece) noexcept {
    cw::sim::give_back(piece);
}
void operator delete(void* piece, std::size_t) noexcept {
    cw::sim::give_back(piece);
}

// A pool of slabs is mapped anew by every process of a schedule, which touches little of it:
// zeroing huge pages for that was a tenth of the time. The arena's stay.
extern "C" int __real_madvise(void* memory, std::size_t bytes, int advice);
extern "C" int __wrap_madvise(void* memory, std::size_t bytes, int advice) {
    return advice == MADV_HUGEPAGE && memory != cw::sim::arena.base
               ? 0
               : __real_madvise(memory, bytes, advice);
}

// In place of the system's, for the libraries too.
extern "C" int pthread_create(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*) {
    CW_ASSERT(!"the simulator's memory and crypto are for one thread");
    return 0;
}
