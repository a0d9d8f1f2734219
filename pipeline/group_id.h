// The id of a group's point says how many machines have a part in it and, as a digest, which: so
// whoever reads a vault can tell whether all of them still have theirs.
//
// A version 8 UUID (RFC 9562): random 48 bits | 8, random 4 | members u8 | 10, random 6 |
// the first 32 bits of SHA-256(the members' ids in ascending order) | random 24.
#pragma once

#include "base/ids.h"

#include <optional>
#include <span>

namespace cw::pipeline {

inline constexpr std::size_t group_members_max = 255;

// `members`: every machine once, at most group_members_max; not empty.
GroupId make_group_id(std::span<const MachineId> members, Random& random);
// nullopt: another kind of id, which does not say.
std::optional<std::size_t> group_member_count(const GroupId& group) noexcept;
// True: those are the members. Each once, in any order.
bool are_group_members(const GroupId& group, std::span<const MachineId> members);
// Both ids say that their members are the same.
bool same_group_members(const GroupId& a, const GroupId& b) noexcept;

}  // namespace cw::pipeline
