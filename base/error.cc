#include "base/error.h"

#include "base/assert.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace cw {
namespace {

struct Row {
    Errc code;
    Action action;
    ErrorClass error_class;
    std::string_view name, cause, next;
};

constexpr Row rows[] = {
#define CW_ERROR(code, number, action, klass, text, next) \
    {Errc::code, Action::action, ErrorClass::klass, #code, text, next},
#include "base/errors.def"
#undef CW_ERROR
};

const Row& row_of(Errc code) noexcept {
    for (const Row& row : rows) {
        if (row.code == code) {
            return row;
        }
    }
    CW_ASSERT(false && "an error code outside errors.def");
}

}  // namespace

Action action_of(Errc code) noexcept {
    return row_of(code).action;
}
ErrorClass class_of(Errc code) noexcept {
    return row_of(code).error_class;
}
std::string_view cause_of(Errc code) noexcept {
    return row_of(code).cause;
}
std::string_view next_of(Errc code) noexcept {
    return row_of(code).next;
}

std::string_view name_of(Errc code) noexcept {
    switch (code) {
#define CW_ERROR(code, number, action, klass, text, next) \
    case Errc::code: {                                    \
        static const std::string upper = [] {             \
            std::string s = #code;                        \
            for (char& c : s) {                           \
                if (c >= 'a' && c <= 'z') {               \
                    c = static_cast<char>(c - 'a' + 'A'); \
                }                                         \
            }                                             \
            return s;                                     \
        }();                                              \
        return upper;                                     \
    }
#include "base/errors.def"
#undef CW_ERROR
    }
    return "UNKNOWN";
}

std::optional<Errc> errc_from_number(std::uint16_t number) noexcept {
    for (const Row& row : rows) {
        if (static_cast<std::uint16_t>(row.code) == number) {
            return row.code;
        }
    }
    return std::nullopt;
}

std::string_view name_of(Action action) noexcept {
    switch (action) {
        case Action::retry:
            return "retry";
        case Action::throttle:
            return "throttle";
        case Action::reauth:
            return "reauth";
        case Action::repair:
            return "repair";
        case Action::fenced:
            return "fenced";
        case Action::stop:
            return "stop";
    }
    return "unknown";
}

std::string_view advice_of(const Error& error) noexcept {
    return error.next.empty() ? next_of(error.code) : std::string_view(error.next);
}

std::string to_string(const Error& error) {
    const Row& row = row_of(error.code);
    std::string out(name_of(error.code));
    out += " (" + std::to_string(static_cast<unsigned>(error.code)) + "): ";
    out += row.cause;
    if (!error.detail.empty()) {
        out += ": " + error.detail;
    }
    out += "; next: ";
    out += advice_of(error);
    return out;
}

std::unexpected<Error> fail_errno(Errc code, std::string_view what, int errno_value) {
    char buffer[128] = {};
    const char* text = strerror_r(errno_value, buffer, sizeof buffer);
    return fail(code, std::string(what) + ": " + text);
}

void assertion_failed(const char* condition, const char* file, int line) noexcept {
    std::fprintf(stderr, "causeway: invariant broken: %s at %s:%d\n", condition, file, line);
    std::abort();
}

}  // namespace cw
