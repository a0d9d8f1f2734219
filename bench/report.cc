#include "bench/report.h"

#include "base/ids.h"

#include <cstdio>

#include <nlohmann/json.hpp>

namespace cw::bench {

void print_json(const CaseReport& report) {
    const double gibs = report.bytes / static_cast<double>(gib);
    const double per_gib = gibs > 0 ? report.cpu_s / gibs : 0;
    nlohmann::ordered_json line;
    line["case"] = report.name;
    line["bytes"] = static_cast<std::uint64_t>(report.bytes);
    line["wall_s"] = report.wall_s;
    line["cpu_s"] = report.cpu_s;
    line["cpu_s_per_gib"] = per_gib;
    line["limit_cpu_s_per_gib"] = report.limit_cpu_s_per_gib;
    line["efficiency"] = per_gib > 0 ? report.limit_cpu_s_per_gib / per_gib : 0;
    line["mib_per_s"] =
        report.wall_s > 0 ? report.bytes / static_cast<double>(mib) / report.wall_s : 0;
    line["stored_ratio"] = report.stored_ratio;
    line["ack_p50_ms"] = report.ack_p50_ms;
    line["ack_p99_ms"] = report.ack_p99_ms;
    line["peak_rss_mib"] = report.peak_rss_mib;
    line["dsync_p99_ms"] = report.dsync_p99_ms;
    line["load_average"] = report.load_average;
    std::printf("%s\n",
                line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
    std::fflush(stdout);
}

}  // namespace cw::bench
