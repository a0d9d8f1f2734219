// GroupTable: which group points there are. A group's point exists as long as every member's
// history has its part; else the parts that are left are points of their machines alone.
//
// Nothing is written about it when a part goes, because parts go in many ways (damage, takeover,
// retention, a lost history) and at times when nobody could write: whoever offers a group's point
// looks at all its members first. Thread-safety: none.
#pragma once

#include "recovery/catalog.h"

#include <map>
#include <set>
#include <string>
#include <vector>

namespace cw::recovery {

class GroupTable {
public:
    // Every machine of the site once: by what is known of it, or as one that cannot be read.
    void add(const Catalog& catalog);
    void add_unreadable(const MachineId& machine, const Error& error);

    struct Verdict {
        bool whole = false;
        std::vector<MachineId> with;
        std::vector<MachineId> without;  // As far as they can be named.
        std::string reason;              // Why it is not whole, for people.
    };
    [[nodiscard]] Verdict judge(const GroupId& group) const;
    // People's word for it; empty if it is not known.
    [[nodiscard]] std::string name_of(const MachineId& machine) const;
    // nullptr: it has none.
    [[nodiscard]] const vault::PointEntry* point_of(const MachineId& machine,
                                                    const GroupId& group) const;

private:
    struct Member {
        std::string name;
        std::map<GroupId, vault::PointEntry> points;  // Those of a group.
        std::string trouble;                          // It cannot be read.
    };
    // Machines that share points whose ids name the same members.
    struct Circle {
        GroupId sample;
        std::set<MachineId> machines;
    };
    void note_part(const MachineId& machine, const GroupId& group);
    [[nodiscard]] std::vector<MachineId> missing(const GroupId& group,
                                                 const std::vector<MachineId>& with) const;
    [[nodiscard]] std::set<MachineId> companions(const GroupId& group,
                                                 const std::vector<MachineId>& with) const;
    [[nodiscard]] std::string reason_of(const MachineId& without) const;

    std::map<MachineId, Member> members_;
    // Kept while machines are added, so that judging one group does not look at all others.
    std::map<GroupId, std::set<MachineId>> parts_;     // Who has a part of it.
    std::vector<Circle> circles_;                      // As many as there are sets of members.
    std::map<MachineId, std::set<MachineId>> shares_;  // A point of an older agent's group.
};

}  // namespace cw::recovery
