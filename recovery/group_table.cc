#include "recovery/group_table.h"

#include "base/log.h"
#include "pipeline/group_id.h"

#include <algorithm>

namespace cw::recovery {

void GroupTable::add(const Catalog& catalog) {
    Member& member = members_[catalog.machine()];
    member.name = catalog.state().newest.machine_name;
    for (const auto& [id, point] : catalog.state().points) {
        if (!point.group.is_nil()) {
            member.points.insert_or_assign(point.group, point);
            note_part(catalog.machine(), point.group);
        }
    }
}

void GroupTable::note_part(const MachineId& machine, const GroupId& group) {
    std::set<MachineId>& holders = parts_[group];
    if (pipeline::group_member_count(group)) {
        auto circle = std::ranges::find_if(circles_, [&](const Circle& one) {
            return pipeline::same_group_members(one.sample, group);
        });
        if (circle == circles_.end()) {
            circle = circles_.insert(circle, Circle{.sample = group, .machines = {}});
        }
        circle->machines.insert(machine);
    } else {
        for (const MachineId& other : holders) {
            shares_[other].insert(machine);
            shares_[machine].insert(other);
        }
    }
    holders.insert(machine);
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

// Who shares points with those that have a part. Ids of an older agent do not name members: all
// that share any other point are taken for them.
std::set<MachineId> GroupTable::companions(const GroupId& group,
                                           const std::vector<MachineId>& with) const {
    const bool named = pipeline::group_member_count(group).has_value();
    std::set<MachineId> out;
    for (const Circle& circle : circles_) {
        const bool meets = named ? pipeline::same_group_members(circle.sample, group)
                                 : std::ranges::any_of(with, [&](const MachineId& machine) {
                                       return circle.machines.contains(machine);
                                   });
        if (meets) {
            out.insert(circle.machines.begin(), circle.machines.end());
        }
    }
    for (const MachineId& machine : with) {
        if (const auto shares = shares_.find(machine); !named && shares != shares_.end()) {
            out.insert(shares->second.begin(), shares->second.end());
        }
    }
    return out;
}

std::vector<MachineId> GroupTable::missing(const GroupId& group,
                                           const std::vector<MachineId>& with) const {
    const auto count = pipeline::group_member_count(group);
    std::vector<MachineId> without, all = with;
    for (const MachineId& machine : companions(group, with)) {
        if (!members_.at(machine).points.contains(group)) {
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
    if (const auto holders = parts_.find(group); holders != parts_.end()) {
        verdict.with.assign(holders->second.begin(), holders->second.end());
    }
    const auto count = pipeline::group_member_count(group);
    if (count && pipeline::are_group_members(group, verdict.with)) {
        verdict.whole = true;
        return verdict;
    }
    verdict.without = missing(group, verdict.with);
    if (!count && verdict.with.size() > 1 && verdict.without.empty()) {
        verdict.whole = true;
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
