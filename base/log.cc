#include "base/log.h"

#include <array>
#include <cstdlib>
#include <memory>

#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

namespace cw {
namespace {

constexpr std::size_t field_bytes_max = 1024;
constexpr std::string_view ellipsis = "…";
constexpr std::string_view hex_digits = "0123456789abcdef";

spdlog::level::level_enum spdlog_level(LogLevel level) noexcept {
    switch (level) {
        case LogLevel::trace:
            return spdlog::level::trace;
        case LogLevel::debug:
            return spdlog::level::debug;
        case LogLevel::info:
            return spdlog::level::info;
        case LogLevel::warning:
            return spdlog::level::warn;
        case LogLevel::error:
            return spdlog::level::err;
    }
    return spdlog::level::err;
}

// True if standard error is the journal's own stream: systemd says which file that is.
bool writes_to_journal() {
    const char* const stream = std::getenv("JOURNAL_STREAM");
    struct stat status{};
    return stream != nullptr && fstat(STDERR_FILENO, &status) == 0 &&
           stream == std::to_string(status.st_dev) + ":" + std::to_string(status.st_ino);
}

// "<4>": the priority prefix that journald strips from a line, see sd-daemon(3).
class PriorityFlag final : public spdlog::custom_flag_formatter {
public:
    void format(const spdlog::details::log_msg& message, const std::tm&,
                spdlog::memory_buf_t& out) override {
        const std::string_view prefix = prefix_of(message.level);
        out.append(prefix.data(), prefix.data() + prefix.size());
    }
    std::unique_ptr<custom_flag_formatter> clone() const override {
        return std::make_unique<PriorityFlag>();
    }

private:
    static std::string_view prefix_of(spdlog::level::level_enum level) noexcept {
        if (level >= spdlog::level::err) {
            return "<3>";
        }
        if (level == spdlog::level::warn) {
            return "<4>";
        }
        return level == spdlog::level::info ? "<6>" : "<7>";
    }
};

std::unique_ptr<spdlog::logger> make_logger() {
    auto sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
    auto formatter =
        std::make_unique<spdlog::pattern_formatter>(spdlog::pattern_time_type::utc, "\n");
    if (writes_to_journal()) {
        formatter->add_flag<PriorityFlag>('*').set_pattern("%*%v");
    } else {
        formatter->set_pattern("%Y-%m-%dT%H:%M:%S.%eZ %l %v");
    }
    sink->set_formatter(std::move(formatter));
    auto logger = std::make_unique<spdlog::logger>("causeway", std::move(sink));
    logger->set_level(spdlog::level::info);
    return logger;
}

spdlog::logger& logger() {
    // Never destroyed: threads may log while the process exits.
    static spdlog::logger* const instance = make_logger().release();
    return *instance;
}

bool needs_quotes(std::string_view text) noexcept {
    constexpr std::string_view bare = "-._:/+@,%[]";
    for (const char c : text) {
        const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!letter && !(c >= '0' && c <= '9') && bare.find(c) == std::string_view::npos) {
            return true;
        }
    }
    return text.empty();
}

// How many bytes the sequence beginning with `first` has; 0 if none begins with it.
std::size_t utf8_length(unsigned char first) noexcept {
    if (first < 0x80) {
        return 1;
    }
    if (first < 0xc2 || first > 0xf4) {
        return 0;
    }
    return first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
}

// Length of the valid UTF-8 sequence at the start of `text`, with its code point; 0 if there is
// none (RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF).
std::size_t decode_utf8(std::string_view text, char32_t& code_point) noexcept {
    const auto first = static_cast<unsigned char>(text[0]);
    const std::size_t length = utf8_length(first);
    if (length == 0 || text.size() < length) {
        return 0;
    }
    constexpr std::array<unsigned char, 5> lead_mask{0, 0x7f, 0x1f, 0x0f, 0x07};
    code_point = first & lead_mask[length];
    for (std::size_t i = 1; i < length; ++i) {
        const auto next = static_cast<unsigned char>(text[i]);
        if ((next & 0xc0) != 0x80) {
            return 0;
        }
        code_point = (code_point << 6) | (next & 0x3f);
    }
    const bool overlong =
        (length == 3 && code_point < 0x800) || (length == 4 && code_point < 0x10000);
    const bool surrogate = code_point >= 0xd800 && code_point <= 0xdfff;
    return overlong || surrogate || code_point > 0x10ffff ? 0 : length;
}

// Characters that could end a line or change what a terminal shows.
bool is_unsafe(char32_t c) noexcept {
    const bool control = c < 0x20 || (c >= 0x7f && c <= 0x9f);
    const bool syntax = c == '\\';  // Of what is written instead.
    const bool separator = c == 0x2028 || c == 0x2029 || c == 0xfeff;
    const bool bidirectional = c == 0x061c || c == 0x200e || c == 0x200f ||
                               (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);
    return control || syntax || separator || bidirectional;
}

std::string escape(std::string_view text, std::size_t max, bool quotes) {
    std::string out;
    while (!text.empty()) {
        char32_t code_point = 0;
        const std::size_t length = decode_utf8(text, code_point);
        const std::size_t taken = length == 0 ? 1 : length;
        std::string piece;
        if (length == 0 || is_unsafe(code_point) || (quotes && code_point == '"')) {
            for (std::size_t i = 0; i < taken; ++i) {
                const auto byte = static_cast<unsigned char>(text[i]);
                piece += {'\\', 'x', hex_digits[byte >> 4], hex_digits[byte & 15]};
            }
        } else {
            piece = text.substr(0, taken);
        }
        if (out.size() + piece.size() > max) {
            out += ellipsis;
            break;
        }
        out += piece;
        text.remove_prefix(taken);
    }
    return out;
}

struct FieldText {
    std::string operator()(std::string_view text) const {
        // Quotes and the ellipsis fit beneath the limit as well.
        const std::string value = escape(text, field_bytes_max - 2 - ellipsis.size(), true);
        return needs_quotes(value) ? '"' + value + '"' : value;
    }
    std::string operator()(bool value) const { return value ? "true" : "false"; }
    template <typename Number>
    std::string operator()(Number value) const {
        return std::to_string(value);
    }
    std::string operator()(const Error* error) const {
        return (*this)(std::string_view(to_string(*error)));
    }
    std::string operator()(const std::array<std::byte, 16>* id) const { return uuid_text(*id); }
};

}  // namespace

std::string escape_for_display(std::string_view text, std::size_t max) {
    return escape(text, max, false);
}

std::string LogField::value() const {
    return std::visit(FieldText{}, value_);
}

void log(LogLevel level, std::string_view event, std::initializer_list<LogField> fields) {
    const spdlog::level::level_enum wanted = spdlog_level(level);
    if (!logger().should_log(wanted)) {
        return;
    }
    std::string line(event);
    for (const LogField& field : fields) {
        line += ' ';
        line += field.key();
        line += '=';
        line += field.value();
    }
    logger().log(wanted, spdlog::string_view_t(line.data(), line.size()));
}

void set_log_level(LogLevel level) {
    logger().set_level(spdlog_level(level));
}

Result<LogLevel> parse_log_level(std::string_view text) {
    for (const auto& [name, level] :
         {std::pair<std::string_view, LogLevel>{"trace", LogLevel::trace},
          {"debug", LogLevel::debug},
          {"info", LogLevel::info},
          {"warning", LogLevel::warning},
          {"error", LogLevel::error}}) {
        if (text == name) {
            return level;
        }
    }
    return fail(Errc::config_invalid, "log level is one of trace, debug, info, warning, error");
}

}  // namespace cw
