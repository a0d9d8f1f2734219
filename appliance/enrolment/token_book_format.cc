// The file of tokens: a first line, then one line for each.
#include "appliance/enrolment/token_book.h"

#include <algorithm>
#include <charconv>

namespace cw::appliance {
namespace {

constexpr std::string_view first_line = "causeway enrolment tokens 1";

std::string_view take_word(std::string_view& line, char separator) {
    const auto end = std::min(line.find(separator), line.size());
    const std::string_view word = line.substr(0, end);
    line.remove_prefix(std::min(end + 1, line.size()));
    return word;
}

template <typename T>
Result<T> parse_number(std::string_view text) {
    T number{};
    const auto [end, bad] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (text.empty() || bad != std::errc{} || end != text.data() + text.size()) {
        return fail(Errc::config_invalid, "not a number");
    }
    return number;
}

Result<Sha256> parse_digest(std::string_view text) {
    const auto bytes = from_hex(text);
    Sha256 digest;
    if (!bytes || bytes->size() != digest.size()) {
        return fail(Errc::config_invalid, "not a digest");
    }
    std::copy(bytes->begin(), bytes->end(), digest.begin());
    return digest;
}

// "HASH EXPIRES USES MACHINE|-[ KEY:MACHINE]…"
Result<TokenEntry> parse_entry(std::string_view line) {
    TokenEntry entry;
    CW_TRY_ASSIGN(entry.hash, parse_digest(take_word(line, ' ')));
    CW_TRY_ASSIGN(entry.expires_s, parse_number<std::int64_t>(take_word(line, ' ')));
    CW_TRY_ASSIGN(entry.uses, parse_number<std::uint32_t>(take_word(line, ' ')));
    const std::string_view machine = take_word(line, ' ');
    if (machine != "-") {
        CW_TRY_ASSIGN(entry.machine, parse_id<MachineId>(machine));
    }
    while (!line.empty()) {
        std::string_view word = take_word(line, ' ');
        TokenGrant grant;
        CW_TRY_ASSIGN(grant.key, parse_digest(take_word(word, ':')));
        CW_TRY_ASSIGN(grant.machine, parse_id<MachineId>(word));
        entry.grants.push_back(grant);
    }
    if (entry.uses == 0 || entry.uses > TokenBook::uses_max || entry.grants.size() > entry.uses) {
        return fail(Errc::config_invalid, "uses out of range");
    }
    return entry;
}

}  // namespace

Result<std::vector<TokenEntry>> parse_token_book(std::string_view text) {
    std::vector<TokenEntry> entries;
    if (take_word(text, '\n') != first_line) {
        return fail(Errc::config_invalid, "line 1 is not '" + std::string(first_line) + "'");
    }
    for (std::size_t number = 2; !text.empty(); ++number) {
        const auto entry = parse_entry(take_word(text, '\n'));
        if (!entry) {
            return fail(Errc::config_invalid, "line " + std::to_string(number));
        }
        entries.push_back(*entry);
    }
    return entries;
}

std::string format_token_book(const std::vector<TokenEntry>& entries) {
    std::string text = std::string(first_line) + '\n';
    for (const TokenEntry& entry : entries) {
        text += to_hex(entry.hash) + ' ' + std::to_string(entry.expires_s) + ' ' +
                std::to_string(entry.uses) + ' ' +
                (entry.machine ? to_string(*entry.machine) : "-");
        for (const TokenGrant& grant : entry.grants) {
            text += ' ' + to_hex(grant.key) + ':' + to_string(grant.machine);
        }
        text += '\n';
    }
    return text;
}

}  // namespace cw::appliance
