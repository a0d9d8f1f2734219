#include "pipeline/group_id.h"

#include "base/random.h"

#include <algorithm>
#include <vector>

#include <gtest/gtest.h>

namespace cw::pipeline {
namespace {

std::vector<MachineId> machines(Random& random, std::size_t count) {
    std::vector<MachineId> out;
    for (std::size_t i = 0; i < count; ++i) {
        out.push_back(make_id<MachineId>(random));
    }
    return out;
}

TEST(GroupId, SaysHowManyMembersThereAreAndWhich) {
    const auto random = make_seeded_random(1);
    for (const std::size_t count : {1U, 2U, 16U, 255U}) {
        std::vector<MachineId> members = machines(*random, count);
        const GroupId group = make_group_id(members, *random);
        EXPECT_EQ(group_member_count(group), count);
        std::ranges::reverse(members);
        EXPECT_TRUE(are_group_members(group, members));
        members.back() = make_id<MachineId>(*random);
        EXPECT_FALSE(are_group_members(group, members));
        members.pop_back();
        EXPECT_FALSE(are_group_members(group, members));
    }
}

TEST(GroupId, IsAnotherOneEachTimeAndAUuid) {
    const auto random = make_seeded_random(2);
    const auto members = machines(*random, 3);
    const GroupId a = make_group_id(members, *random), b = make_group_id(members, *random);
    EXPECT_NE(a, b);
    EXPECT_TRUE(same_group_members(a, b));
    EXPECT_FALSE(same_group_members(a, make_group_id(machines(*random, 3), *random)));
    EXPECT_EQ(to_string(a)[14], '8');
    EXPECT_EQ(parse_id<GroupId>(to_string(a)).value(), a);
}

TEST(GroupId, OfAnotherKindSaysNothing) {
    const auto random = make_seeded_random(3);
    for (int i = 0; i < 1000; ++i) {
        const auto group = make_id<GroupId>(*random);
        EXPECT_FALSE(group_member_count(group).has_value());
        EXPECT_FALSE(same_group_members(group, group));
    }
    EXPECT_FALSE(group_member_count(GroupId{}).has_value());
}

}  // namespace
}  // namespace cw::pipeline
