#include "agent/stream/pause_report.h"

#include "base/log.h"

#include <algorithm>
#include <utility>

namespace cw::agent {

void PauseReport::cut(const PointId& id, std::int64_t pause_ns) {
    ++numbers_.points;
    numbers_.last_ns = pause_ns;
    numbers_.longest_ns = std::max(numbers_.longest_ns, pause_ns);
    const bool over = pause_ns > point_pause_max_ns;
    numbers_.over_limit += over ? 1 : 0;
    log(over ? LogLevel::warning : LogLevel::info, "agent.point.cut",
        {{"point", id}, {"pause_us", pause_ns / ns_per_us}, {"within_limit", !over}});
}

void PauseReport::gave_up(std::string disk, std::int64_t after_ns) {
    ++numbers_.given_up;
    numbers_.waited_for = std::move(disk);
    numbers_.waited_ns = after_ns;
}

}  // namespace cw::agent
