// Which targets the master target's stage takes, merges into and shows.
#include "appliance/status_json.h"
#include "tests/volume/volume_stage_rig.h"

namespace cw::appliance::test {
namespace {

TEST_F(VolumeStageTest, AMountedTargetIsRefusedAndTakenOnceItIsFree) {
    probe_.used = true;
    start(options());
    EXPECT_EQ(hello().action, DiskAction::reject);
    EXPECT_EQ(status().trouble->code, Errc::target_unsafe);
    EXPECT_TRUE(conditions_.standing(Errc::target_unsafe));
    probe_.used = false;
    clock_.advance(11 * ns_per_s);
    run();
    EXPECT_EQ(sink_.ended.size(), 1U) << "the agent must say HELLO again";
    EXPECT_FALSE(conditions_.standing(Errc::target_unsafe));
    EXPECT_EQ(hello().action, DiskAction::resync);
}

// Not that of the target, which may lie elsewhere and have room.
TEST_F(VolumeStageTest, AFullWorkDirectoryIsNamedAndTakenOnWhenThereIsRoom) {
    start(options());
    hello();
    storage_.plan().capacity_bytes = 1;
    for (const Step& step : stream_.steps) {
        if (status().trouble) {
            break;
        }
        push(step);
    }
    ASSERT_TRUE(status().trouble);
    EXPECT_EQ(status().trouble->code, Errc::disk_full);
    EXPECT_TRUE(status().trouble->detail.starts_with("that of /beside, where this target writes"))
        << status().trouble->detail;
    EXPECT_TRUE(status().trouble->next.starts_with("df -h /beside; ")) << status().trouble->next;
    EXPECT_TRUE(conditions_.standing(Errc::disk_full));
    storage_.plan().capacity_bytes = UINT64_MAX;
    clock_.advance(11 * ns_per_s);
    run();
    EXPECT_FALSE(conditions_.standing(Errc::disk_full));
}

// Somebody mounts it while its work directory is full, and lets go of it when there is room again.
TEST_F(VolumeStageTest, OfTwoTroublesTheOneThatIsInTheWayIsShownAndNoneOnceBothAreOver) {
    start(options());
    hello();
    storage_.plan().capacity_bytes = 1;
    for (const Step& step : stream_.steps) {
        if (status().trouble) {
            break;
        }
        push(step);
    }
    ASSERT_TRUE(conditions_.standing(Errc::disk_full));
    probe_.used = true;
    clock_.advance(11 * ns_per_s);
    run();
    EXPECT_TRUE(conditions_.standing(Errc::target_unsafe));
    EXPECT_FALSE(conditions_.standing(Errc::disk_full));
    probe_.used = false;
    storage_.plan().capacity_bytes = UINT64_MAX;
    clock_.advance(11 * ns_per_s);
    run();
    EXPECT_FALSE(conditions_.standing(Errc::target_unsafe));
    EXPECT_FALSE(conditions_.standing(Errc::disk_full));
}

TEST_F(VolumeStageTest, ATargetThatIsAwayWhenAPointComesIsShownUntilOneFindsIt) {
    start(options());
    hello();
    std::size_t came = 0;
    for (const Step& step : stream_.steps) {
        const bool first_point = step.type == RecordType::point && ++came == 1;
        probe_.gone = first_point;
        push(step);
        EXPECT_TRUE(!first_point || conditions_.standing(Errc::not_found));
    }
    ASSERT_GT(came, 1U);
    EXPECT_TRUE(conditions_.list().empty());
}

// The source is lost, and no further point comes.
TEST_F(VolumeStageTest, ATargetThatWasAwayIsNoTroubleAnyMoreOnceASwitchHasFoundIt) {
    start(options());
    hello();
    bool first = true;
    for (const Step& step : stream_.steps) {
        const bool point = step.type == RecordType::point;
        probe_.gone = point && !first;
        push(step);
        first = first && !point;
    }
    ASSERT_TRUE(conditions_.standing(Errc::not_found));
    probe_.gone = false;
    ASSERT_TRUE(order(TargetOrder::What::switch_, points().front()->point));
    EXPECT_TRUE(conditions_.list().empty());
}

TEST_F(VolumeStageTest, AnotherSizeIdentityOrDiskIsRefusedAndTheTargetUntouched) {
    start(options());
    EXPECT_EQ(hello(disk_size + 512).action, DiskAction::reject);
    EXPECT_EQ(hello(disk_size, "another disk", DiskId{{std::byte{5}}}).action, DiskAction::reject);
    TargetOptions wrong = options();
    wrong.size_bytes = disk_size + 512;
    start(wrong);
    EXPECT_EQ(status().trouble->code, Errc::target_unsafe);
    EXPECT_EQ(hello(disk_size + 512).action, DiskAction::reject);
    wrong = options();
    wrong.identity = "file 7 7";
    start(wrong);
    const auto welcome = hello();
    EXPECT_EQ(welcome.action, DiskAction::reject);
    EXPECT_NE(welcome.reason.find("file 1 2"), std::string::npos) << welcome.reason;
    EXPECT_EQ(target(), stream_.original());
}

TEST_F(VolumeStageTest, ATargetMountedMeanwhileIsNotSwitched) {
    start(options());
    hello();
    for (const Step& step : stream_.steps) {
        push(step);
    }
    probe_.used = true;
    const PointId newest = points().back()->point;
    EXPECT_EQ(order(TargetOrder::What::switch_, newest).error().code, Errc::target_unsafe);
    EXPECT_EQ(target(), stream_.original());
    probe_.used = false;
    EXPECT_EQ(order(TargetOrder::What::switch_, PointId{{std::byte{1}}}).error().code,
              Errc::point_not_found);
    EXPECT_TRUE(order(TargetOrder::What::switch_, newest));
    EXPECT_TRUE(target() == points().back()->image);
}

TEST_F(VolumeStageTest, AMergeIsDoneInPiecesAndItsProgressIsTold) {
    TargetDisk disk(options(), {*disk_, probe_}, conditions_);
    ASSERT_TRUE(disk.open());
    pipeline::DiskHello hello;
    hello.disk = disk_id;
    hello.name = "disk";
    hello.size_bytes = disk_size;
    hello.next_seq = hello.oldest_held = Seq{1};
    ASSERT_TRUE(disk.meets(machine_id, hello));
    disk.welcome(hello, {}, SessionId{1});
    for (const Step& step : stream_.steps) {
        pipeline::Record record = step.make(*slabs_);
        record.header.session = SessionId{1};
        if (step.type != RecordType::point) {
            ASSERT_TRUE(disk.take(record));
            continue;
        }
        ASSERT_TRUE(disk.take_point(record));
        break;
    }
    int pieces = 0;
    for (; disk.merging() && pieces < 1000; ++pieces) {
        disk.merge_some(4096, clock_.boot());
        clock_.advance(ns_per_ms);
        if (disk.merging()) {
            const TargetWork work = disk.status().work;
            EXPECT_EQ(work.what, TargetWork::What::merging);
            EXPECT_LE(work.done_bytes, work.total_bytes);
            EXPECT_EQ(work.eta_s >= 0, pieces > 0 && work.done_bytes > 0) << pieces;
        }
    }
    EXPECT_GT(pieces, 5);
    EXPECT_EQ(disk.status().work.what, TargetWork::What::none);
    EXPECT_EQ(disk.point()->id, points()[0]->point);
}

TEST(TargetStatusText, ShowsWhatIsHeldAndTheProgressOfTheWork) {
    DaemonStatus status;
    TargetStatus& target = status.targets.emplace_back();
    target.machine = machine_id;
    target.disk = "disk";
    target.path = "/dev/vg0/web1";
    target.phase = volume::Phase::switching;
    target.point = volume::HeldPoint{PointId{{std::byte{2}}}, Generation{1}, Seq{40}, {}};
    target.earlier.push_back(
        volume::HeldPoint{PointId{{std::byte{1}}}, Generation{1}, Seq{30}, {}});
    target.work = {.what = TargetWork::What::switching,
                   .done_bytes = 1 * gib,
                   .total_bytes = 4 * gib,
                   .bytes_per_s = 512.0 * mib,
                   .eta_s = 6};
    const std::string json = status_json(status, HealthReport{});
    const std::string text = status_text(json, false);
    for (const char* part :
         {"targets:", "/dev/vg0/web1  switching", "holds point 02000000-", "write 40",
          "1 earlier points", "switching: 1.0 GiB of 4.0 GiB, 512.0 MiB/s, ETA 6 s"}) {
        EXPECT_NE(text.find(part), std::string::npos) << part << " is not in:\n" << text;
    }
    EXPECT_NE(status_text(json, true).find("/dev/vg0/web1 switching"), std::string::npos);
}

}  // namespace
}  // namespace cw::appliance::test
