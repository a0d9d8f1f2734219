#include "appliance/operator/failback_hint.h"

#include "base/log.h"

#include <algorithm>
#include <sstream>
#include <stdexcept>

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

constexpr std::string_view format_name = "causeway-changes/1";

// A clock of the kernel's stamps files; it runs up to a tick behind the one that stamps points.
constexpr std::int64_t file_time_slack_us = 100'000;

json mark_json(const HistoryMark& mark) {
    return {{"generation", raw(mark.generation)}, {"sequence", raw(mark.cut)}};
}

// What nlohmann converts out of a broken or huge number is not defined. Throws; caught by
// parse_origin().
std::uint64_t number_of(const json& value) {
    if (!value.is_number_unsigned()) {
        throw std::invalid_argument("a number that is not one");
    }
    return value.get<std::uint64_t>();
}

HistoryMark mark_of(const json& value) {
    return {Generation{number_of(value.at("generation"))}, Seq{number_of(value.at("sequence"))}};
}

Result<FailbackHintFile> parse_origin(const json& value, const std::string& name) {
    try {
        if (value.at("format").get<std::string>() != format_name) {
            return fail(Errc::usage, name + ": a hint of a format that is not known");
        }
        HintOrigin origin;
        CW_TRY_ASSIGN(origin.machine, parse_id<MachineId>(value.at("machine").get<std::string>()));
        CW_TRY_ASSIGN(origin.disk, parse_id<DiskId>(value.at("disk").get<std::string>()));
        origin.size_bytes = number_of(value.at("size_bytes"));
        const json& since = value.at("since");
        CW_TRY_ASSIGN(origin.since, parse_id<PointId>(since.at("point").get<std::string>()));
        origin.since_time = WallMicros{static_cast<std::int64_t>(
            std::min<std::uint64_t>(number_of(since.at("time_us")), INT64_MAX))};
        origin.since_mark = mark_of(since);
        origin.until = mark_of(value.at("until"));
        FailbackHintFile file{origin, {}};
        for (const json& extent : value.at("extents")) {
            file.ranges.push_back({number_of(extent.at(0)), number_of(extent.at(1))});
        }
        return file;
    } catch (const std::exception&) {
        return fail(Errc::usage, name + ": not what `causeway changes` writes");
    }
}

}  // namespace

std::string print_hint(const HintOrigin& origin, const std::vector<ByteRange>& ranges) {
    json since = mark_json(origin.since_mark);
    since["point"] = to_string(origin.since);
    since["time_us"] = raw(origin.since_time);
    json extents = json::array();
    for (const ByteRange& range : ranges) {
        extents.push_back({range.offset, range.length});
    }
    const json out{{"format", format_name},          {"machine", to_string(origin.machine)},
                   {"disk", to_string(origin.disk)}, {"size_bytes", origin.size_bytes},
                   {"since", std::move(since)},      {"until", mark_json(origin.until)},
                   {"extents", std::move(extents)}};
    return out.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
}

Result<std::optional<std::string>> judge_hint(const HintOrigin& origin, const HintUse& use) {
    using Reason = std::optional<std::string>;
    if (origin.machine != use.machine || origin.disk != use.disk ||
        origin.size_bytes != use.size_bytes) {
        return fail(Errc::usage, "the hint is of disk " + to_string(origin.disk) + " of machine " +
                                     to_string(origin.machine) + ", " +
                                     std::to_string(origin.size_bytes) + " bytes");
    }
    if (!use.since_is_there) {
        return Reason("the point that was failed over to is no longer in the vault");
    }
    const bool same_history = use.point.generation <= origin.since_mark.generation;
    if (same_history && use.point != origin.since_mark) {
        return Reason("the chosen point is not of the machine that was failed over");
    }
    if (use.point > origin.until) {
        return Reason("the chosen point was made after the hint was taken");
    }
    if (use.target_trusted) {
        return Reason();
    }
    if (!use.target_written) {
        return Reason("when a device was last written cannot be told");
    }
    if (raw(*use.target_written) + file_time_slack_us > raw(origin.since_time)) {
        return Reason("the old disk was written after the point that was failed over to");
    }
    if (!use.earlier_point) {
        return Reason("no earlier point tells whether the old disk is an older copy");
    }
    if (raw(*use.target_written) + file_time_slack_us < raw(*use.earlier_point)) {
        return Reason("the old disk is an older copy: it lacks writes of the point");
    }
    return Reason("only you can know that the old disk is as it was at the point: --trust-hint");
}

Result<FailbackHintFile> parse_failback_hint(std::string_view text, const std::string& name) {
    const json value = json::parse(text, nullptr, false);
    if (value.is_object()) {
        return parse_origin(value, name);
    }
    FailbackHintFile file;
    if (value.is_array()) {
        CW_TRY_ASSIGN(file.ranges, parse_map(value, name));
        return file;
    }
    std::vector<ByteRange>& out = file.ranges;
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
    return file;
}

}  // namespace cw::appliance
