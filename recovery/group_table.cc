#include "recovery/group_table.h"

#include "base/log.h"
#include "pipeline/group_id.h"

#include <algorithm>
#include <set>

namespace cw::recovery {

void GroupTable::add(const Catalog& catalog) {
    Member& member = members_[catalog.machine()];
    member.name = catalog.state().newest.machine_name;
    for (const auto& [id, point] : catalog.state().points) {
        if (!point.group.is_nil()) {
            member.points.insert_or_assign(point.group, point);
        }
    }
}

void GroupTable::add_unreadable(const MachineId& machine, const Error& error) {
    members_[machine].trouble = to_string(error);
}

std::string GroupTable::name_of(const MachineId& machine) const {
    const auto found = members_.find(machine);
    return found == members_.end() ? "" : found->second.name;
}

const vault::PointEntry* GroupTable::point_of(const MachineId& machine,
                                              const GroupId& group) const {
    const auto member = members_.find(machine);
    if (member == members_.end()) {
        return nullptr;
    }
    const auto point = member->second.points.find(group);
    return point == member->second.points.end() ? nullptr : &point->second;
}

// Ids of an older agent do not name members: those that share any other group are taken for them.
std::vector<MachineId> GroupTable::missing(const GroupId& group,
                                           const std::vector<MachineId>& with) const {
    const auto count = pipeline::group_member_count(group);
    std::set<GroupId> related;
    for (const MachineId& machine : with) {
        for (const auto& [id, point] : members_.at(machine).points) {
            if (!count || pipeline::same_group_members(id, group)) {
                related.insert(id);
            }
        }
    }
    std::vector<MachineId> without, all = with;
    for (const auto& [machine, member] : members_) {
        const bool shares = std::ranges::any_of(
            member.points, [&](const auto& each) { return related.contains(each.first); });
        if (shares && !member.points.contains(group)) {
            without.push_back(machine);
            all.push_back(machine);
        }
    }
    if (!count || pipeline::are_group_members(group, all)) {
        return without;
    }
    if (*count == with.size() + 1) {  // One has none at all any more: whose id makes the digest?
        all = with;
        for (const auto& [machine, member] : members_) {
            all.push_back(machine);
            if (!member.points.contains(group) && pipeline::are_group_members(group, all)) {
                return {machine};
            }
            all.pop_back();
        }
    }
    return {};
}

std::string GroupTable::reason_of(const MachineId& without) const {
    const Member& member = members_.at(without);
    const std::string name =
        member.name.empty() ? "" : " (" + escape_for_display(member.name) + ")";
    return "machine " + to_string(without) + name +
           (member.trouble.empty() ? " has none" : " cannot be read: " + member.trouble);
}

GroupTable::Verdict GroupTable::judge(const GroupId& group) const {
    Verdict verdict;
    for (const auto& [machine, member] : members_) {
        if (member.points.contains(group)) {
            verdict.with.push_back(machine);
        }
    }
    const auto count = pipeline::group_member_count(group);
    verdict.without = missing(group, verdict.with);
    verdict.whole = count ? pipeline::are_group_members(group, verdict.with)
                          : verdict.with.size() > 1 && verdict.without.empty();
    if (verdict.whole) {
        return verdict;
    }
    for (const MachineId& machine : verdict.without) {
        verdict.reason += (verdict.reason.empty() ? "" : ", ") + reason_of(machine);
    }
    if (verdict.reason.empty()) {
        verdict.reason = count ? std::to_string(*count) + " machines had a part of it, " +
                                     std::to_string(verdict.with.size()) + " have it now"
                               : "no other machine has a part of it";
    }
    return verdict;
}

}  // namespace cw::recovery
