#include "appliance/operator/failback_hint.h"

#include "base/log.h"

#include <sstream>

#include <nlohmann/json.hpp>

namespace cw::appliance {
namespace {

using nlohmann::json;
using recovery::ByteRange;

Result<std::vector<ByteRange>> parse_map(const json& map, const std::string& name) {
    std::vector<ByteRange> out;
    for (const json& entry : map) {
        const auto number = [&](const char* key) {
            return entry.is_object() && entry.contains(key) && entry[key].is_number_unsigned()
                       ? entry[key].get<std::uint64_t>()
                       : UINT64_MAX;
        };
        if (number("type") == UINT64_MAX || number("offset") == UINT64_MAX) {
            return fail(Errc::usage, name + ": an entry lacks offset, length or type");
        }
        if ((number("type") & 1) != 0) {
            out.push_back({number("offset"), number("length")});
        }
    }
    return out;
}

}  // namespace

Result<std::vector<ByteRange>> parse_failback_hint(std::string_view text, const std::string& name) {
    if (const json map = json::parse(text, nullptr, false); map.is_array()) {
        return parse_map(map, name);
    }
    std::vector<ByteRange> out;
    std::istringstream lines{std::string(text)};
    for (std::string line; std::getline(lines, line);) {
        std::istringstream words(line);
        ByteRange range;
        std::string more;
        if (!(words >> range.offset >> range.length) || words >> more) {
            return fail(Errc::usage, name + ": not OFFSET LENGTH: " + escape_for_display(line));
        }
        out.push_back(range);
    }
    return out;
}

}  // namespace cw::appliance
