// Structured logging: an event name, then typed fields. Free text from peers is escaped and
// length-limited here, so that a hostile name cannot forge a line. Never pass a secret: Secret<T>
// has no conversion that would let you.
//
// One line: 2026-11-20T18:16:44.123Z info ingest.session.open machine=… peer="…"
// Thread-safe. Backed by spdlog; journald-friendly when the process runs under systemd.
#pragma once

#include "base/error.h"
#include "base/ids.h"

#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>

namespace cw {

enum class LogLevel { trace, debug, info, warning, error };

// key=value; built from numbers, text, ids and errors.
struct LogField {
    std::string_view key;
    std::string value;  // Already escaped and quoted where needed; at most 1 KiB.

    LogField(std::string_view k, std::string_view text);
    LogField(std::string_view k, const char* text) : LogField(k, std::string_view(text)) {}
    LogField(std::string_view k, const std::string& text) : LogField(k, std::string_view(text)) {}
    LogField(std::string_view k, const Error& error);
    LogField(std::string_view k, bool v) : key(k), value(v ? "true" : "false") {}
    template <std::integral T>
    LogField(std::string_view k, T v) : key(k), value(std::to_string(v)) {}
    template <std::floating_point T>
    LogField(std::string_view k, T v) : key(k), value(std::to_string(v)) {}
    template <typename Tag>
    LogField(std::string_view k, const Uuid<Tag>& id) : key(k), value(to_string(id)) {}
    template <typename E>
        requires std::is_enum_v<E>
    LogField(std::string_view k, E v) : key(k), value(std::to_string(raw(v))) {}
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
