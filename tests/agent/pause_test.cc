// A point is one moment of all disks, and no writer waits for it longer than a limit: not when a
// disk hangs, and not when the agent's own thread stands still.
#include "tests/agent/harness.h"

#include <semaphore>
#include <thread>

namespace cw::agent::test {
namespace {

bool committed(Harness& h, const PointId& id) {
    const auto* point = h.replicator->points().find(id);
    return point != nullptr && point->phase == PointPhase::committed;
}

// A write of 4 KiB at the beginning of a disk that hangs in its image until it is let go.
class HangingWrite {
public:
    HangingWrite(Harness& h, std::size_t disk) : image_(*h.images[disk]) {
        image_.before_write = [this] {
            hangs_.release();
            go_.acquire();
        };
        writer_ = std::thread([&h, disk] { h.write(disk, 0, 4096, 0x77); });
        hangs_.acquire();
    }
    ~HangingWrite() { let_go(); }
    void let_go() {
        if (writer_.joinable()) {
            go_.release();
            writer_.join();
            image_.before_write = nullptr;
        }
    }

private:
    MemoryImage& image_;
    std::binary_semaphore hangs_{0}, go_{0};
    std::thread writer_;
};

// Somebody who has a disk's order lock and does not give it back, as a writer does while the disk
// beneath the dirty map hangs.
class Holder {
public:
    explicit Holder(DiskCapture& capture)
        : thread_([this, &capture] {
              const auto lock = capture.lock();
              has_.release();
              go_.acquire();
          }) {
        has_.acquire();
    }
    ~Holder() { let_go(); }
    void let_go() {
        if (thread_.joinable()) {
            go_.release();
            thread_.join();
        }
    }

private:
    std::binary_semaphore has_{0}, go_{0};
    std::thread thread_;
};

TEST(PointPause, OfTwoDisksIsNotWhatOneThatHangsMakesOfIt) {
    Harness h({.disks = 2});
    ASSERT_TRUE(h.run_until_protected());
    h.write(1, 8192, 4096, 0x11);
    HangingWrite write(h, 1);
    h.write(0, 0, 4096, 0x22);  // The other disk's writers go on,
    const auto id = h.point();  // and so does the loop.
    ASSERT_TRUE(id.has_value());
    h.write(0, 4096, 4096, 0x33);
    ASSERT_TRUE(h.run_until([&] { return committed(h, *id); }));
    // The point is without it, and the dirty map has not forgotten it with the point.
    EXPECT_EQ(h.captures[1]->position().uncommitted_bytes, map_block_bytes);
    write.let_go();
    const auto after = h.point();
    ASSERT_TRUE(after.has_value());
    ASSERT_TRUE(h.run_until([&] { return committed(h, *after); }));
    EXPECT_EQ(h.captures[1]->position().uncommitted_bytes, 0U);
    EXPECT_EQ(h.check_points(), 2U);
    h.expect_no_violations();
}

TEST(PointPause, WhatWasWrittenBeneathAFenceAndHangsIsInNoPointByHalves) {
    Harness h({.disks = 2});
    HangingWrite write(h, 1);  // Before the fence: BASE reads the disk while it is being written.
    ASSERT_TRUE(h.run_until([&] {
        return h.replicator->status().link == LinkState::live && !h.captures[0]->fence_open() &&
               !h.captures[1]->fence_open() && h.captures[1]->position().logging;
    }));
    EXPECT_FALSE(h.replicator->consistent());
    const auto refused = h.point();
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().code, Errc::not_ready);
    write.let_go();
    EXPECT_TRUE(h.replicator->consistent());
    const auto id = h.point();
    ASSERT_TRUE(id.has_value());
    ASSERT_TRUE(h.run_until([&] { return committed(h, *id); }));
    EXPECT_EQ(h.check_points(), 1U);
    h.expect_no_violations();
}

TEST(PointPause, AWriteThatHangsWhenItsDiskStopsLoggingIsMissedAndFoundAgain) {
    Harness h;
    ASSERT_TRUE(h.run_until_protected());
    HangingWrite write(h, 0);
    BlockSet elsewhere;
    elsewhere.add_range(1 * mib, 4096);
    ASSERT_TRUE(h.captures[0]->miss(elsewhere));  // From here on nothing is logged.
    write.let_go();
    EXPECT_EQ(h.captures[0]->missed().bytes(), 2 * map_block_bytes);
    ASSERT_TRUE(h.run_until_protected());
    const auto id = h.point();
    ASSERT_TRUE(id.has_value());
    ASSERT_TRUE(h.run_until([&] { return committed(h, *id); }));
    EXPECT_EQ(h.check_points(), 1U);
    h.expect_no_violations();
}

TEST(PointPause, ADiskThatCannotBeHeldInTimeIsNamedAndTheOthersGoOn) {
    Harness h({.disks = 2});
    ASSERT_TRUE(h.run_until_protected());
    Holder holder(*h.captures[1]);
    const auto refused = h.point();
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().code, Errc::held_too_long);
    EXPECT_NE(refused.error().detail.find("disk1"), std::string::npos) << refused.error().detail;
    h.write(0, 0, 4096, 0x22);  // Nobody holds it.
    EXPECT_FALSE(h.gate.closed());
    EXPECT_EQ(h.replicator->pauses().numbers().given_up, 1U);
    EXPECT_EQ(h.replicator->pauses().numbers().waited_for, "disk1");
    holder.let_go();
    const auto id = h.point();
    ASSERT_TRUE(id.has_value());
    ASSERT_TRUE(h.run_until([&] { return committed(h, *id); }));
    EXPECT_EQ(h.check_points(), 1U);
    EXPECT_EQ(h.replicator->pauses().numbers().points, 1U);
}

