#include "appliance/health_metrics.h"

#include <map>

namespace cw::appliance {

void HealthMetrics::show(const DaemonStatus& status, const HealthReport& health) {
    std::map<std::string, double> standing;
    for (const Condition& condition : status.conditions) {
        standing[std::string(name_of(condition.code))] += 1;
    }
    for (const auto& [code, count] : standing) {
        seen_.insert(code);
    }
    for (const std::string& code : seen_) {
        const auto found = standing.find(code);
        metrics_.gauge("causeway_conditions", {{"code", code}})
            .set(found == standing.end() ? 0 : found->second);
    }
    metrics_.gauge("causeway_health", {{"component", "server"}})
        .set(static_cast<double>(health.level));
}

}  // namespace cw::appliance
