// CW_ASSERT: an invariant of our own making. Always on, also in release: a broken invariant in a
// disaster recovery product must stop the process before it can write something wrong.
#pragma once

namespace cw {

// Prints the failed condition and aborts. Never returns; callable from any thread.
[[noreturn]] void assertion_failed(const char* condition, const char* file, int line) noexcept;

}  // namespace cw

#define CW_ASSERT(condition)                                        \
    do {                                                            \
        if (!(condition)) [[unlikely]] {                            \
            ::cw::assertion_failed(#condition, __FILE__, __LINE__); \
        }                                                           \
    } while (false)
