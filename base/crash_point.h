// Named places where a test may cut the process off, as a power cut or kill -9 would, or let one of
// its threads hang for ever.
//
// CW_CRASH_POINT("cache.after_write") costs one relaxed load while nothing is armed. Every point
// compiled into a program registers itself, so that a test can enumerate and try them all. Use it
// in functions of .cc files only: an inline function or template would give the name's section two
// kinds of entries, which the compiler refuses.
#pragma once

#include "base/error.h"

#include <atomic>
#include <cstdint>
#include <string_view>
#include <vector>

namespace cw {

// The points of this program, sorted, each once.
std::vector<std::string_view> crash_point_names();

enum class CrashAction : std::uint8_t {
    kill,   // The process kills itself with SIGKILL.
    stall,  // The thread that is there never goes on.
};

// The `hit`-th time (from 1) that the point is reached, `action` happens.
// One point at a time; the last call counts. Errors: usage (no such point, hit of zero).
Result<void> arm_crash_point(std::string_view name, std::uint64_t hit,
                             CrashAction action = CrashAction::kill);

// Arms what the environment variable CAUSEWAY_CRASH_POINT ("name:hit" to be killed there,
// "name:hit:stall" to hang) says; absent or empty: none. Programs call it once, at the start.
// Errors: usage.
Result<void> arm_crash_point_from_environment();

namespace detail {
extern std::atomic<bool> crash_point_armed;
void reach_crash_point(std::string_view name) noexcept;
}  // namespace detail

}  // namespace cw

#define CW_CRASH_POINT(name)                                                                      \
    do {                                                                                          \
        [[gnu::section("cw_crash_points"), gnu::used]] static const char* const cw_crash_point_ = \
            name;                                                                                 \
        if (::cw::detail::crash_point_armed.load(std::memory_order_relaxed)) [[unlikely]]         \
            ::cw::detail::reach_crash_point(cw_crash_point_);                                     \
    } while (false)
