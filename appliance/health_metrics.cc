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
    for (const auto& [machine, agent] : status.agents) {
        const Labels whose{{"machine", to_string(machine)}};
        metrics_.gauge("causeway_agent_mode", whose)
            .set(agent.connected ? static_cast<double>(agent.mode) : 0);
        metrics_.gauge("causeway_agent_owed_bytes", whose)
            .set(static_cast<double>(agent.backlog_bytes));
    }
}

}  // namespace cw::appliance
