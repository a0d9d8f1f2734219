// Conditions and health as metrics: causeway_conditions{code}, causeway_health{component}; and what
// agents say of themselves: causeway_agent_mode{machine} (0: not connected, 1 data, 2 metadata, 3
// bitmap), causeway_agent_owed_bytes{machine}.
#pragma once

#include "appliance/status_json.h"
#include "base/metrics.h"

#include <set>
#include <string>

namespace cw::appliance {

// Used by one thread.
class HealthMetrics {
public:
    explicit HealthMetrics(MetricRegistry& metrics) : metrics_(metrics) {}
    // A code that has stood once keeps its series, at 0 when it does not stand: alerts see it end.
    void show(const DaemonStatus& status, const HealthReport& health);

private:
    MetricRegistry& metrics_;
    std::set<std::string> seen_;
};

}  // namespace cw::appliance
