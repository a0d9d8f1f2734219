// What QEMU's monitor and its guest agent say: lines of JSON, as values. Untrusted: every line is
// bounded and checked.
//
// Thread-safety: none.
#pragma once

#include "base/bytes.h"
#include "base/error.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace cw::agent {

struct QmpMessage {
    enum class Kind : std::uint8_t { greeting, reply, refusal, event };
    Kind kind{};
    std::uint64_t id = 0;  // Of the command that a reply or refusal belongs to; 0: it names none.
    std::string name;      // Event: its name. Refusal: the error's class.
    std::string text;      // Reply and event: their data as JSON. Refusal: QEMU's own words.
};

inline constexpr std::size_t qmp_line_bytes_max = 8 * 1024 * 1024;

// One line. Errors: qmp_failed: not JSON, too deep, or nothing that a monitor says.
Result<QmpMessage> parse_qmp_message(std::string_view line);

// Cuts a stream into lines.
class QmpLines {
public:
    void feed(Bytes bytes) { text_.append(as_text(bytes)); }
    // The next whole line without its end; nullopt when there is none yet. Errors: qmp_failed:
    // longer than qmp_line_bytes_max.
    Result<std::optional<std::string>> next();

private:
    std::string text_;
    std::size_t at_ = 0, searched_ = 0;  // Taken so far; no line end before `searched_`.
};

}  // namespace cw::agent
