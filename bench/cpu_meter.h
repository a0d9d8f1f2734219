// CPU time (user + system) and memory, the currency of these benchmarks. Seconds and MiB.
#pragma once

#include <sys/types.h>

namespace cw::bench {

double thread_cpu_s();
double process_cpu_s();
// Of another process, all its threads, dead ones too. Negative: it is gone.
double process_cpu_s(pid_t pid);
double wall_s();
// The most memory that `pid` ever had resident. Negative: it is gone.
double peak_rss_mib(pid_t pid);
// Load average of the last minute: noted beside every figure.
double load_average();

}  // namespace cw::bench
