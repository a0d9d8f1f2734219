#include "bench/cpu_meter.h"

#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <string>

namespace cw::bench {
namespace {

double read_clock(clockid_t clock) {
    timespec t{};
    if (::clock_gettime(clock, &t) != 0) {
        return -1;
    }
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) / 1e9;
}

}  // namespace

double thread_cpu_s() {
    return read_clock(CLOCK_THREAD_CPUTIME_ID);
}
double process_cpu_s() {
    return read_clock(CLOCK_PROCESS_CPUTIME_ID);
}
double wall_s() {
    return read_clock(CLOCK_MONOTONIC);
}

double process_cpu_s(pid_t pid) {
    clockid_t clock{};
    return ::clock_getcpuclockid(pid, &clock) == 0 ? read_clock(clock) : -1;
}

double peak_rss_mib(pid_t pid) {
    std::ifstream status("/proc/" + std::to_string(pid) + "/status");
    std::string word;
    while (status >> word) {
        if (word == "VmHWM:") {
            double kib = 0;
            status >> kib;
            return kib / 1024;
        }
    }
    return -1;
}

double load_average() {
    double load[1] = {};
    return ::getloadavg(load, 1) == 1 ? load[0] : -1;
}

}  // namespace cw::bench
