#include "appliance/event_line.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "base/checksum.h"
#include "base/ids.h"

#include <charconv>

namespace cw::appliance {
namespace {

constexpr std::size_t checksum_digits = 8;
constexpr char digits[] = "0123456789abcdef";

std::string checksum_of(std::string_view text) {
    std::uint32_t sum = crc32c(as_bytes(text));
    std::string out(checksum_digits, '0');
    for (auto digit = out.rbegin(); digit != out.rend(); ++digit, sum >>= 4) {
        *digit = digits[sum & 0xf];
    }
    return out;
}

void append_escaped(std::string& out, std::string_view text, std::size_t max) {
    for (const char c : text.substr(0, max)) {
        const auto byte = static_cast<unsigned char>(c);
        if (byte >= 0x20 && byte != 0x7f && c != '\\') {
            out += c;
        } else {
            out += '\\';
            out += digits[byte >> 4];
            out += digits[byte & 0xf];
        }
    }
}

std::optional<std::string> unescaped(std::string_view text) {
    std::string out;
    for (std::size_t at = 0; at < text.size(); ++at) {
        if (text[at] != '\\') {
            out += text[at];
            continue;
        }
        const auto byte = from_hex(text.substr(at + 1, 2));
        if (!byte || byte->size() != 1) {
            return std::nullopt;
        }
        out += static_cast<char>((*byte)[0]);
        at += 2;
    }
    return out;
}

// Takes words from the front of a line.
class Words {
public:
    explicit Words(std::string_view line) : rest_(line) {}

    std::string_view next() {
        const std::string_view word = rest_.substr(0, rest_.find(' '));
        rest_.remove_prefix(std::min(word.size() + 1, rest_.size()));
        return word;
    }
    template <typename Number>
    bool next(Number& out) {
        const std::string_view word = next();
        const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), out);
        return error == std::errc{} && end == word.data() + word.size();
    }
    [[nodiscard]] std::string_view rest() const { return rest_; }

private:
    std::string_view rest_;
};

}  // namespace

std::string event_line(const ConditionEvent& event) {
    const Condition& condition = event.condition;
    std::string text = std::to_string(raw(event.at)) + (event.raised ? " raised " : " cleared ") +
                       std::to_string(raw(condition.code)) + " " +
                       std::to_string(raw(condition.since_wall)) + " " +
                       std::to_string(condition.count) + " ";
    append_escaped(text, condition.subject, event_subject_max);
    text += '\t';
    append_escaped(text, condition.detail, event_detail_max);
    std::string line = checksum_of(text) + " " + text + "\n";
    CW_ASSERT(line.size() <= event_line_max);
    return line;
}

Result<ConditionEvent> parse_event_line(std::string_view line) {
    const auto damaged = [] { return fail(Errc::record_corrupt, "not a line of events"); };
    if (line.size() <= checksum_digits + 1 || line[checksum_digits] != ' ' ||
        line.substr(0, checksum_digits) != checksum_of(line.substr(checksum_digits + 1))) {
        return damaged();
    }
    Words words(line.substr(checksum_digits + 1));
    std::int64_t at = 0, since = 0;
    std::uint16_t number = 0;
    std::uint64_t count = 0;
    const bool has_time = words.next(at);
    const std::string_view what = words.next();
    if (!has_time || !words.next(number) || !words.next(since) || !words.next(count) ||
        (what != "raised" && what != "cleared")) {
        return damaged();
    }
    const std::size_t tab = words.rest().find('\t');
    if (tab == std::string_view::npos) {
        return damaged();
    }
    const auto subject = unescaped(words.rest().substr(0, tab));
    const auto detail = unescaped(words.rest().substr(tab + 1));
    if (!subject || !detail) {
        return damaged();
    }
    const std::optional<Errc> code = errc_from_number(number);
    if (!code) {
        return fail(Errc::format_unsupported, "an event of code " + std::to_string(number));
    }
    return ConditionEvent{.condition = {.code = *code,
                                        .subject = *subject,
                                        .detail = *detail,
                                        .since_boot = Nanos{},
                                        .since_wall = WallMicros{since},
                                        .count = count},
                          .raised = what == "raised",
                          .at = WallMicros{at}};
}

}  // namespace cw::appliance
