// The disk spool of a machine of several disks: one room for all, whoever writes what and when.
#include "tests/agent/harness.h"

#include <algorithm>
#include <chrono>
#include <thread>

namespace cw::agent::test {
namespace {

constexpr std::uint64_t piece = 256 * kib;

class SpillerOfDisks : public testing::Test {
protected:
    // Protected, with a spool; then nobody can be reached any more.
    void begin(std::size_t disks, std::uint64_t spool_bytes = 256 * mib, std::uint64_t seed = 1) {
        h.reset();  // Before the next one has its directory.
        h = std::make_unique<Harness>(Harness::Options{
            .seed = seed, .disks = disks, .disk_bytes = 16 * mib, .memory_slabs = 12});
        spool_bytes_ = spool_bytes;
        open_spool();
        ASSERT_TRUE(h->run_until_protected());
        begins_ = h->server.begins.size();
        outage();
    }
    void open_spool() {
        h->spiller = Spiller::open(h->directory + "/spool", spool_bytes_,
                                   {*h->outbox, *h->pool, h->clock, *h->random})
                         .value();
    }
    void outage() {
        h->connector.up = false;
        h->server.crash();
        h->steps(2);
    }
    void connect() {
        h->connector.up = true;
        h->clock.advance(3600 * ns_per_s);
    }
    // The device is real, the clock is not: a round ends when the device has, however slow it is.
    void round() {
        const auto give_up = std::chrono::steady_clock::now() + std::chrono::minutes(1);
        do {
            h->steps(1);
            h->spiller->step();
            std::this_thread::yield();
        } while (h->spiller->busy() && std::chrono::steady_clock::now() < give_up);
    }
    // One write, and what the spool makes of it: finding pressure, moving, freeing.
    void write(std::size_t disk) {
        ByteVector data(piece);
        h->random->fill(data);
        ASSERT_TRUE(h->captures[disk]->write(h->random->below(60) * piece, data));
        for (int i = 0; i < 4; ++i) {
            round();
        }
    }
    void point() { ASSERT_TRUE(h->point().has_value()); }
    [[nodiscard]] bool logging(std::size_t disk) { return h->captures[disk]->position().logging; }
    void all_arrives() {
        ASSERT_TRUE(h->run_until([&] {
            round();
            return h->outbox->empty() && h->replicator->consistent();
        }));
        h->expect_no_violations();
    }
    // Nothing was missed: no disk had to catch up.
    void expect_no_fence() { EXPECT_EQ(h->server.begins.size(), begins_); }
    // Nobody left anything there: all of the room can be had again.
    void expect_empty_spool(std::size_t disk) {
        outage();
        for (std::uint64_t written = 0; written < spool_bytes_ / 4; written += piece) {
            write(disk);
        }
        EXPECT_TRUE(logging(disk));
        connect();
        all_arrives();
    }

