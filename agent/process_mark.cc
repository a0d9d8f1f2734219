#include "agent/process_mark.h"

#include <algorithm>
#include <fstream>
#include <sstream>

#include <unistd.h>

namespace cw::agent {
namespace {

constexpr int start_field = 22;  // See proc(5).

struct Stat {
    char state = 0;
    std::uint64_t start_ticks = 0;
};

std::optional<Stat> stat_of(int pid) {
    std::ifstream in("/proc/" + std::to_string(pid) + "/stat");
    std::string line;
    if (pid <= 0 || !std::getline(in, line, '\0')) {
        return std::nullopt;
    }
    // The second field is the name in brackets, which may hold blanks, brackets and line ends.
    const std::size_t name_end = line.rfind(") ");
    if (name_end == std::string::npos) {
        return std::nullopt;
    }
    std::istringstream fields(line.substr(name_end + 2));
    Stat stat;
    fields >> stat.state;
    std::string skipped;
    for (int field = 4; field < start_field; ++field) {
        fields >> skipped;
    }
    fields >> stat.start_ticks;
    return fields ? std::optional(stat) : std::nullopt;
}

std::string boot_id() {
    std::ifstream in("/proc/sys/kernel/random/boot_id");
    std::string id;
    in >> id;
    return id;
}

}  // namespace

std::optional<ProcessMark> mark_of(int pid) {
    const auto stat = stat_of(pid);
    std::string boot = boot_id();
    if (!stat || boot.empty()) {
        return std::nullopt;
    }
    return ProcessMark{pid, stat->start_ticks, std::move(boot)};
}

bool still_runs(const ProcessMark& mark) {
    const auto stat = stat_of(mark.pid);
    return stat && stat->state != 'Z' && stat->state != 'X' &&
           stat->start_ticks == mark.start_ticks && boot_id() == mark.boot;
}

Nanos started_at(const ProcessMark& mark, Nanos now) {
    const long ticks_per_s = ::sysconf(_SC_CLK_TCK);
    const auto hz = static_cast<std::uint64_t>(ticks_per_s > 0 ? ticks_per_s : 100);
    const std::uint64_t s = mark.start_ticks / hz, rest = mark.start_ticks % hz;
    constexpr std::uint64_t s_max = INT64_MAX / ns_per_s - 1;
    const auto start = static_cast<std::int64_t>(std::min(s, s_max)) * ns_per_s +
                       static_cast<std::int64_t>(rest * ns_per_s / hz);
    return std::min(Nanos{start}, now);
}

std::string to_string(const ProcessMark& mark) {
    return std::to_string(mark.pid) + " " + std::to_string(mark.start_ticks) + " " + mark.boot;
}

std::optional<ProcessMark> parse_mark(std::string_view text) {
    std::istringstream in{std::string(text)};
    ProcessMark mark;
    std::string more;
    if (!(in >> mark.pid >> mark.start_ticks >> mark.boot) || in >> more || mark.pid <= 1) {
        return std::nullopt;
    }
    return mark;
}

}  // namespace cw::agent
