// operator new and delete for a program of one thread: asking malloc for small pieces and returning
// them cost a schedule a tenth of its time. Free pieces of one size form a list; what is large is
// malloc's. Not under sanitizers, which want to see every piece.
#include "base/assert.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>

#include <sys/mman.h>

namespace cw::sim {
namespace {

constexpr std::size_t step = 16, small_max = 1024, page = std::size_t{1} << 16,
                      arena_bytes = std::size_t{1} << 32;

struct Piece {
    Piece* next;
};

// Each page holds pieces of one size: where a piece lies tells how large it is.
struct Arena {
    std::byte* base = nullptr;
    std::size_t pages = 0;
    std::array<Piece*, small_max / step + 1> free{};
    std::array<std::uint8_t, arena_bytes / page> steps_of{};
};
constinit Arena arena;

void add_page(std::size_t steps) noexcept {
    if (arena.base == nullptr) {
        void* const made = mmap(nullptr, arena_bytes, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        CW_ASSERT(made != MAP_FAILED);
        arena.base = static_cast<std::byte*>(made);
    }
    CW_ASSERT(arena.pages < arena.steps_of.size());
    std::byte* const at = arena.base + arena.pages * page;
    arena.steps_of[arena.pages++] = static_cast<std::uint8_t>(steps);
    for (std::size_t n = page / (steps * step); n > 0; --n) {
        arena.free[steps] = new (at + (n - 1) * steps * step) Piece{arena.free[steps]};
    }
}

void* take(std::size_t size) {
    if (size > small_max) {
        void* const large = std::malloc(size);
        CW_ASSERT(large != nullptr);
        return large;
    }
    const std::size_t steps = size == 0 ? 1 : (size + step - 1) / step;
    if (arena.free[steps] == nullptr) {
        add_page(steps);
    }
    Piece* const piece = arena.free[steps];
    arena.free[steps] = piece->next;
    return piece;
}

void give_back(void* piece) noexcept {
    const std::size_t at =
        reinterpret_cast<std::uintptr_t>(piece) - reinterpret_cast<std::uintptr_t>(arena.base);
    if (at >= arena.pages * page) {
        std::free(piece);  // Large, or null.
        return;
    }
    Piece*& first = arena.free[arena.steps_of[at / page]];
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
