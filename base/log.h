// Structured logging: an event name, then typed fields. Free text from peers is escaped and
// length-limited here, so that a hostile name cannot forge a line. Never pass a secret: Secret<T>
// has no conversion that would let you.
//
// One line: 2026-11-20T18:16:44.123Z info ingest.session.open machine=… peer="…"
// Thread-safe. Backed by spdlog; journald-friendly when the process runs under systemd.
#pragma once

#include "base/error.h"
#include "base/ids.h"

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <variant>

namespace cw {

enum class LogLevel { trace, debug, info, warning, error };

// key=value; built from numbers, text, ids and errors. Refers to text, ids and errors, which must
// outlive it: they are put into words only for a line that is written.
class LogField {
public:
    LogField(std::string_view key, std::string_view text) : key_(key), value_(text) {}
    LogField(std::string_view key, const char* text) : LogField(key, std::string_view(text)) {}
    LogField(std::string_view key, const std::string& text)
        : LogField(key, std::string_view(text)) {}
    LogField(std::string_view key, const Error& error) : key_(key), value_(&error) {}
    LogField(std::string_view key, bool value) : key_(key), value_(value) {}
    template <std::signed_integral T>
    LogField(std::string_view key, T value) : key_(key), value_(std::int64_t{value}) {}
    template <std::unsigned_integral T>
    LogField(std::string_view key, T value) : key_(key), value_(std::uint64_t{value}) {}
    template <std::floating_point T>
    LogField(std::string_view key, T value) : key_(key), value_(double{value}) {}
    template <typename Tag>
    LogField(std::string_view key, const Uuid<Tag>& id) : key_(key), value_(&id.bytes) {}
    template <typename E>
        requires std::is_enum_v<E>
    LogField(std::string_view key, E value) : LogField(key, raw(value)) {}

    [[nodiscard]] std::string_view key() const noexcept { return key_; }
    // Escaped, and quoted where needed; at most 1 KiB.
    [[nodiscard]] std::string value() const;

private:
    std::string_view key_;
    std::variant<std::string_view, bool, std::int64_t, std::uint64_t, double, const Error*,
                 const std::array<std::byte, 16>*>
        value_;
};

void log(LogLevel level, std::string_view event, std::initializer_list<LogField> fields = {});
inline void log_info(std::string_view event, std::initializer_list<LogField> fields = {}) {
    log(LogLevel::info, event, fields);
}
inline void log_warning(std::string_view event, std::initializer_list<LogField> fields = {}) {
    log(LogLevel::warning, event, fields);
}
inline void log_error(std::string_view event, std::initializer_list<LogField> fields = {}) {
    log(LogLevel::error, event, fields);
}

void set_log_level(LogLevel level);
// Errors: config_invalid.
Result<LogLevel> parse_log_level(std::string_view text);
// Printable, one-line form of untrusted text: control, backslash, bidi and non-UTF-8 bytes become
// \xNN, as a quote does in a log's field; cut at `max` bytes with "…".
std::string escape_for_display(std::string_view text, std::size_t max = 256);

}  // namespace cw
