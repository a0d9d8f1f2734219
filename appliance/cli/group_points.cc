// causeway points --group: one group's points at all machines of the vault. A group point is worth
// what its weakest member is: a machine whose server dropped its part is named here.
#include "appliance/cli/group_points.h"

#include "base/log.h"
#include "recovery/catalog.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <set>

#include <nlohmann/json.hpp>

namespace cw::appliance {
namespace {

using nlohmann::json;

struct Member {
    MachineId machine;
    std::string name;
    std::map<GroupId, vault::PointEntry> points;  // Those of a group.
};

Result<std::vector<Member>> read_members(Cli& cli) {
    CW_TRY_ASSIGN(const OpenedVault vault, open_vault(cli));
    CW_TRY_ASSIGN(const auto ids, chosen_machines(vault, ""));
    std::vector<Member> members;
    for (const MachineId& id : ids) {
        CW_TRY_ASSIGN(const auto catalog,
                      recovery::Catalog::open(*vault.store, *vault.access.kek, id, {}));
        Member& member = members.emplace_back();
        member.machine = id;
        member.name = catalog.state().newest.machine_name;
        for (const vault::PointEntry* point : catalog.points()) {
            if (!point->group.is_nil()) {
                member.points.insert_or_assign(point->group, *point);
            }
        }
    }
    return members;
}

// Every group that a machine with a point of `group` has a point of.
std::set<GroupId> related(const std::vector<Member>& members, const GroupId& group) {
    std::set<GroupId> groups;
    for (const Member& member : members) {
        if (member.points.contains(group)) {
            for (const auto& [id, point] : member.points) {
                groups.insert(id);
            }
        }
    }
    return groups;
}

void print(const json& out) {
    for (const json& point : out["points"]) {
        std::printf("%s  %s  %s  %s  %s\n", point.value("machine", "").c_str(),
                    escape_for_display(point.value("name", "")).c_str(),
                    point.value("id", "").c_str(), point.value("time", "").c_str(),
                    escape_for_display(point.value("tag", "")).c_str());
    }
    for (const json& machine : out["without"]) {
        std::printf("%s  %s  ! has no point of this group, but of others with these machines\n",
                    machine.value("machine", "").c_str(),
                    escape_for_display(machine.value("name", "")).c_str());
    }
}

}  // namespace

Result<void> group_points(Cli& cli, const std::string& group_text) {
    CW_TRY_ASSIGN(const GroupId group, parse_id<GroupId>(group_text));
    CW_TRY_ASSIGN(const auto members, read_members(cli));
    const std::set<GroupId> others = related(members, group);
    json out{{"group", to_string(group)}, {"points", json::array()}, {"without", json::array()}};
    for (const Member& member : members) {
        json entry{{"machine", to_string(member.machine)}, {"name", member.name}};
        if (const auto found = member.points.find(group); found != member.points.end()) {
            const vault::PointEntry& point = found->second;
            entry["id"] = to_string(point.id);
            entry["time"] = recovery::time_text(point.source_time);
            entry["tag"] = point.tag;
            out["points"].push_back(std::move(entry));
        } else if (std::ranges::any_of(member.points, [&](const auto& each) {
                       return others.contains(each.first);
                   })) {
            out["without"].push_back(std::move(entry));
        }
    }
    if (out["points"].empty()) {
        return fail(Errc::point_not_found, "no machine has a point of group " + to_string(group));
    }
    if (cli.json) {
        print_json(out);
    } else {
        print(out);
    }
    return {};
}

}  // namespace cw::appliance