TEST(PointPause, AWriterLetsItselfGoWhenTheAgentStandsStillInTheMiddle) {
    Harness h({.disks = 2});
    ASSERT_TRUE(h.run_until_protected());
    Holder holder(*h.captures[1]);
    bool wrote = false;
    const auto loop = std::this_thread::get_id();
    h.clock.looked = [&] {
        if (std::this_thread::get_id() != loop || wrote || !h.gate.closed()) {
            return;
        }
        wrote = true;
        // The loop does not go on before the writer is done. Nobody else could let it go.
        std::thread writer([&] { h.write(0, 0, 4096, 0x22); });
        h.clock.advance(point_pause_max_ns);
        writer.join();
    };
    const auto refused = h.point();
    h.clock.looked = nullptr;
    EXPECT_TRUE(wrote);
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().code, Errc::held_too_long);
}

TEST(PointPause, APointWhosePauseWasTooLongIsNotMade) {
    Harness h({.disks = 2});
    ASSERT_TRUE(h.run_until_protected());
    int looks = 0;
    h.clock.looked = [&] {
        if (++looks == 2) {  // Once when it begins, and then when it has all disks in hand.
            h.clock.advance(point_pause_max_ns);
        }
    };
    const auto refused = h.point();
    h.clock.looked = nullptr;
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().code, Errc::held_too_long);
    EXPECT_TRUE(h.replicator->points().all().empty());
    EXPECT_EQ(h.replicator->pauses().numbers().points, 0U);
    EXPECT_EQ(h.replicator->pauses().numbers().waited_for, "");  // No disk's fault.
    EXPECT_TRUE(h.point().has_value());
}

TEST(PointPause, IsMeasuredAndToldOfEveryPoint) {
    Harness h;
    ASSERT_TRUE(h.run_until_protected());
    int looks = 0;
    h.clock.looked = [&] { h.clock.advance(++looks <= 2 ? 10 * ns_per_ms : 0); };
    ASSERT_TRUE(h.point().has_value());
    h.clock.looked = nullptr;
    EXPECT_GE(h.replicator->pauses().numbers().longest_ns, 10 * ns_per_ms);
    ASSERT_TRUE(h.point().has_value());
    EXPECT_EQ(h.replicator->pauses().numbers().last_ns, 0);
    EXPECT_EQ(h.replicator->pauses().numbers().over_limit, 0U);
    // Of a moment that QEMU made: the point is right, and what it cost is told.
    ASSERT_TRUE(h.replicator->make_point(pipeline::PointKind::crash, "t", {},
                                         Replicator::Moment{h.clock.wall(), 812 * ns_per_ms}));
    EXPECT_EQ(h.replicator->pauses().numbers().over_limit, 1U);
    EXPECT_EQ(h.replicator->pauses().numbers().last_ns, 812 * ns_per_ms);
    EXPECT_EQ(h.replicator->pauses().numbers().points, 3U);
}

}  // namespace
}  // namespace cw::agent::test
