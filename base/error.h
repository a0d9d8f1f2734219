// Error and Result<T>: how everything below main says that it failed, and what the caller must do.
//
// Control flow branches on action_of(code). Error::detail is evidence for people and never parsed.
// Thread-safety: values; free functions are pure.
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace cw {

enum class Action { retry, throttle, reauth, repair, fenced, stop };
enum class ErrorClass { recoverable, unrecoverable };

enum class Errc : std::uint16_t {
#define CW_ERROR(code, number, action, klass, text, next) code = number,
#include "base/errors.def"
#undef CW_ERROR
};

struct Error {
    Errc code;
    std::string detail;     // Evidence: offsets, names, request ids. Never a secret.
    std::string next = {};  // What the operator does, where next_of(code) does not fit. Else empty.
};

template <typename T>
using Result = std::expected<T, Error>;

Action action_of(Errc code) noexcept;
ErrorClass class_of(Errc code) noexcept;
std::string_view name_of(Errc code) noexcept;  // "SPOOL_FULL"
std::string_view cause_of(Errc code) noexcept;
std::string_view next_of(Errc code) noexcept;  // The operator's next command.
// Of `error` itself if it has any, else its code's. Valid as long as `error` is.
std::string_view advice_of(const Error& error) noexcept;
std::string_view name_of(Action action) noexcept;
// The code with this number, as it came from a peer; nullopt if this version knows none.
std::optional<Errc> errc_from_number(std::uint16_t number) noexcept;

// "SPOOL_FULL (1003): <cause>: <detail>; next: <next>". One line.
std::string to_string(const Error& error);

[[nodiscard]] inline std::unexpected<Error> fail(Errc code, std::string detail = {}) {
    return std::unexpected(Error{code, std::move(detail)});
}

// The error of a failed system call: `what` and the text of `errno_value`.
[[nodiscard]] std::unexpected<Error> fail_errno(Errc code, std::string_view what, int errno_value);

}  // namespace cw

#define CW_CONCAT_(a, b) a##b
#define CW_CONCAT(a, b) CW_CONCAT_(a, b)

// Returns the error of `expression` (a Result) to the caller; drops a value.
#define CW_TRY(expression)                                              \
    do {                                                                \
        if (auto cw_result_ = (expression); !cw_result_) [[unlikely]] { \
            return std::unexpected(std::move(cw_result_).error());      \
        }                                                               \
    } while (false)

#define CW_TRY_ASSIGN_(temporary, target, expression)         \
    auto temporary = (expression);                            \
    if (!temporary) [[unlikely]] {                            \
        return std::unexpected(std::move(temporary).error()); \
    }                                                         \
    target = std::move(*temporary)

// CW_TRY_ASSIGN(const auto x, f()): x is the value of f(), or the error goes to the caller.
#define CW_TRY_ASSIGN(target, ...) \
    CW_TRY_ASSIGN_(CW_CONCAT(cw_try_, __LINE__), target, (__VA_ARGS__))
