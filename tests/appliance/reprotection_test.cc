// The machine that runs now is protected once a point answers for every disk that was failed over.
#include "appliance/operator/reprotection.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace cw::appliance {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr std::uint64_t old_origin = 1, new_origin = 1 + (std::uint64_t{1} << 32);

// A vault of one machine: what was failed over, and what came after the commit.
class Reprotection : public ::testing::Test {
protected:
    Reprotection() {
        record_.point = point(1, {{1, old_origin}, {2, old_origin}});
        record_.manifest = 1;
    }

    struct Sent {
        unsigned char disk;
        std::uint64_t generation;
    };
    PointId point(std::uint64_t manifest, const std::vector<Sent>& disks) {
        vault::PointEntry entry;
        entry.id.bytes.fill(static_cast<std::byte>(manifest));
        entry.manifest = manifest;
        for (const Sent& sent : disks) {
            entry.cuts.push_back({.disk = disk(sent.disk),
                                  .generation = Generation{sent.generation},
                                  .cut = Seq{manifest}});
        }
        state_.points[entry.id] = entry;
        return entry.id;
    }
    void named(unsigned char number, const std::string& name) {
        vault::DiskEntry entry;
        entry.disk = disk(number);
        entry.name = name;
        state_.newest.disks.push_back(entry);
    }
    static DiskId disk(unsigned char number) {
        DiskId id;
        id.bytes.back() = std::byte{number};
        return id;
    }
    // What reprotect waits for; empty: for nothing.
    [[nodiscard]] std::string waits_for(const std::vector<std::string>& without = {}) const {
        return still_missing(recovery::Catalog::of_points({}, {}, state_, {}), record_, without)
            .value_or("");
    }

    vault::ChainState state_;
    MachineRecord record_;
};

TEST_F(Reprotection, WaitsForAPointSinceTheCommit) {
    EXPECT_THAT(waits_for(), HasSubstr("no recovery point since"));
    point(2, {{1, new_origin}, {2, new_origin}});
    EXPECT_EQ(waits_for(), "");
}

TEST_F(Reprotection, AnOldSourceIsNotTheMachineThatRunsNow) {
    point(2, {{1, old_origin}, {2, old_origin}});
    EXPECT_THAT(waits_for(), HasSubstr("still sent by the old source"));
}

TEST_F(Reprotection, AnOldSourceWhoseDiskGotAnotherNameIsNotTheMachineThatRunsNow) {
    named(2, "data");
    named(9, "data-2");
    point(2, {{9, old_origin}});  // No disk of the failover's at all.
    EXPECT_THAT(waits_for(), HasSubstr("does not have " + to_string(disk(1)) + ", data ("));
    EXPECT_THAT(waits_for(), HasSubstr("it has data-2 ("));
    EXPECT_THAT(waits_for(), HasSubstr("--disk-name"));
}

TEST_F(Reprotection, EveryDiskOfTheFailoverAnswers) {
    named(2, "data");
    point(2, {{1, new_origin}});
    EXPECT_THAT(waits_for(), HasSubstr("does not have data ("));
    EXPECT_THAT(waits_for(), HasSubstr("--without DISK"));
    EXPECT_THAT(waits_for(), Not(HasSubstr("it has ")));
}

TEST_F(Reprotection, OneDiskMoreIsNobodysLoss) {
    point(2, {{1, new_origin}, {2, new_origin}, {9, old_origin}});
    EXPECT_EQ(waits_for(), "");
}

TEST_F(Reprotection, ADiskThatTheMachineGoesOnWithoutIsNamedByWhoeverSaysSo) {
    named(2, "data");
    point(2, {{1, new_origin}});
    EXPECT_EQ(waits_for({"data"}), "");
    EXPECT_EQ(waits_for({to_string(disk(2))}), "");
    EXPECT_THAT(waits_for({"other"}), HasSubstr("does not have data ("));
    point(3, {{1, old_origin}});  // It excuses no old source.
    EXPECT_THAT(waits_for({"data"}), HasSubstr("still sent by the old source"));
}

}  // namespace
}  // namespace cw::appliance
