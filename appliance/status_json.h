// What the daemon says of itself, as JSON: `causeway status --json` prints exactly this.
#pragma once

#include "appliance/agent_watch.h"
#include "appliance/master_target/target_status.h"
#include "base/conditions.h"
#include "cache/spool.h"
#include "config/settings.h"
#include "egress/upload/status.h"

#include <cstdint>
#include <string>
#include <vector>

namespace cw::appliance {

// Health is the worst alarm, with reasons (thresholds: docs/operations.md).
enum class Health : std::uint8_t { ok = 0, warning = 1, critical = 2 };
std::string_view name_of(Health health) noexcept;

struct HealthReport {
    Health level = Health::ok;
    std::vector<std::string> reasons;
};

struct DaemonStatus {
    std::string name, server_id, role;
    std::uint16_t replication_port = 0, control_port = 0;
    double uptime_s = 0;
    std::uint64_t memory_budget_bytes = 0, resident_bytes = 0;
    std::size_t sessions = 0;
    cache::SpoolUsage cache;
    double cache_full_forecast_s = -1;  // -1: not filling
    upload::EngineStatus engine;
    std::map<MachineId, AgentStatus> agents;  // Of the engine's machines.
    std::vector<TargetStatus> targets;        // Of a master target.
    std::vector<Condition> conditions;
};

HealthReport judge_health(const DaemonStatus& status, const config::Settings& settings);
std::string status_json(const DaemonStatus& status, const HealthReport& health);
std::string events_json(const std::vector<ConditionEvent>& events);
// The same for people, from the JSON (the CLI has nothing else). `line`: one line.
std::string status_text(const std::string& json, bool line);
std::string events_text(const std::string& json);

}  // namespace cw::appliance
