// What must not become final: a failback of which nobody can tell whether every disk came back, and
// a machine that is no longer protected where it runs.
#include "appliance/operator/commit_refusal.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace cw::appliance {
namespace {

using enum MachineState;
using ::testing::HasSubstr;

class CommitRefusal : public ::testing::Test {
protected:
    // A point of the first `disks` disks, each with a history of its own that began without a
    // state.
    PointId point(std::uint64_t manifest, unsigned char disks, std::uint64_t generation = 1) {
        vault::PointEntry entry;
        entry.id.bytes.fill(static_cast<std::byte>(manifest));
        entry.manifest = manifest;
        for (unsigned char number = 1; number <= disks; ++number) {
            DiskId id;
            id.bytes.back() = std::byte{number};
            entry.cuts.push_back(
                {.disk = id, .generation = Generation{generation}, .cut = Seq{manifest}});
        }
        state_.points[entry.id] = entry;
        return entry.id;
    }
    [[nodiscard]] std::string refusal(MachineState before,
                                      const std::vector<std::string>& without = {}) {
        record_.before = before;
        return commit_refusal(recovery::Catalog::of_points({}, {}, state_, {}), record_, without)
            .value_or("");
    }

    vault::ChainState state_;
    MachineRecord record_;
};

TEST_F(CommitRefusal, AnOlderProgramsFailbackOfSeveralDisksTellsNotWhichCameBack) {
    record_.point = point(1, 2);
    const std::string said = refusal(failed_back);
    EXPECT_THAT(said, HasSubstr("a disk of point " + to_string(record_.point) + ", which has 2"));
    EXPECT_THAT(said, HasSubstr("causeway failback MACHINE --point " + to_string(record_.point) +
                                " --target DISK=PATH"));
    record_.returned.point = record_.point;  // As today's programs note it.
    EXPECT_EQ(refusal(failed_back), "");
}

TEST_F(CommitRefusal, AnOlderProgramsFailbackOfTheOnlyDiskBroughtBackTheMachine) {
    record_.point = point(1, 1);
    EXPECT_EQ(refusal(failed_back), "");
}

TEST_F(CommitRefusal, AFailoverIsCommittedWithAsManyDisksAsItHas) {
    record_.point = point(1, 2);
    EXPECT_EQ(refusal(failed_over), "");
}

TEST_F(CommitRefusal, AMachineStaysOnlyWhereItIsProtected) {
    constexpr std::uint64_t new_origin = 1 + (std::uint64_t{1} << 32);
    record_.point = point(1, 2);
    record_.manifest = 1;
    point(2, 2, new_origin);
    EXPECT_EQ(refusal(reprotected), "");
    point(3, 1, new_origin);
    EXPECT_THAT(refusal(reprotected), HasSubstr("; then run this again"));
    EXPECT_EQ(refusal(reprotected, {"00000000-0000-0000-0000-000000000002"}), "");
}

}  // namespace
}  // namespace cw::appliance