    std::unique_ptr<Harness> h;
    std::uint64_t spool_bytes_ = 0;
    std::size_t begins_ = 0;
};

TEST_F(SpillerOfDisks, AnOutageKeepsEveryWriteOfEveryDiskAndEveryPointInOrder) {
    for (const std::size_t disks : {2U, 3U}) {
        SCOPED_TRACE(disks);
        begin(disks);
        for (int i = 0; i < 160; ++i) {  // 40 MiB through 12 MiB of memory.
            write(h->random->below(disks));
            if (i % 20 == 19) {
                point();
            }
        }
        for (std::size_t disk = 0; disk < disks; ++disk) {
            EXPECT_TRUE(logging(disk)) << disk;
        }
        connect();
        all_arrives();
        expect_no_fence();
        EXPECT_EQ(h->check_points(), 8U);
    }
}

TEST_F(SpillerOfDisks, ADiskThatWasQuietFindsRoomBesideTheOthers) {
    begin(3);
    for (std::size_t disk = 0; disk < 3; ++disk) {  // Each after all of the one before it.
        for (int i = 0; i < 60; ++i) {
            write(disk);
        }
        point();
    }
    EXPECT_TRUE(logging(0) && logging(1) && logging(2));
    connect();
    all_arrives();
    expect_no_fence();
    EXPECT_EQ(h->check_points(), 3U);
}

// Part of what a disk writes is sent out of memory: what lies in the spool of it is not without
// gaps, while another disk's records never leave it empty.
TEST_F(SpillerOfDisks, EachDiskGoesInAndOutAtItsOwnPace) {
    begin(2);
    for (int i = 0; i < 60; ++i) {
        write(0);
    }
    point();
    connect();
    h->server.window = 2 * mib;  // A slow line.
    h->server.auto_sync = false;
    for (int i = 0; i < 200; ++i) {
        write(i % 7 == 0 ? 0 : 1);
        if (i % 25 == 24) {
            h->server.sync();
            point();
        }
    }
    EXPECT_TRUE(logging(0) && logging(1));
    h->server.window = 64 * mib;
    h->server.auto_sync = true;
    all_arrives();
    expect_no_fence();
    EXPECT_EQ(h->check_points(), 9U);
}

// What was sent before it was moved may be acknowledged before the device has it, and so may be
// what came after it and was never moved: what the disk writes next does not follow then.
TEST_F(SpillerOfDisks, ADiskWaitsForItsOwnOnTheirWayAndHoldsUpNobody) {
    begin(2);
    h->server.auto_sync = h->server.auto_commit = false;
    connect();
    const auto live = [&] { return h->replicator->status().link == LinkState::live; };
    ASSERT_TRUE(h->run_until(live));
    const auto log = [&](std::size_t disk, int pieces) {
        ByteVector data(piece);
        for (int i = 0; i < pieces; ++i) {
            h->random->fill(data);
            ASSERT_TRUE(h->captures[disk]->write(h->random->below(60) * piece, data));
        }
        h->captures[disk]->close_older_than(0);
        h->steps(50);  // Sent, if there is somebody.
    };
    const auto at = [&](std::uint16_t slot, SpillState::Place place) {
        return std::ranges::count_if(h->outbox->entries(), [&](const OutboxEntry& entry) {
            return entry.slot == slot && entry.spill.place == place;
        });
    };
    log(0, 28);  // More than half of the memory.
    h->spiller->step();
    ASSERT_GT(at(0, SpillState::Place::moving), 0);
    log(0, 2);
    h->server.sync();
    ASSERT_TRUE(h->run_until([&] { return h->outbox->empty(); }));
    outage();
    log(0, 4);
    log(1, 4);
    h->outbox->collect();
    const auto mine = at(0, SpillState::Place::memory);
    ASSERT_GT(mine, 0);
    ASSERT_GT(at(1, SpillState::Place::memory), 0);
    h->spiller->step();
    EXPECT_EQ(at(0, SpillState::Place::memory), mine);
    EXPECT_EQ(at(1, SpillState::Place::memory), 0);
    h->server.auto_sync = h->server.auto_commit = true;
    connect();
    all_arrives();
    expect_no_fence();
}

// Its history goes on with a fence, at sequences that do not follow what lies in the spool.
TEST_F(SpillerOfDisks, ADiskThatCatchesUpTakesRoomAgainWhileOthersLieThere) {
    begin(2);
    for (int i = 0; i < 100; ++i) {
        write(static_cast<std::size_t>(i % 2));
    }
    for (OutboxEntry& entry : h->outbox->entries()) {  // As a damaged spool says.
        if (entry.slot == 0 && entry.spill.place == SpillState::Place::disk) {
            entry.spill.place = SpillState::Place::lost;
            break;
        }
    }
    h->server.window = 0;  // It hears what became of disk 0, and takes nothing.
    connect();
    h->steps(3);
    h->clock.advance(3600 * ns_per_s);
    ASSERT_TRUE(h->run_until([&] {
        round();
        return h->server.begins.size() > begins_ || h->captures[0]->fence_open();
    }));
    for (int i = 0; i < 100; ++i) {
        write(static_cast<std::size_t>(i % 2));
    }
    EXPECT_TRUE(logging(0) && logging(1));
    h->server.window = 64 * mib;
    outage();
    connect();
    all_arrives();
    point();
    all_arrives();
    EXPECT_EQ(h->check_points(), 1U);
}

// What lies on the disk costs memory no longer, its table neither.
TEST_F(SpillerOfDisks, MemoryForTablesDoesNotEndAnOutageBeforeTheRoomDoes) {
    begin(2);
    constexpr int records = 3 * 1024;  // Three times what all tables together may take.
    for (int i = 0; i < records; ++i) {
        h->write(static_cast<std::size_t>(i % 2), h->random->below(4096) * 512, 512,
                 static_cast<std::uint8_t>(i));
        h->captures[static_cast<std::size_t>(i % 2)]->close_older_than(0);  // A record of its own.
        if (i % 4 == 3) {
            round();
            round();
        }
        if (i % 512 == 511) {
            point();
        }
    }
    EXPECT_TRUE(logging(0) && logging(1));
    EXPECT_GE(h->outbox->entries().size(), std::size_t{records});
    connect();
    all_arrives();
    expect_no_fence();
    EXPECT_EQ(h->check_points(), 6U);
}

TEST_F(SpillerOfDisks, OnlyWhoWritesWhenTheRoomIsGoneIsOnlyNoted) {
    begin(3, 128 * mib);
    write(2);
    std::uint64_t written = 0;
    std::size_t turn = 0;
    for (; logging(0) && logging(1) && written < 2 * spool_bytes_; written += piece) {
        write(turn++ % 2);
    }
    EXPECT_GT(written, spool_bytes_ / 2);  // Its index and what it keeps free take the rest.
    const std::size_t first = logging(0) ? 1 : 0, other = 1 - first;
    ASSERT_FALSE(logging(first));
    EXPECT_TRUE(logging(2));  // It writes nothing.
    for (int i = 0; i < 64 && logging(other); ++i) {
        write(other);
    }
    EXPECT_FALSE(logging(other));
    const auto owed =
        h->captures[0]->position().missed_bytes + h->captures[1]->position().missed_bytes;
    EXPECT_LE(owed, 4 * piece);
    EXPECT_EQ(h->point().error().code, Errc::not_ready);
    connect();
    const auto read = [&] {
        return h->replicator->base(0).read_bytes() + h->replicator->base(1).read_bytes();
    };
    const std::uint64_t before = read();
    all_arrives();
    EXPECT_EQ(read() - before, owed);
    EXPECT_EQ(h->replicator->base(2).read_bytes(), 16 * mib);  // Once, when it began.
    EXPECT_TRUE(logging(0) && logging(1) && logging(2));
    point();
    all_arrives();
    EXPECT_EQ(h->check_points(), 1U);
    expect_empty_spool(2);
}

// It comes with an acknowledgement, not with the device: whoever looked for it every millisecond
// would do so through the whole outage, and who ends would wait for it in vain.
TEST_F(SpillerOfDisks, WhatFindsNoRoomInAFullSpoolKeepsNobodyBusy) {
    begin(1);
    h->spiller.reset();
    cache::SpoolOptions options;  // Three writes fit into a region; its rest counts as room.
    options.path = h->directory + "/small";
    options.region_bytes = mib;
    options.size_bytes = 8 * mib;
    options.throttle_free = 0;
    options.prewrite = false;
    h->spiller = Spiller::open(options, {make_posix_disk(), make_posix_disk()},
                               {*h->outbox, *h->pool, h->clock, *h->random})
                     .value();
    const auto on_its_way = [&] {
        return std::ranges::count_if(h->outbox->entries(), [](const OutboxEntry& entry) {
            return entry.spill.place == SpillState::Place::moving;
        });
    };
    for (int burst = 0; burst < 8 && logging(0); ++burst) {
        for (std::uint64_t i = 0; i < 5; ++i) {
            ByteVector data(piece);
            h->random->fill(data);
            ASSERT_TRUE(h->captures[0]->write(i * piece, data));
            h->clock.advance(ns_per_ms);
            h->captures[0]->close_older_than(0);  // A record each.
        }
        for (int i = 0; i < 100; ++i) {
            h->spiller->step();
        }
        EXPECT_FALSE(h->spiller->busy());
    }
    EXPECT_TRUE(h->spiller->conditions().standing(Errc::spool_full));
    EXPECT_GT(on_its_way(), 0) << "all of it found room: nothing is shown here";
    connect();
    all_arrives();
}

TEST_F(SpillerOfDisks, OfAnotherSizeItSaysWhichOptionAndThatNothingInItIsNeeded) {
    begin(1);
    h->spiller.reset();
    const auto other = Spiller::open(h->directory + "/spool", 128 * mib,
                                     {*h->outbox, *h->pool, h->clock, *h->random});
    ASSERT_FALSE(other.has_value());
    EXPECT_EQ(other.error().code, Errc::config_invalid);
    const std::string& detail = other.error().detail;
    EXPECT_TRUE(detail.starts_with("--spool-size: ")) << detail;
    EXPECT_TRUE(detail.ends_with("; nothing in " + h->directory +
                                 "/spool is needed: without it the agent begins a new one"))
        << detail;
}

TEST_F(SpillerOfDisks, OfTooSmallASizeItSaysTheLeast) {
    begin(1);
    const auto small = Spiller::open(h->directory + "/small", 100 * mib,
                                     {*h->outbox, *h->pool, h->clock, *h->random});
    ASSERT_FALSE(small.has_value());
    EXPECT_EQ(small.error().code, Errc::usage);
    EXPECT_EQ(small.error().detail, "--spool-size: a queue on disk has at least 128MiB; 0: none");
    // Any other is rounded up.
    const auto odd = Spiller::open(h->directory + "/odd", 128 * mib + 1,
                                   {*h->outbox, *h->pool, h->clock, *h->random});
    EXPECT_TRUE(odd.has_value()) << to_string(odd.error());
}

// What a killed agent left there is of several disks, some of it released, some not.
TEST_F(SpillerOfDisks, AKilledAgentBeginsAgainOnWhatItLeft) {
    begin(3);
    for (int life = 0; life < 3; ++life) {
        for (int i = 0; i < 90; ++i) {
            write(h->random->below(3));
        }
        connect();
        h->server.window = 4 * mib;
        for (int i = 0; i < 20; ++i) {
            round();
        }
        h->kill();
        h->server.crash();
        h->server.window = 64 * mib;
        h->start();
        open_spool();
        ASSERT_TRUE(h->run_until([&] {
            round();
            return h->replicator->status().link == LinkState::live && h->replicator->consistent();
        }));
        outage();
        for (int i = 0; i < 60; ++i) {
            write(h->random->below(3));
        }
        EXPECT_TRUE(logging(0) && logging(1) && logging(2)) << life;
        point();
        connect();
        all_arrives();
        EXPECT_EQ(h->check_points(), static_cast<std::size_t>(life + 1));
        EXPECT_EQ(raw(h->server.disks.at(h->id_of(0)).generation), 1U);
        outage();
    }
}

// The next record is read back while the one before it is not acknowledged yet. When that has to
// come again, its turn is first, and so must be the memory to read it back.
TEST_F(SpillerOfDisks, WhatComesAgainIsReadBackThoughALaterRecordWasReadAlready) {
    h = std::make_unique<Harness>(
        Harness::Options{.disks = 1, .disk_bytes = 64 * mib, .memory_slabs = 24});
    spool_bytes_ = 256 * mib;
    open_spool();
    ASSERT_TRUE(h->run_until_protected());
    begins_ = h->server.begins.size();
    outage();
    for (std::uint64_t i = 0; i < 8; ++i) {  // Records of more than half of that memory.
        ByteVector data(4 * mib);
        h->random->fill(data);
        ASSERT_TRUE(h->captures[0]->write(i * 5 * mib, Bytes(data).first(piece)));
        ASSERT_TRUE(h->captures[0]->write(i * 5 * mib + piece, data));
        round();
        round();
    }
    ASSERT_TRUE(logging(0));
    h->server.window = 6 * mib;  // One, and not the next.
    h->server.auto_sync = h->server.auto_commit = false;
    connect();
    const auto live = [&] { return h->replicator->status().link == LinkState::live; };
    ASSERT_TRUE(h->run_until(live));
    h->server.window = 0;
    for (int i = 0; i < 50; ++i) {
        round();
    }
    const auto& entries = h->outbox->entries();
    ASSERT_TRUE(entries.front().sent);
    ASSERT_GE(entries.front().record.slab_count(), 5U);
    ASSERT_EQ(std::ranges::count(entries, SpillState::Place::kept,
                                 [](const OutboxEntry& entry) { return entry.spill.place; }),
              1);
    outage();
    h->server.window = 64 * mib;
    h->server.auto_sync = h->server.auto_commit = true;
    connect();
    all_arrives();
    expect_no_fence();
}

TEST_F(SpillerOfDisks, ManySeedsOfOutagesKillsAndTakeoversAreTheDisksAtEveryPoint) {
    for (std::uint64_t seed = 1; seed <= 3; ++seed) {
        SCOPED_TRACE(seed);
        const std::size_t disks = 2 + seed % 2;
        begin(disks, 128 * mib, seed);
        for (int i = 0; i < 8; ++i) {
            for (std::uint64_t writes = h->random->below(40); writes > 0; --writes) {
                write(h->random->below(disks));
                if (h->random->below(8) == 0) {
                    (void)h->point();
                }
            }
            switch (h->random->below(5)) {
                case 0:
                    h->server.take_over();
                    connect();
                    break;
                case 1:
                    h->kill();
                    h->server.crash();
                    h->start();
                    open_spool();
                    break;
                case 2:
                    outage();
                    break;
                default:
                    connect();
                    h->server.window = (1 + h->random->below(8)) * mib;
            }
            for (std::uint64_t rounds = h->random->below(60); rounds > 0; --rounds) {
                round();
            }
        }
        h->server.window = 64 * mib;
        outage();
        connect();
        all_arrives();
        point();
        all_arrives();
        EXPECT_GE(h->check_points(), 1U);
    }
}

}  // namespace
}  // namespace cw::agent::test
