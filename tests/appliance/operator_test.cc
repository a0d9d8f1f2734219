// What operators rest on: receipts that cannot be forged, overdue proofs that are seen.
#include "appliance/operator/drill.h"
#include "appliance/operator/jobs.h"
#include "appliance/operator/scratch_directory.h"
#include "appliance/proof_watch.h"
#include "recovery/vault_points.h"
#include "tests/recovery/world.h"

#include <filesystem>
#include <fstream>
#include <map>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace cw::appliance {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::Pair;
using testing::UnorderedElementsAre;

class OperatorTest : public testing::Test {
protected:
    recovery::World world_{9};
};

TEST_F(OperatorTest, AReceiptIsGenuineOnlyAsItWasSigned) {
    world_.model.publish_point();
    const recovery::Catalog catalog = world_.catalog();
    DrillReport report;
    report.point = *catalog.points().back();
    report.findings.push_back({"disk", "ext4: clean"});
    const std::string receipt =
        make_receipt(report, world_.rig.vault, catalog, world_.new_signer());
    const auto checked = check_receipt(receipt, world_.rig.vault);
    ASSERT_TRUE(checked) << to_string(checked.error());
    EXPECT_THAT(checked->text, HasSubstr(to_string(report.point.id)));

    std::string forged = receipt;
    forged.replace(forged.find("clean"), 5, "dirty");
    EXPECT_EQ(check_receipt(forged, world_.rig.vault).error().code, Errc::object_corrupt);
    vault::VaultIdentity other = world_.rig.vault;
    other.signing_key[3] ^= std::byte{1};
    EXPECT_EQ(check_receipt(receipt, other).error().code, Errc::object_corrupt);
    EXPECT_EQ(check_receipt("{}", world_.rig.vault).error().code, Errc::usage);
    EXPECT_FALSE(check_receipt("nonsense", world_.rig.vault));
}

TEST(DrillFindings, ProveAPointIfNothingWasLeftUnchecked) {
    const auto partition = [](Looked looked) {
        return DrillFinding{"disk partition", "", FileSystemFinding{"", "", "", "", looked}};
    };
    const DrillFinding bytes{"disk", "authenticated"};
    EXPECT_TRUE(
        file_systems_prove({bytes, partition(Looked::checked), partition(Looked::nothing)}));
    EXPECT_FALSE(file_systems_prove({bytes}));
    EXPECT_FALSE(file_systems_prove({bytes, partition(Looked::nothing)}));
    // A machine's system, encrypted, beside the partition that it boots from.
    EXPECT_FALSE(
        file_systems_prove({bytes, partition(Looked::checked), partition(Looked::not_checked)}));
}

TEST(DrillFindings, SayByWhichToolWhatWasChecked) {
    const DrillFinding finding{
        "disk a partition 1", "vfat: clean",
        FileSystemFinding{"partition 1", "vfat", "fsck.fat -n", "clean", Looked::checked}};
    EXPECT_EQ(text_of(finding), "disk a partition 1: vfat: clean (fsck.fat -n)");
    const auto told = json_of(finding);
    EXPECT_EQ(told["tool"], "fsck.fat -n");
    EXPECT_EQ(told["kind"], "vfat");
    EXPECT_EQ(told["checked"], "yes");
    EXPECT_EQ(told["result"], "vfat: clean");
}

TEST_F(OperatorTest, ADamagedPointFailsItsDrillAndAnUnreachableVaultDoesNot) {
    world_.model.publish_point();
    SystemSeams seams = make_system_seams();
    OpenedCatalog opened;
    opened.store = world_.factory->make();
    opened.catalog = std::make_unique<recovery::Catalog>(world_.catalog());
    opened.source = std::make_unique<recovery::VaultPoints>(*opened.store, *opened.catalog);
    const vault::PointEntry point = *opened.catalog->points().back();
    DrillOptions options;
    options.scratch = testing::TempDir();
    const auto drill = [&] {
        return drill_point(opened, seams, point, options,
                           [](const std::string&, std::uint64_t, std::uint64_t) {});
    };
    const auto proven = drill();
    ASSERT_TRUE(proven) << to_string(proven.error());
    EXPECT_GT(proven->bytes, 0u);
    EXPECT_FALSE(proven->checked);  // Random bytes hold no file system.

    world_.memory.set_rates({.unavailable = 1});
    const auto unreachable = drill();
    ASSERT_FALSE(unreachable);
    EXPECT_NE(unreachable.error().code, Errc::drill_failed);
    world_.memory.set_rates({});

    for (const blob::BlobName& name : world_.memory.names()) {
        if (name.container == blob::Container::data) {
            const std::size_t bits = world_.memory.bytes(name)->size() * 8;
            ASSERT_TRUE(world_.memory.flip_bit(name, bits / 2));
        }
    }
    const auto damaged = drill();
    ASSERT_FALSE(damaged);
    EXPECT_EQ(damaged.error().code, Errc::drill_failed);
    EXPECT_THAT(damaged.error().detail, HasSubstr("OBJECT_CORRUPT"));
}

