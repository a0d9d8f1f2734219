// The ladder of an agent that cannot send what is written: DATA → METADATA → BITMAP, and back by
// itself. Whatever dies on any rung, every point is the disks at its moment.
#include "tests/agent/harness.h"

#include <algorithm>
#include <chrono>
#include <thread>

namespace cw::agent::test {
namespace {

using wire::ReplicationMode;

constexpr std::uint64_t small = 4 * kib;

bool committed(Harness& h, const PointId& id) {
    const auto* point = h.replicator->points().find(id);
    return point != nullptr && point->phase == PointPhase::committed;
}

class Modes : public testing::Test {
protected:
    // Protected, with a point; then nothing is acknowledged any more, although the session lives.
    void begin(std::size_t ranges_max = 4096, std::uint64_t disk_bytes = 16 * mib) {
        h.reset();  // Before the next one has its directory.
        h = std::make_unique<Harness>(Harness::Options{
            .disk_bytes = disk_bytes, .memory_slabs = 6, .ranges_max = ranges_max});
        ByteVector noise(disk_bytes);
        h->random->fill(noise);
        ASSERT_TRUE(h->images[0]->write(0, noise));
        make_whole();
        h->server.auto_sync = h->server.auto_commit = false;
    }
    ReplicationMode mode() { return h->captures[0]->position().mode; }
    // Fills memory from the second half of the disk on, and goes on as many small writes as it
    // takes.
    void drive_to(ReplicationMode wanted) {
        ByteVector data(256 * kib);
        for (int i = 0; i < 60 && mode() == ReplicationMode::data && wanted > mode(); ++i) {
            h->random->fill(data);
            ASSERT_TRUE(h->captures[0]->write(8 * mib + i % 32 * data.size(), data));
            h->steps(1);
        }
        for (int i = 0; i < 200 && mode() < wanted; ++i) {
            scattered(1);
        }
        ASSERT_EQ(mode(), wanted);
        h->steps(4);
    }
    // Single blocks of 4 KiB, each in a super-chunk's other 64 KiB block, in the first 8 MiB.
    void scattered(int count) {
        for (int i = 0; i < count; ++i) {
            const auto at = static_cast<std::uint64_t>(scattered_++ % 64) * 128 * kib;
            h->write(0, at + 8 * kib, small, static_cast<std::uint8_t>(1 + scattered_ % 250));
        }
    }
    void relieve() {
        h->server.auto_sync = h->server.auto_commit = true;
        if (!h->server.closed) {
            h->server.commit();
        }
    }
    void make_whole() {
        relieve();
        ASSERT_TRUE(h->run_until_protected());
        const auto id = h->point();
        ASSERT_TRUE(id.has_value());
        ASSERT_TRUE(h->run_until([&] { return committed(*h, *id); }));
        h->check_points();
        h->expect_no_violations();
        EXPECT_EQ(mode(), ReplicationMode::data);
    }
    enum class Death { agent, server, takeover };
    // The agent is killed, the server loses what it had not synced, or another one takes over.
    void die(Death death) {
        if (death == Death::takeover) {
            h->server.take_over();
        } else {
            if (death == Death::agent) {
                h->kill();
            }
            h->server.crash();
            if (death == Death::agent) {
                h->start();
            }
        }
        scattered(7);
        h->steps(3);  // It hears of it.
        h->clock.advance(60 * ns_per_s);
    }
    std::unique_ptr<Harness> h;
    int scattered_ = 0;
};

TEST_F(Modes, InMetadataExactlyWhatChangedIsReadAgain) {
    begin();
    drive_to(ReplicationMode::metadata);
    scattered(50);
    const auto at = h->captures[0]->position();
    EXPECT_GE(at.missed_ranges, 50U);
    EXPECT_GE(at.missed_bytes, 50 * small);
    EXPECT_LT(at.missed_bytes, 50 * map_block_bytes);
    EXPECT_EQ(h->point().error().code, Errc::not_ready);
    const std::uint64_t read = h->replicator->base(0).read_bytes(), sent = h->server.base_bytes;
    make_whole();
    EXPECT_EQ(h->replicator->base(0).read_bytes() - read, at.missed_bytes);
    EXPECT_EQ(h->server.base_bytes - sent, at.missed_bytes);
    EXPECT_EQ(h->server.begins.back(), wire::ResyncKind::resume);
}

TEST_F(Modes, AListThatIsFullGivesWayToTheBitmapOfBlocks) {
    begin(20);
    drive_to(ReplicationMode::metadata);
    scattered(30);
    EXPECT_EQ(mode(), ReplicationMode::bitmap);
    const auto at = h->captures[0]->position();
    EXPECT_EQ(at.missed_ranges, 0U);
    EXPECT_GE(at.missed_bytes, 30 * map_block_bytes);
    const std::uint64_t read = h->replicator->base(0).read_bytes();
    make_whole();
    EXPECT_EQ(h->replicator->base(0).read_bytes() - read, at.missed_bytes);
}

TEST_F(Modes, WithoutAListItIsTheBitmapAtOnce) {
    begin(0);
    drive_to(ReplicationMode::bitmap);
    make_whole();
}

// The device is real, the clock is not: a round ends when the device has, however slow it is.
TEST_F(Modes, TheDiskSpoolIsUsedUpBeforeAnythingIsOnlyNoted) {
    begin();
    constexpr std::uint64_t spool_bytes = 128 * mib;
    h->spiller = Spiller::open(h->directory + "/spool", spool_bytes,
                               {*h->outbox, *h->pool, h->clock, *h->random})
                     .value();
    h->connector.up = false;
    h->server.crash();
    const auto give_up = std::chrono::steady_clock::now() + std::chrono::minutes(2);
    const auto spool = [&] {
        do {
            h->steps(1);
            h->spiller->step();
            std::this_thread::yield();
        } while (h->spiller->busy() && std::chrono::steady_clock::now() < give_up);
    };
    ByteVector data(256 * kib);
    std::uint64_t written = 0;
    for (; mode() == ReplicationMode::data && written < 2 * spool_bytes; written += data.size()) {
        h->random->fill(data);
        ASSERT_TRUE(h->captures[0]->write(written % (16 * mib), data));
        for (int i = 0; i < 4; ++i) {
            spool();
        }
    }
    ASSERT_EQ(mode(), ReplicationMode::metadata);
    EXPECT_EQ(h->captures[0]->position().missed_why, "the queue is full");
    EXPECT_GT(written, spool_bytes / 2);  // Its index and what it keeps free take the rest.
    scattered(20);
    const auto owed = h->captures[0]->position().missed_bytes;
    EXPECT_LE(owed, data.size() + 20 * small);
    h->connector.up = true;
    h->clock.advance(3600 * ns_per_s);
    relieve();
    const std::uint64_t read = h->replicator->base(0).read_bytes();
    ASSERT_TRUE(h->run_until([&] {
        spool();
        return mode() == ReplicationMode::data && h->replicator->consistent();
    }));
    EXPECT_EQ(h->replicator->base(0).read_bytes() - read, owed);
    h->spiller.reset();
    make_whole();
}

// The device is given no time at all: memory alone must take the burst, however much room it has.
TEST_F(Modes, ABurstFasterThanTheDiskSpoolIsNotedAndSaysWhy) {
    begin();
    h->spiller = Spiller::open(h->directory + "/spool", 128 * mib,
                               {*h->outbox, *h->pool, h->clock, *h->random})
                     .value();
    const std::uint64_t room = h->spiller->usage().room_bytes;
    EXPECT_GT(room, 64 * mib);
    h->connector.up = false;
    h->server.crash();
    h->steps(1);
    ByteVector data(256 * kib);
    for (int i = 0; i < 40 && mode() == ReplicationMode::data; ++i) {
        h->random->fill(data);
        ASSERT_TRUE(h->captures[0]->write(static_cast<std::uint64_t>(i) * data.size(), data));
    }
    ASSERT_EQ(mode(), ReplicationMode::metadata);
    EXPECT_EQ(h->captures[0]->position().missed_why,
              "the queue in memory is full, and the one on disk is too slow");
    const auto spill = [&] {
        h->steps(1);
        h->clock.advance(ns_per_ms);
        h->spiller->step();
        std::this_thread::yield();
    };
    const auto give_up = std::chrono::steady_clock::now() + std::chrono::minutes(1);
    do {
        spill();
    } while (h->spiller->busy() && std::chrono::steady_clock::now() < give_up);
    EXPECT_EQ(h->replicator->status().mode.reason,
              "the queue in memory is full, and the one on disk is too slow: "
              "which bytes change is noted");
    const Spiller::Usage then = h->spiller->usage();
    EXPECT_GT(then.used_bytes, 2 * mib);
    EXPECT_LT(then.room_bytes, room);
    EXPECT_GT(then.bytes_per_s, 0U);
    EXPECT_LE(then.bytes_per_s, 6 * mib * 1000);  // All of memory in a millisecond.
    h->connector.up = true;
    h->clock.advance(3600 * ns_per_s);
    relieve();
    ASSERT_TRUE(h->run_until([&] {
        spill();
        return mode() == ReplicationMode::data && h->replicator->consistent();
    }));
    h->spiller.reset();
    make_whole();
}

TEST_F(Modes, TheServerIsToldOfEveryStepDownAndOfTheWayBack) {
    begin(20);
    EXPECT_TRUE(h->server.modes.empty());
    drive_to(ReplicationMode::metadata);
    EXPECT_EQ(h->server.modes, std::vector{ReplicationMode::metadata});
    scattered(5);
    h->clock.advance(6 * ns_per_s);
    h->steps(2);
    ASSERT_TRUE(h->server.unread.contains(0));
    const auto& ranges = h->server.unread[0].ranges;
    const auto all = h->captures[0]->missed_ranges();
    ASSERT_EQ(ranges.size(), all.size());
    for (std::size_t i = 0; i < all.size(); ++i) {
        EXPECT_EQ(ranges[i].offset, all[i].offset);
        EXPECT_EQ(ranges[i].length, all[i].length);
    }
    drive_to(ReplicationMode::bitmap);
    EXPECT_EQ(h->server.modes.back(), ReplicationMode::bitmap);
    EXPECT_TRUE(h->server.unread.empty());
    EXPECT_EQ(h->replicator->status().mode.reason,
              "the queue is full: which blocks change is noted");
    make_whole();
    EXPECT_EQ(h->server.modes.back(), ReplicationMode::data);
    EXPECT_EQ(h->replicator->status().mode.mode, ReplicationMode::data);
}

TEST_F(Modes, TheFenceThatLeadsBackSaysWhatLedThereAndNotWhatTheServerSaidBefore) {
    begin();
    h->server.welcome_reason = "welcome back";
    h->server.crash();
    h->clock.advance(60 * ns_per_s);
    ASSERT_TRUE(h->run_until([&] { return h->replicator->status().link == LinkState::live; }));
    drive_to(ReplicationMode::metadata);
    h->server.hold_fences = true;
    relieve();
    ASSERT_TRUE(h->run_until([&] { return h->captures[0]->fence_open(); }));
    const std::string why = "the queue is full: what was noted is read";
    EXPECT_EQ(h->replicator->status().disks[0].reason, why);
    die(Death::server);  // In the next session it is still the same fence, and the same reason.
    EXPECT_NE(h->server.begin_reasons.back(), "welcome back");
    h->server.hold_fences = false;
    make_whole();
    EXPECT_EQ(h->server.begin_reasons.back(), why);
}

TEST_F(Modes, ANewSessionIsToldAgain) {
    begin();
    drive_to(ReplicationMode::metadata);
    h->server.modes.clear();
    h->server.crash();
    h->server.window = 0;  // Nothing can be sent: it stays so.
    ASSERT_TRUE(h->run_until([&] { return !h->server.modes.empty(); }));
    EXPECT_EQ(h->server.modes.front(), ReplicationMode::metadata);
    EXPECT_TRUE(h->server.unread.contains(0));
    h->server.window = 64 * mib;
    h->server.crash();
    h->clock.advance(3600 * ns_per_s);
    make_whole();
}

TEST_F(Modes, ALongListIsToldShorterAndCoversEverything) {
    begin(4096, 64 * mib);
    drive_to(ReplicationMode::metadata);
    for (std::uint64_t i = 0; i < 2000; ++i) {
        h->write(0, i * 32 * kib, small, 7);
    }
    h->clock.advance(6 * ns_per_s);
    h->steps(2);
    const auto& told = h->server.unread[0].ranges;
    EXPECT_EQ(told.size(), 1024U);
    for (const auto& [offset, length] : h->captures[0]->missed_ranges()) {
        EXPECT_TRUE(std::ranges::any_of(told, [&](const auto& range) {
            return range.offset <= offset && offset + length <= range.offset + range.length;
        }));
    }
}

TEST_F(Modes, WhatIsMissedDuringTheFenceIsReadWithTheRestAndNoMore) {
    begin();
    drive_to(ReplicationMode::metadata);
    scattered(20);
    h->server.auto_sync = h->server.auto_commit = true;
    h->server.hold_fences = true;
    h->server.commit();
    ASSERT_TRUE(h->run_until([&] { return h->captures[0]->fence_open(); }));
    const std::uint64_t fences = h->captures[0]->position().fences;
    const std::uint64_t first = h->replicator->base(0).progress().total_bytes;
    drive_to(ReplicationMode::metadata);  // The fence cannot be ended now.
    scattered(10);
    const std::uint64_t second = h->captures[0]->position().missed_bytes;
    h->server.hold_fences = false;
    const std::uint64_t read = h->replicator->base(0).read_bytes();
    make_whole();
    EXPECT_GT(h->captures[0]->position().fences, fences);
    EXPECT_LE(h->replicator->base(0).read_bytes() - read, first + second);
}

TEST_F(Modes, AFenceOverEverythingUncommittedIsReadInBlocksWhenItIsBegunAgain) {
    begin();
    scattered(30);
    h->steps(20);
    h->server.sync();  // Freed, and not committed: only the map knows.
    h->steps(10);
    h->server.auto_sync = true;
    h->server.hold_fences = true;
    h->server.take_over();
    h->steps(3);
    h->clock.advance(60 * ns_per_s);
    ASSERT_TRUE(h->run_until([&] { return h->captures[0]->fence_open(); }));
    drive_to(ReplicationMode::metadata);
    h->server.hold_fences = false;
    make_whole();
}

TEST_F(Modes, TheOddEndOfADiskIsReadToo) {
    begin(4096, 16 * mib + 512);
    drive_to(ReplicationMode::metadata);
    h->write(0, 16 * mib, 512, 0x99);
    h->write(0, 16 * mib - 512, 512, 0x98);
    make_whole();
}

TEST_F(Modes, ZerosAndDiscardsOfAnySizeAreNotedAndTravelAsZeros) {
    begin();
    drive_to(ReplicationMode::metadata);
    ASSERT_TRUE(h->captures[0]->zero(512, 7 * mib, pipeline::ExtentOp::discard, false));
    h->write(0, 5 * mib, small, 3);
    const std::uint64_t before = h->server.base_bytes;
    make_whole();
    EXPECT_LT(h->server.base_bytes - before, 3 * mib);
}

TEST_F(Modes, WhatQemusBitmapsSayIsKnownInBlocksOnly) {
    begin();
    drive_to(ReplicationMode::metadata);
    BlockSet noted;
    noted.add_range(mib, 1);
    ASSERT_TRUE(h->captures[0]->miss(noted));
    EXPECT_EQ(mode(), ReplicationMode::bitmap);
    make_whole();
}

TEST_F(Modes, AnyDeathOnAnyRungLosesNothing) {
    for (const auto rung :
         {ReplicationMode::data, ReplicationMode::metadata, ReplicationMode::bitmap}) {
        for (const Death death : {Death::agent, Death::server, Death::takeover}) {
            SCOPED_TRACE(testing::Message() << "rung " << static_cast<int>(rung) << " death "
                                            << static_cast<int>(death));
            begin(20);
            scattered(3);
            h->steps(10);
            h->server.sync();  // Freed, and not committed.
            h->steps(10);
            drive_to(rung);
            scattered(7);
            die(death);
            make_whole();
            EXPECT_EQ(raw(h->server.disks.at(h->id_of(0)).generation), 1U);
        }
    }
}

// As above, while the fence is open that leads back.
TEST_F(Modes, AnyDeathOnTheWayBackLosesNothing) {
    for (const std::size_t ranges_max : {std::size_t{4096}, std::size_t{0}}) {
        for (const Death death : {Death::agent, Death::server, Death::takeover}) {
            SCOPED_TRACE(testing::Message()
                         << ranges_max << " ranges, death " << static_cast<int>(death));
            begin(ranges_max);
            drive_to(ranges_max > 0 ? ReplicationMode::metadata : ReplicationMode::bitmap);
            scattered(40);
            h->server.hold_fences = true;
            relieve();
            ASSERT_TRUE(h->run_until([&] { return h->captures[0]->fence_open(); }));
            scattered(3);
            h->steps(10);
            h->server.hold_fences = false;
            die(death);
            make_whole();
        }
    }
}

TEST_F(Modes, ManySeedsOfWritesOnEveryRungAreTheDisksAtEveryPoint) {
    for (std::uint64_t seed = 1; seed <= 8; ++seed) {
        Harness many({.seed = seed,
                      .disks = 2,
                      .disk_bytes = 5 * mib + 512,
                      .memory_slabs = 4,
                      .ranges_max = seed % 2 == 0 ? 12U : 4096U});
        ASSERT_TRUE(many.run_until_protected());
        bool exact = false, blocks = false;
        for (int round = 0; round < 6; ++round) {
            many.server.auto_sync = many.server.auto_commit = false;
            for (int i = 0; i < 200; ++i) {
                many.random_write();
                many.steps(static_cast<int>(many.random->below(2)));
                const auto now = many.replicator->status().mode.mode;
                exact = exact || now == ReplicationMode::metadata;
                blocks = blocks || now == ReplicationMode::bitmap;
            }
            many.server.auto_sync = many.server.auto_commit = true;
            many.server.commit();
            ASSERT_TRUE(many.run_until_protected());
            ASSERT_TRUE(many.point().has_value());
        }
        ASSERT_TRUE(many.run_until([&] { return many.server.points.size() == 6; }));
        EXPECT_EQ(many.check_points(), 6U);
        many.expect_no_violations();
        EXPECT_TRUE(exact);
        EXPECT_EQ(blocks, seed % 2 == 0);
    }
}

}  // namespace
}  // namespace cw::agent::test
