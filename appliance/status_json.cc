#include "appliance/status_json.h"

#include "appliance/master_target/target_json.h"
#include "appliance/protection_state.h"
#include "base/log.h"
#include "recovery/catalog.h"

#include <algorithm>

#include <nlohmann/json.hpp>

namespace cw::appliance {
namespace {

using nlohmann::json;

json point_json(const vault::PointEntry& point) {
    return {{"id", to_string(point.id)},
            {"source_time_us", raw(point.source_time)},
            {"tag", point.tag}};
}

json disk_json(const upload::DiskStatus& disk) {
    json out{{"id", to_string(disk.disk)},           {"name", disk.name},
             {"size_bytes", disk.size_bytes},        {"generation", raw(disk.generation)},
             {"assembled_seq", raw(disk.assembled)}, {"committed_seq", raw(disk.committed)},
             {"protected", disk.protected_},         {"damaged", disk.damaged}};
    if (disk.left_out) {
        out["left_out"] = true;
    }
    if (raw(disk.open_fence) != 0) {
        out["sync"] = {{"fence", raw(disk.open_fence)},
                       {"super_chunks_done", disk.base_done},
                       {"super_chunks_total", disk.base_total}};
    }
    return out;
}

json machine_json(const upload::MachineStatus& machine) {
    json out{{"id", to_string(machine.machine)},
             {"name", machine.name},
             {"mode", name_of(machine.mode)},
             {"manifest", machine.manifest_number},
             {"manifest_hash", to_hex(machine.manifest_hash)},
             {"epoch", raw(machine.epoch)},
             {"points", machine.points},
             {"backlog_bytes", machine.backlog_bytes},
             {"uploaded_bytes", machine.uploaded_bytes},
             {"coalesced_bytes", machine.coalesced_bytes},
             {"lanes", {{"active", machine.lanes_active}, {"waiting", machine.lanes_waiting}}},
             {"rpo_stage_seconds",
              {{"source", machine.stages.source},
               {"cache", machine.stages.cache},
               {"transform", machine.stages.transform},
               {"upload", machine.stages.upload},
               {"commit", machine.stages.commit}}},
             {"disks", json::array()}};
    for (const upload::DiskStatus& disk : machine.disks) {
        out["disks"].push_back(disk_json(disk));
    }
    if (machine.rpo_seconds) {
        out["rpo_seconds"] = *machine.rpo_seconds;
    }
    if (machine.newest_point) {
        out["newest_point"] = point_json(*machine.newest_point);
    }
    if (machine.trouble) {
        out["trouble"] = to_string(*machine.trouble);
    }
    return out;
}

json agent_json(const AgentStatus& agent) {
    json out{{"connected", agent.connected}, {"since_s", agent.since_s}};
    if (!agent.peer.empty()) {
        out["peer"] = agent.peer;
        out["software"] = agent.software;
    }
    if (agent.connected) {
        out["mode"] = name_of(agent.mode);
        out["owed_bytes"] = agent.backlog_bytes;
        out["reason"] = agent.reason;
        out["unread"] = json::array();
        for (const auto& [disk, unread] : agent.unread) {
            out["unread"].push_back(
                {{"disk", to_string(disk)}, {"bytes", unread.bytes}, {"ranges", unread.ranges}});
        }
    }
    return out;
}

json protection_json(const ProtectionView& protection) {
    json out{{"state", name_of(protection.state)}};
    if (!protection.reason.empty()) {
        out["reason"] = protection.reason;
    }
    return out;
}

json condition_json(const Condition& condition) {
    return {{"code", name_of(condition.code)},       {"number", raw(condition.code)},
            {"subject", condition.subject},          {"detail", condition.detail},
            {"cause", cause_of(condition.code)},     {"next", next_of(condition.code)},
            {"since_us", raw(condition.since_wall)}, {"count", condition.count}};
}

std::string percent(double share) {
    return std::to_string(static_cast<int>(share * 100)) + " %";
}

void judge_cache(const DaemonStatus& status, const config::Settings& settings,
                 HealthReport& report) {
    if (status.cache.capacity == 0) {
        return;
    }
    const double share =
        static_cast<double>(status.cache.free) / static_cast<double>(status.cache.capacity);
    const auto below = [&](std::int64_t limit) { return share * 100 < static_cast<double>(limit); };
    if (below(settings.cache_warn_free)) {
        report.level = std::max(
            report.level, below(settings.cache_critical_free) ? Health::critical : Health::warning);
        report.reasons.push_back("cache: " + percent(share) + " free");
    }
}

void judge_machine(const upload::MachineStatus& machine, const config::Settings& settings,
                   HealthReport& report) {
    const std::string who = machine.name.empty() ? to_string(machine.machine) : machine.name;
    if (machine.mode == upload::MachineMode::fenced) {
        report.level = Health::critical;
        const bool given_up = machine.trouble && machine.trouble->code == Errc::internal;
        report.reasons.push_back(who + (given_up ? ": given up, " + machine.trouble->detail
                                                 : ": owned by another server"));
    }
    if (machine.rpo_seconds && *machine.rpo_seconds * 1000 > static_cast<double>(rpo_alarm_ms_of(
                                                                 settings, machine.machine))) {
        report.level = std::max(report.level, Health::warning);
        report.reasons.push_back(who + ": RPO is " +
                                 std::to_string(static_cast<long>(*machine.rpo_seconds)) + " s");
    }
}

std::string number_text(const json& value, const char* key, const char* none) {
    if (!value.contains(key)) {
        return none;
    }
    char out[32];
    std::snprintf(out, sizeof out, "%.1f s", value.value(key, 0.0));
    return out;
}

// A disk's progress of initial sync, or nothing.
std::string sync_text(const json& machine) {
    std::string out;
    for (const json& disk : machine.value("disks", json::array())) {
        if (disk.contains("sync")) {
            const double done = disk["sync"].value("super_chunks_done", 0.0);
            const double total = disk["sync"].value("super_chunks_total", 1.0);
            out += ", sync " + percent(total > 0 ? done / total : 0);
        }
    }
    return out;
}

// What people or peers chose, as a terminal may see it. Longer: what tells of them, an error.
std::string shown(const json& of, const char* key) {
    return escape_for_display(of.value(key, ""));
}
std::string told(const std::string& text) {
    constexpr std::size_t told_max = 4096;
    return escape_for_display(text, told_max);
}

// What there is to say of a machine's agent: nothing, as long as it is there and sends every write.
std::string agent_text(const json& machine) {
    const json agent = machine.value("agent", json::object());
    if (agent.empty()) {
        return "";
    }
    if (!agent.value("connected", false)) {
        return "    no agent for " + number_text(agent, "since_s", "-") + "\n";
    }
    const std::string mode = agent.value("mode", "data");
    return mode == "data" ? ""
                          : "    the agent only notes what changes (" + mode + "): it owes " +
                                config::format_bytes(agent.value("owed_bytes", std::uint64_t{0})) +
                                "; " + shown(agent, "reason") + "\n";
}

// Why a machine is compared, or has to be.
std::string comparison_text(const json& machine) {
    const json protection = machine.value("protection", json::object());
    const std::string state = protection.value("state", "");
    return (state == "resyncing" || state == "resync-required") && protection.contains("reason")
               ? "    " + state + ": " + shown(protection, "reason") + "\n"
               : "";
}

std::string machine_text(const json& machine) {
    const json stages = machine.value("rpo_stage_seconds", json::object());
    std::string out =
        "  " + shown(machine, "name") + "  " + machine.value("id", "") + "  " +
        machine.value("mode", "") + ", " +
        machine.value("protection", json::object()).value("state", "") + sync_text(machine) +
        "\n    RPO " + number_text(machine, "rpo_seconds", "none yet") + " (source " +
        number_text(stages, "source", "-") + ", cache " + number_text(stages, "cache", "-") +
        ", transform " + number_text(stages, "transform", "-") + ", upload " +
        number_text(stages, "upload", "-") + ", commit " + number_text(stages, "commit", "-") +
        "), " + std::to_string(machine.value("points", 0)) + " points, uploaded " +
        config::format_bytes(machine.value("uploaded_bytes", std::uint64_t{0})) + ", waiting " +
        config::format_bytes(machine.value("backlog_bytes", std::uint64_t{0})) + "\n";
    out += comparison_text(machine) + agent_text(machine);
    if (machine.contains("trouble")) {
        out += "    " + told(machine.value("trouble", "")) + "\n";
    }
    return out;
}

std::string one_line(const json& status) {
    std::string out = "health " + status["health"].value("level", "?");
    for (const json& machine : status.value("machines", json::array())) {
        out +=
            " | " + shown(machine, "name") + " " + machine.value("mode", "") + sync_text(machine) +
            ", RPO " + number_text(machine, "rpo_seconds", "none yet") + ", uploaded " +
            config::format_bytes(machine.value("uploaded_bytes", std::uint64_t{0})) + ", waiting " +
            config::format_bytes(machine.value("backlog_bytes", std::uint64_t{0}));
    }
    for (const json& target : status.value("targets", json::array())) {
        out += " | " + shown(target, "path") + " " + target.value("phase", "");
    }
    return out + "\n";
}

}  // namespace

std::string_view name_of(Health health) noexcept {
    switch (health) {
        case Health::ok:
            return "ok";
        case Health::warning:
            return "warning";
        case Health::critical:
            return "critical";
    }
    return "";
}

HealthReport judge_health(const DaemonStatus& status, const config::Settings& settings) {
    HealthReport report;
    judge_cache(status, settings, report);
    for (const upload::MachineStatus& machine : status.engine.machines) {
        judge_machine(machine, settings, report);
    }
    for (const Condition& condition : status.conditions) {
        const bool grave = class_of(condition.code) == ErrorClass::unrecoverable;
        report.level = std::max(report.level, grave ? Health::critical : Health::warning);
        report.reasons.push_back(std::string(name_of(condition.code)) + ": " + condition.subject +
                                 ": " + condition.detail);
    }
    return report;
}

std::string status_json(const DaemonStatus& status, const HealthReport& health) {
    json out{{"server",
              {{"name", status.name},
               {"id", status.server_id},
               {"role", status.role},
               {"version", "0.1.0"},
               {"replication_port", status.replication_port},
               {"control_port", status.control_port},
               {"uptime_s", status.uptime_s},
               {"memory_budget_bytes", status.memory_budget_bytes},
               {"resident_bytes", status.resident_bytes},
               {"sessions", status.sessions}}},
             {"health", {{"level", name_of(health.level)}, {"reasons", health.reasons}}},
             {"cache",
              {{"capacity_bytes", status.cache.capacity},
               {"live_bytes", status.cache.live},
               {"dead_bytes", status.cache.dead},
               {"free_bytes", status.cache.free},
               {"reserved_bytes", status.cache.reserved},
               {"full_forecast_s", status.cache_full_forecast_s}}},
             {"upload",
              {{"backlog_bytes", status.engine.backlog_bytes},
               {"backlog_records", status.engine.backlog_records},
               {"bandwidth_limit", status.engine.bandwidth_limit},
               {"connections", status.engine.connections_used},
               {"connections_max", status.engine.connections_max}}},
             {"machines", json::array()},
             {"conditions", json::array()}};
    for (const upload::MachineStatus& machine : status.engine.machines) {
        json entry = machine_json(machine);
        const auto agent = status.agents.find(machine.machine);
        if (agent != status.agents.end()) {
            entry["agent"] = agent_json(agent->second);
        }
        entry["protection"] = protection_json(
            protection_of(machine, agent == status.agents.end() ? AgentStatus{} : agent->second));
        out["machines"].push_back(std::move(entry));
    }
    for (const TargetStatus& target : status.targets) {
        out["targets"].push_back(target_json(target));
    }
    for (const Condition& condition : status.conditions) {
        out["conditions"].push_back(condition_json(condition));
    }
    // Names come from people: bytes that are not UTF-8 are replaced, never an exception; and only
    // ASCII is written, since JSON, too, is read in terminals.
    return out.dump(2, ' ', true, json::error_handler_t::replace);
}

std::string events_json(const std::vector<ConditionEvent>& events) {
    json out = json::array();
    for (const ConditionEvent& event : events) {
        json entry = condition_json(event.condition);
        entry["event"] = event.raised ? "raised" : "cleared";
        entry["at_us"] = raw(event.at);
        out.push_back(std::move(entry));
    }
    return out.dump(2, ' ', true, json::error_handler_t::replace);
}

std::string status_text(const std::string& text, bool line) {
    const json status = json::parse(text, nullptr, false);
    if (!status.is_object() || !status.contains("health")) {
        return "the daemon's answer is not a status\n";
    }
    if (line) {
        return one_line(status);
    }
    const json& server = status["server"];
    const json& cache = status["cache"];
    std::string out = shown(server, "name") + " (" + server.value("role", "") + ", port " +
                      std::to_string(server.value("replication_port", 0)) + "): health " +
                      status["health"].value("level", "?") + "\n";
    for (const json& reason : status["health"].value("reasons", json::array())) {
        out += "  ! " + told(reason.get<std::string>()) + "\n";
    }
    out += "cache: " + config::format_bytes(cache.value("live_bytes", std::uint64_t{0})) +
           " waiting, " + config::format_bytes(cache.value("free_bytes", std::uint64_t{0})) +
           " free of " + config::format_bytes(cache.value("capacity_bytes", std::uint64_t{0})) +
           "\n";
    if (status.contains("targets")) {
        out += "targets:\n";
        for (const json& target : status["targets"]) {
            out += target_text(target);
        }
        return out;
    }
    out += "machines:\n";
    for (const json& machine : status.value("machines", json::array())) {
        out += machine_text(machine);
    }
    return out;
}

std::string events_text(const std::string& text) {
    const json events = json::parse(text, nullptr, false);
    if (!events.is_array()) {
        return "the daemon's answer is not a list of events\n";
    }
    std::string out;
    for (const json& event : events) {
        const auto at_s = event.value("at_us", std::int64_t{0}) / 1'000'000;
        out += recovery::time_text(WallMicros{at_s * 1'000'000}) + "  " + event.value("event", "") +
               "  " + event.value("code", "") + "  " + told(event.value("subject", "")) + ": " +
               told(event.value("detail", "")) + "\n";
    }
    return out.empty() ? "no events\n" : out;
}

}  // namespace cw::appliance
