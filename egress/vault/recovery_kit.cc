#include "egress/vault/recovery_kit.h"

#include "base/bytes.h"

#include <algorithm>
#include <array>
#include <optional>

namespace cw::vault {
namespace {

constexpr std::size_t lines = 4, line_bytes = sizeof(Key256) / lines, check_bytes = 2;
constexpr std::string_view check_word = "check";

// Bound to its place: exchanged lines are slips too.
std::array<std::byte, check_bytes> check_of(std::size_t line, Bytes part) {
    Sha256Stream hash;
    hash.update(as_bytes("causeway kit " + std::to_string(line + 1)));
    hash.update(part);
    const Sha256 digest = hash.finish();
    return {digest[0], digest[1]};
}

std::string_view trimmed(std::string_view text) {
    constexpr std::string_view space = " \t\r\n";
    const auto begin = std::min(text.find_first_not_of(space), text.size());
    return text.substr(begin, text.find_last_not_of(space) + 1 - begin);
}

// The hex digits of `text` without its blanks.
Result<ByteVector> digits_of(std::string_view text) {
    std::string digits;
    std::ranges::copy_if(text, std::back_inserter(digits),
                         [](char c) { return c != ' ' && c != '\t'; });
    auto bytes = from_hex(digits);
    wipe({reinterpret_cast<std::byte*>(digits.data()), digits.size()});
    return bytes;
}

// Writes one line's part of the key. False: it is mistyped.
bool take_line(std::size_t line, std::string_view text, Key256& key) {
    const auto word = text.find(check_word);
    if (word == std::string_view::npos) {
        return false;
    }
    auto part = digits_of(text.substr(0, word));
    const auto check = digits_of(trimmed(text.substr(word + check_word.size())));
    const bool right = part && part->size() == line_bytes && check &&
                       std::ranges::equal(*check, check_of(line, *part));
    if (right) {
        std::copy(part->begin(), part->end(),
                  key.begin() + static_cast<std::ptrdiff_t>(line * line_bytes));
    }
    if (part) {
        wipe(*part);
    }
    return right;
}

Result<Secret<Key256>> parse_kit(std::string_view text) {
    std::array<bool, lines> found{};
    Key256 key{};
    std::optional<std::size_t> wrong;
    while (!text.empty()) {
        const auto end = std::min(text.find('\n'), text.size());
        const std::string_view line = trimmed(text.substr(0, end));
        text.remove_prefix(std::min(end + 1, text.size()));
        for (std::size_t i = 0; i < lines; ++i) {
            const std::string begin = "key " + std::to_string(i + 1) + ' ';
            if (line.starts_with(begin)) {
                found[i] = true;
                if (!take_line(i, line.substr(begin.size()), key)) {
                    wrong = i;
                }
            }
        }
    }
    const auto missing = std::ranges::find(found, false);
    if (!wrong && missing != found.end()) {
        wrong = static_cast<std::size_t>(missing - found.begin());
    }
    Secret<Key256> secret(key);
    wipe(key);
    if (wrong) {
        return fail(Errc::key_unavailable, "line 'key " + std::to_string(*wrong + 1) +
                                               "' of the recovery kit is mistyped or missing");
    }
    return secret;
}

}  // namespace

Secret<std::string> kit_lines(const Secret<Key256>& key) {
    std::string text;
    for (std::size_t line = 0; line < lines; ++line) {
        const Bytes part = Bytes(key.reveal()).subspan(line * line_bytes, line_bytes);
        text += "key " + std::to_string(line + 1) + ' ';
        for (std::size_t at = 0; at < line_bytes; at += 2) {
            text += ' ' + to_hex(part.subspan(at, 2));
        }
        text += "  " + std::string(check_word) + ' ' + to_hex(check_of(line, part)) + '\n';
    }
    return Secret(std::move(text));
}

Result<Secret<Key256>> parse_kek_text(std::string_view text) {
    if (text.find(check_word) != std::string_view::npos) {
        return parse_kit(text);
    }
    auto bytes = from_hex(trimmed(text));
    Key256 key{};
    const bool valid = bytes && bytes->size() == key.size();
    if (valid) {
        std::copy(bytes->begin(), bytes->end(), key.begin());
        wipe(*bytes);
    }
    Secret<Key256> secret(key);
    wipe(key);
    if (!valid) {
        return fail(Errc::key_unavailable, "not 64 hexadecimal digits, and not a recovery kit");
    }
    return secret;
}

}  // namespace cw::vault
