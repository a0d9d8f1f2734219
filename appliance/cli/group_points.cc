#include "appliance/cli/group_points.h"

#include "base/log.h"

#include <algorithm>
#include <cstdio>

#include <nlohmann/json.hpp>

namespace cw::appliance {
namespace {

using nlohmann::json;
using recovery::GroupTable;

void add_machine(GroupTable& table, const Site& site, const MachineId& machine) {
    const auto catalog = site.open(machine, false);
    if (catalog) {
        table.add(*catalog);
    } else {
        table.add_unreadable(machine, catalog.error());
    }
}

json machine_json(const GroupTable& table, const MachineId& machine) {
    return {{"machine", to_string(machine)}, {"name", table.name_of(machine)}};
}

json verdict_json(const GroupTable& table, const GroupId& group,
                  const GroupTable::Verdict& verdict) {
    json out{{"group", to_string(group)},
             {"whole", verdict.whole},
             {"reason", verdict.reason},
             {"points", json::array()},
             {"without", json::array()}};
    for (const MachineId& machine : verdict.with) {
        const vault::PointEntry& point = *table.point_of(machine, group);
        json entry = machine_json(table, machine);
        entry["id"] = to_string(point.id);
        entry["time"] = recovery::time_text(point.source_time);
        entry["tag"] = point.tag;
        out["points"].push_back(std::move(entry));
    }
    for (const MachineId& machine : verdict.without) {
        out["without"].push_back(machine_json(table, machine));
    }
    return out;
}

void print(const json& out) {
    for (const json& point : out["points"]) {
        std::printf("%s  %s  %s  %s  %s\n", point.value("machine", "").c_str(),
                    escape_for_display(point.value("name", "")).c_str(),
                    point.value("id", "").c_str(), point.value("time", "").c_str(),
                    escape_for_display(point.value("tag", "")).c_str());
    }
    if (!out.value("whole", false)) {
        std::printf("! not a group point any more, but points of these machines alone: %s\n",
                    escape_for_display(out.value("reason", ""), 4096).c_str());
    }
}

}  // namespace

Result<GroupTable> read_groups(const OpenedCatalog& opened) {
    CW_TRY_ASSIGN(const auto machines, opened.site->machines());
    GroupTable table;
    table.add(*opened.catalog);
    for (const MachineId& machine : machines) {
        if (machine != opened.catalog->machine()) {
            add_machine(table, *opened.site, machine);
        }
    }
    return table;
}

Result<void> group_points(Cli& cli, const std::string& group_text) {
    CW_TRY_ASSIGN(const GroupId group, parse_id<GroupId>(group_text));
    CW_TRY_ASSIGN(const OpenedVault vault, open_vault(cli));
    CW_TRY_ASSIGN(const auto machines, vault.site->machines());
    GroupTable table;
    for (const MachineId& machine : machines) {
        add_machine(table, *vault.site, machine);
    }
    const GroupTable::Verdict verdict = table.judge(group);
    if (verdict.with.empty()) {
        return fail(Errc::point_not_found, "no machine has a point of group " + to_string(group));
    }
    const json out = verdict_json(table, group, verdict);
    if (cli.json) {
        print_json(out);
    } else {
        print(out);
    }
    return {};
}

Result<void> judge_groups(const OpenedCatalog& opened, json& points) {
    const auto of_group = [](const json& point) { return point.contains("group"); };
    if (std::ranges::none_of(points, of_group)) {
        return {};
    }
    CW_TRY_ASSIGN(const GroupTable table, read_groups(opened));
    for (json& point : points) {
        if (!of_group(point)) {
            continue;
        }
        CW_TRY_ASSIGN(const GroupId group, parse_id<GroupId>(point.value("group", "")));
        const GroupTable::Verdict verdict = table.judge(group);
        point["group_whole"] = verdict.whole;
        if (!verdict.whole) {
            point["group_reason"] = verdict.reason;
        }
    }
    return {};
}

}  // namespace cw::appliance
