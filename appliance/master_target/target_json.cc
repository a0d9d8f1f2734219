#include "appliance/master_target/target_json.h"

#include "base/log.h"
#include "config/settings.h"
#include "recovery/catalog.h"

#include <cmath>

#include <nlohmann/json.hpp>

namespace cw::appliance {
namespace {

using nlohmann::json;

constexpr std::size_t earlier_shown_max = 20'000;  // A day of points every 5 s.

json point_json(const volume::HeldPoint& point) {
    return {{"id", to_string(point.id)},
            {"kind", pipeline::name_of(point.kind)},
            {"tag", point.tag},
            {"seq", raw(point.cut)},
            {"source_time_us", raw(point.source_time)}};
}

const char* name_of(TargetWork::What what) {
    switch (what) {
        case TargetWork::What::none:
            return "none";
        case TargetWork::What::merging:
            return "merging";
        case TargetWork::What::switching:
            return "switching";
    }
    return "";
}

std::string shown(const json& of, const char* key) {
    return escape_for_display(of.value(key, ""));
}

std::string time_of(const json& point) {
    return recovery::time_text(WallMicros{point.value("source_time_us", std::int64_t{0})});
}

std::string work_text(const json& work) {
    std::string out = "  " + work.value("what", "") + ": " +
                      config::format_bytes(work.value("done_bytes", std::uint64_t{0})) + " of " +
                      config::format_bytes(work.value("total_bytes", std::uint64_t{0}));
    if (work.contains("bytes_per_s")) {
        out += ", " +
               config::format_bytes(static_cast<std::uint64_t>(work.value("bytes_per_s", 0.0))) +
               "/s, ETA " + std::to_string(std::lround(work.value("eta_s", 0.0))) + " s";
    }
    return out + "\n";
}

}  // namespace

json target_json(const TargetStatus& target) {
    json out{{"machine", to_string(target.machine)},
             {"disk", target.disk},
             {"path", target.path},
             {"work_directory", target.work_directory},
             {"identity", target.identity},
             {"size_bytes", target.size_bytes},
             {"phase", volume::name_of(target.phase)},
             {"generation", raw(target.generation)},
             {"received_seq", raw(target.received)},
             {"committed_seq", raw(target.committed)},
             {"resync_open", target.resync_open},
             {"taken_bytes", target.taken_bytes},
             {"blocks_compared", target.blocks_compared},
             {"earlier_points", json::array()}};
    if (target.point) {
        out["point"] = point_json(*target.point);
    }
    for (const volume::HeldPoint& point : target.earlier) {
        if (out["earlier_points"].size() == earlier_shown_max) {
            break;
        }
        out["earlier_points"].push_back(point_json(point));
    }
    if (const TargetWork& work = target.work; work.what != TargetWork::What::none) {
        out["work"] = {{"what", name_of(work.what)},
                       {"done_bytes", work.done_bytes},
                       {"total_bytes", work.total_bytes}};
        if (work.eta_s >= 0) {
            out["work"]["bytes_per_s"] = work.bytes_per_s;
            out["work"]["eta_s"] = work.eta_s;
        }
    }
    if (target.trouble) {
        out["trouble"] = to_string(*target.trouble);
        out["trouble_number"] = raw(target.trouble->code);
        out["trouble_detail"] = target.trouble->detail;
        out["trouble_next"] = target.trouble->next;
    }
    return out;
}

std::string target_text(const json& target) {
    std::string out = shown(target, "path") + "  " + shown(target, "phase") + "\n  machine " +
                      shown(target, "machine") + ", disk " + shown(target, "disk") + ", " +
                      shown(target, "identity") + "\n";
    if (target.contains("point")) {
        const json& point = target["point"];
        out += "  holds point " + shown(point, "id") + " (write " +
               std::to_string(point.value("seq", std::uint64_t{0})) + ", " + time_of(point) + ")\n";
    } else {
        out += "  holds no point yet\n";
    }
    if (const json earlier = target.value("earlier_points", json::array()); !earlier.empty()) {
        out += "  can also become one of " + std::to_string(earlier.size()) +
               " earlier points, back to " + time_of(earlier.back()) + "\n";
    }
    if (target.value("resync_open", false)) {
        out += "  a resync is under way: " +
               std::to_string(target.value("blocks_compared", std::uint64_t{0})) +
               " blocks compared, " +
               config::format_bytes(target.value("taken_bytes", std::uint64_t{0})) + " taken\n";
    }
    if (target.contains("work")) {
        out += work_text(target["work"]);
    }
    if (target.contains("trouble")) {
        out += "  ! " + shown(target, "trouble") + "\n";
    }
    return out;
}

}  // namespace cw::appliance
