// One line of JSON per case, with the fields that scripts rely on.
#pragma once

#include <string>

namespace cw::bench {

struct CaseReport {
    std::string name;
    double bytes = 0;  // Source bytes.
    double wall_s = 0;
    double cpu_s = 0;  // Of the measured process alone.
    double limit_cpu_s_per_gib = 0;
    double stored_ratio = 0;
    double ack_p50_ms = 0, ack_p99_ms = 0;
    double peak_rss_mib = 0;
    double dsync_p99_ms = 0;   // The cache device alone, in the same run; 0: not measured.
    double load_average = -1;  // At the end; -1: unknown.
};

void print_json(const CaseReport& report);

}  // namespace cw::bench