TEST_F(OperatorTest, AnOverdueProofIsRaisedAndClearedByADrill) {
    world_.model.publish_point();
    Conditions conditions(world_.clock);
    OverdueProofs proofs(conditions);
    constexpr std::int64_t limit_us = 1'000'000;
    const WallMicros now{10'000'000};
    const auto look = [&](std::int64_t limit, WallMicros at) {
        MachineRecords read(*world_.store, world_.rig.vault);
        proofs.look({world_.machine}, read, limit, at);
    };
    look(limit_us, now);
    EXPECT_TRUE(conditions.standing(Errc::proof_overdue));

    MachineRecords records(*world_.store, world_.rig.vault, world_.new_signer());
    auto job = JobRun::begin(records, world_.clock, *world_.random,
                             {.machine = world_.machine, .verb = Verb::drill});
    ASSERT_TRUE(job);
    JobEnd end;
    end.point = make_id<PointId>(*world_.random);
    end.point_time = now;
    ASSERT_TRUE(job->end(end));
    look(limit_us, now);
    EXPECT_FALSE(conditions.standing(Errc::proof_overdue));
    look(limit_us, WallMicros{raw(now) + limit_us + 1});
    EXPECT_TRUE(conditions.standing(Errc::proof_overdue));
    look(0, WallMicros{raw(now) + limit_us + 1});
    EXPECT_FALSE(conditions.standing(Errc::proof_overdue));
}

TEST_F(OperatorTest, AMachineWhoseRecordCannotBeReadIsNamedAndHidesNoOther) {
    Conditions conditions(world_.clock);
    OverdueProofs proofs(conditions);
    const auto damaged = make_id<MachineId>(*world_.random);
    const auto other = make_id<MachineId>(*world_.random);
    MachineRecords records(*world_.store, world_.rig.vault, world_.new_signer());
    ASSERT_TRUE(JobRun::begin(records, world_.clock, *world_.random,
                              {.machine = damaged, .verb = Verb::drill}));
    const auto told = [&](std::int64_t limit_us = 1) {
        proofs.look({damaged, other}, records, limit_us, WallMicros{10});
        std::map<std::string, Errc> out;
        for (const Condition& condition : conditions.list()) {
            out.emplace(condition.subject, condition.code);
        }
        return out;
    };
    ASSERT_TRUE(world_.memory.flip_bit(machine_record_blob(damaged), 99));
    EXPECT_THAT(told(), UnorderedElementsAre(
                            Pair("state of machine " + to_string(damaged), Errc::object_corrupt),
                            Pair("machine " + to_string(other), Errc::proof_overdue)));
    EXPECT_THAT(told(0), IsEmpty());  // Nobody looks again.
    ASSERT_TRUE(world_.memory.flip_bit(machine_record_blob(damaged), 99));
    EXPECT_THAT(told(),
                UnorderedElementsAre(Pair("machine " + to_string(damaged), Errc::proof_overdue),
                                     Pair("machine " + to_string(other), Errc::proof_overdue)));
}

TEST_F(OperatorTest, AScratchDirectoryRemovesThoseOfItsKindThatNobodyHolds) {
    namespace fs = std::filesystem;
    const std::string parent = testing::TempDir() + "scratch_test";
    fs::remove_all(parent);
    for (const char* name : {"causeway-drill.left/inner", "causeway-mount.left", "unrelated"}) {
        fs::create_directories(parent + "/" + name);
    }
    std::ofstream(parent + "/causeway-drill.left/disk.raw") << "secret";
    std::ofstream(parent + "/causeway-drill.file") << "no directory";
    std::string first_path;
    {
        auto first = ScratchDirectory::make(parent, "drill");
        ASSERT_TRUE(first) << to_string(first.error());
        EXPECT_FALSE(fs::exists(parent + "/causeway-drill.left"));
        first_path = first->path();
        std::ofstream(first_path + "/disk.raw") << "ours";
        const auto second = ScratchDirectory::make(parent, "drill");
        ASSERT_TRUE(second) << to_string(second.error());
        EXPECT_TRUE(fs::exists(first_path + "/disk.raw"));  // It is held.
        const ScratchDirectory moved = std::move(*first);
        EXPECT_TRUE(fs::exists(first_path));
    }
    EXPECT_FALSE(fs::exists(first_path));
    for (const char* name : {"causeway-mount.left", "unrelated", "causeway-drill.file"}) {
        EXPECT_TRUE(fs::exists(parent + "/" + name)) << name;
    }
    fs::remove_all(parent);
}

}  // namespace
}  // namespace cw::appliance
