#include "pipeline/generation.h"
#include "tests/agent/harness.h"

namespace cw::agent::test {
namespace {

bool committed(Harness& h, const PointId& id) {
    const auto* point = h.replicator->points().find(id);
    return point != nullptr && point->phase == PointPhase::committed;
}

TEST(Replicator, InitialSyncThenPointEqualsTheDisk) {
    Harness h;
    for (int i = 0; i < 50; ++i) {
        h.random_write();
    }
    ASSERT_TRUE(h.run_until_protected());
    const auto id = h.point();
    ASSERT_TRUE(id.has_value());
    ASSERT_TRUE(h.run_until([&] { return committed(h, *id); }));
    EXPECT_EQ(h.check_points(), 1U);
    h.expect_no_violations();
}

TEST(Replicator, NoPointBetweenFenceAndItsEnd) {
    Harness h;
    const auto id = h.point();
    ASSERT_FALSE(id.has_value());
    EXPECT_EQ(id.error().code, Errc::not_ready);
}

TEST(Replicator, EveryPointEqualsTheDisksWhileWritesGoOn) {
    for (std::uint64_t seed = 1; seed <= 6; ++seed) {
        Harness h({.seed = seed, .disks = 2, .disk_bytes = 5 * mib + 4096});
        h.server.auto_sync = seed % 2 == 0;
        for (int i = 0; i < 400; ++i) {
            h.random_write();
            h.steps(static_cast<int>(h.random->below(3)));
            if (h.random->below(20) == 0) {
                h.server.sync();
            }
            if (h.random->below(20) == 0 && h.replicator->consistent()) {
                ASSERT_TRUE(h.point().has_value());
            }
            if (h.random->below(60) == 0) {
                h.server.crash();  // Loses what was not synced; the agent sends it again.
                h.clock.advance(3 * ns_per_s);
            }
        }
        h.server.auto_sync = true;
        ASSERT_TRUE(h.run_until_protected());
        const auto last = h.point();
        ASSERT_TRUE(last.has_value());
        ASSERT_TRUE(h.run_until([&] { return committed(h, *last); }));
        EXPECT_GE(h.check_points(), 2U);
        h.expect_no_violations();
    }
}

TEST(Replicator, AFullQueueDegradesToTheMapAndCatchesUp) {
    Harness h({.disk_bytes = 16 * mib, .memory_slabs = 4});
    ASSERT_TRUE(h.run_until_protected());
    h.connector.up = false;
    h.server.crash();
    h.steps(2);
    for (int i = 0; i < 400; ++i) {  // Far more than four slabs; no call waits.
        h.random_write();
    }
    EXPECT_FALSE(h.captures[0]->position().logging);
    EXPECT_FALSE(h.point().has_value());
    h.connector.up = true;
    ASSERT_TRUE(h.run_until_protected());
    const auto id = h.point();
    ASSERT_TRUE(h.run_until([&] { return committed(h, *id); }));
    h.check_points();
    h.expect_no_violations();
    EXPECT_EQ(h.server.begins.back(), wire::ResyncKind::resume);
}

TEST(Replicator, AnOutageUnderSmallWritesIsKeptInOrderInLittleMemory) {
    Harness h({.disk_bytes = 16 * mib, .memory_slabs = 6});
    ASSERT_TRUE(h.run_until_protected());
    const std::size_t begins = h.server.begins.size();
    h.connector.up = false;
    h.server.crash();
    // Ten seconds of 4 KiB every 20 ms: 2 MB of data, in 500 lingers.
    for (std::uint64_t i = 0; i < 500; ++i) {
        h.write(0, i * 4096, 4096, static_cast<std::uint8_t>(1 + i % 250));
        h.clock.advance(20 * ns_per_ms);
        h.steps(1);
    }
    EXPECT_TRUE(h.captures[0]->position().logging);
    const auto id = h.point();
    ASSERT_TRUE(id.has_value());
    h.connector.up = true;
    ASSERT_TRUE(h.run_until([&] { return committed(h, *id); }));
    h.check_points();
    h.expect_no_violations();
    EXPECT_EQ(h.server.begins.size(), begins);  // Nothing had to be caught up.
}

TEST(Replicator, ARecordLostByTheDiskSpoolIsCaughtUpFromTheMap) {
    Harness h;
    h.server.auto_commit = false;
    ASSERT_TRUE(h.run_until_protected());
    h.connector.up = false;
    h.server.crash();
    h.steps(2);
    for (int i = 0; i < 5; ++i) {
        h.random_write();
        h.clock.advance(ns_per_s / 10);
        h.steps(2);
        EXPECT_FALSE(h.replicator->all_spooled());  // Closes the record that is open.
    }
    ASSERT_FALSE(h.outbox->empty());
    h.outbox->entries().front().spill.place = SpillState::Place::lost;  // As a damaged spool says.
    h.connector.up = true;
    h.clock.advance(3600 * ns_per_s);
    h.steps(3);
    h.clock.advance(3600 * ns_per_s);
    ASSERT_TRUE(h.run_until_protected());
    h.server.auto_commit = true;
    const auto id = h.point();
    ASSERT_TRUE(h.run_until([&] { return committed(h, *id); }));
    EXPECT_EQ(h.check_points(), 1U);
    EXPECT_EQ(h.server.begins.back(), wire::ResyncKind::catch_up);
    h.expect_no_violations();
}

TEST(Replicator, TakeoverByAServerThatIsBehindIsCaughtUpFromTheMaps) {
    Harness h;
    h.server.auto_commit = false;
    ASSERT_TRUE(h.run_until_protected());
    h.server.commit();
    h.steps(20);
    for (int i = 0; i < 40; ++i) {
        h.random_write();
        h.steps(3);
    }
    h.steps(50);
    ASSERT_TRUE(h.outbox->empty());  // Freed: only the dirty map knows.
    const std::uint64_t before = h.server.base_bytes;
    h.server.take_over();
    h.clock.advance(3 * ns_per_s);
    h.steps(5);
    ASSERT_TRUE(h.run_until_protected());
    h.server.auto_commit = true;
    const auto id = h.point();
    ASSERT_TRUE(h.run_until([&] { return committed(h, *id); }));
    h.check_points();
    h.expect_no_violations();
    EXPECT_EQ(h.server.begins.back(), wire::ResyncKind::catch_up);
    EXPECT_LT(h.server.base_bytes - before, 8 * mib);
}

TEST(Replicator, KilledAgentKeepsItsGenerationAndCatchesUpAfterRestart) {
    for (std::uint64_t seed = 1; seed <= 6; ++seed) {
        Harness h({.seed = seed, .disks = 2, .disk_bytes = 5 * mib});
        ASSERT_TRUE(h.run_until_protected());
        for (int round = 0; round < 3; ++round) {
            h.server.auto_sync = h.random->below(2) == 0;
            for (int i = 0; i < 60; ++i) {
                h.random_write();
                h.steps(static_cast<int>(h.random->below(2)));
            }
            h.kill();
            h.server.crash();
            h.server.auto_sync = true;
            h.start();
            h.random_write();  // Before the server has said anything.
            ASSERT_TRUE(h.run_until_protected()) << "seed " << seed;
            const auto id = h.point();
            ASSERT_TRUE(h.run_until([&] { return committed(h, *id); }));
        }
        h.check_points();
        h.expect_no_violations();
        EXPECT_EQ(raw(h.server.disks.at(h.id_of(0)).generation), 1U);
    }
}

TEST(Replicator, UnprovableHistoryIsComparedByDigestsAndOnlyDifferencesTravel) {
    Harness h;
    for (int i = 0; i < 100; ++i) {
        h.random_write();
    }
    ASSERT_TRUE(h.run_until_protected());
    const auto first = h.point();
    ASSERT_TRUE(h.run_until([&] { return committed(h, *first); }));
    h.kill();
    // Written behind the agent's back.
    const ByteVector stranger(4096, std::byte{0x77});
    ASSERT_TRUE(h.images[0]->write(5 * mib, stranger));
    h.server.know_hashes = true;
    h.server.base_bytes = 0;
    h.start(false);
    ASSERT_TRUE(h.run_until_protected());
    const auto id = h.point();
    ASSERT_TRUE(h.run_until([&] { return committed(h, *id); }));
    EXPECT_GE(h.server.hashes_sent, 1U);
    EXPECT_LE(h.server.base_bytes, 64 * kib);
    EXPECT_EQ(raw(h.server.disks.at(h.id_of(0)).generation), 2U);
    h.check_points();
    h.expect_no_violations();
}

// So that a server tells it from the agent of the machine that was failed over meanwhile.
TEST(Replicator, AnAgentThatLostItsProofSaysWhoseStateItHas) {
    Harness h;
    h.server.first_generation = pipeline::first_of_next_origin(Generation{1});
    h.random_write();
    ASSERT_TRUE(h.run_until_protected());
    EXPECT_EQ(h.server.disks.at(h.id_of(0)).named, Generation{0});
    h.kill();
    h.start(false);
    ASSERT_TRUE(h.run_until_protected());
    EXPECT_EQ(h.server.disks.at(h.id_of(0)).named,
              pipeline::without_history(h.server.first_generation));
    h.expect_no_violations();
}

TEST(Replicator, InitialSyncResumesAtSuperChunksAfterALostConnection) {
    Harness h({.disk_bytes = 64 * mib});
    ByteVector noise(mib);
    for (std::uint64_t at = 0; at < 64 * mib; at += mib) {
        h.random->fill(noise);
        ASSERT_TRUE(h.captures[0]->write(at, noise));
    }
    ASSERT_TRUE(h.run_until([&] { return h.server.base_bytes >= 24 * mib; }));
    h.server.crash();
    ASSERT_TRUE(h.run_until_protected());
    EXPECT_LE(h.server.base_bytes, 64 * mib + 12 * mib);
    EXPECT_EQ(h.server.begins.size(), 1U);
    const auto id = h.point();
    ASSERT_TRUE(h.run_until([&] { return committed(h, *id); }));
    h.check_points();
    h.expect_no_violations();
}

TEST(Replicator, UnrecoverableRefusalIsNeverRetried) {
    Harness h;
    h.server.refuse_with = Errc::authz_denied;
    ASSERT_TRUE(h.run_until([&] { return h.replicator->status().link == LinkState::critical; }));
    const std::size_t attempts = h.connector.attempts;
    h.clock.advance(3600 * ns_per_s);
    h.steps(100);
    EXPECT_EQ(h.connector.attempts, attempts);
    h.random_write();  // Writers do not notice.
}

// It lost a race for the machine with another server; whoever won, an agent that gave up would
// leave the machine unprotected.
TEST(Replicator, AServerThatWasFencedIsAskedAgain) {
    Harness h;
    h.server.refuse_with = Errc::fenced;
    ASSERT_TRUE(h.run_until([&] { return h.replicator->status().last_error.has_value(); }));
    EXPECT_EQ(h.replicator->status().link, LinkState::waiting);
    h.server.refuse_with.reset();
    h.clock.advance(60 * ns_per_s);
    EXPECT_TRUE(h.run_until_protected());
}

TEST(Replicator, RecoverableErrorsAreRetriedWithGrowingPauses) {
    Harness h;
    h.connector.up = false;
    h.steps(3);
    const auto attempts_after = [&](std::int64_t seconds) {
        const std::size_t before = h.connector.attempts;
        for (std::int64_t i = 0; i < seconds; ++i) {
            h.clock.advance(ns_per_s);
            h.replicator->step();
            h.replicator->step();
        }
        return h.connector.attempts - before;
    };
    EXPECT_GE(attempts_after(20), 3U);
    attempts_after(3600);
    EXPECT_LE(attempts_after(3600), 3U);  // Every 30 minutes by now.
    h.connector.up = true;
    h.clock.advance(3600 * ns_per_s);
    EXPECT_TRUE(h.run_until_protected());
}

TEST(Replicator, SleepsWhileHelloIsUnanswered) {
    Harness h;
    h.server.mute = true;
    ASSERT_TRUE(h.run_until([&] { return h.replicator->status().link == LinkState::greeting; }));
    const Nanos since = h.clock.boot();
    for (int rounds = 0; h.replicator->status().link == LinkState::greeting; ++rounds) {
        ASSERT_LT(rounds, 100);
        if (!h.replicator->step()) {
            const Nanos until = h.replicator->next_deadline();
            ASSERT_GT(until, h.clock.boot());  // The loop would not sleep at all.
            h.clock.advance(until - h.clock.boot());
        }
    }
    EXPECT_EQ(h.replicator->status().link, LinkState::waiting);
    EXPECT_GE(h.clock.boot() - since, 59 * ns_per_s);
    h.server.mute = false;
    EXPECT_TRUE(h.run_until_protected());
}

TEST(Replicator, GoodbyeComesAfterEverythingLoggedIsSpooled) {
    Harness h;
    ASSERT_TRUE(h.run_until_protected());
    h.random_write();
    h.replicator->begin_stop(false, 30 * ns_per_s);
    ASSERT_TRUE(h.run_until([&] { return h.replicator->ended(); }));
    EXPECT_TRUE(h.server.goodbye);
    EXPECT_EQ(raw(h.server.disks.at(h.id_of(0)).durable) + 1, raw(h.captures[0]->position().next));
    h.expect_no_violations();
}

TEST(Replicator, CleanRestartContinuesAndReadsNothing) {
    Harness h;
    ASSERT_TRUE(h.run_until_protected());
    h.random_write();
    h.steps(50);
    const Seq exact = h.captures[0]->position().next;
    h.kill();
    const std::size_t begins = h.server.begins.size();
    const std::uint64_t read = h.server.base_bytes;
    h.start(true, false, exact);
    h.random_write();
    ASSERT_TRUE(h.run_until_protected());
    const auto id = h.point();
    ASSERT_TRUE(h.run_until([&] { return committed(h, *id); }));
    EXPECT_EQ(h.server.begins.size(), begins + 1);  // Of its own sequences, over nothing.
    EXPECT_EQ(h.server.base_bytes, read);
    h.check_points();
    h.expect_no_violations();
}

TEST(Replicator, ARejectedDiskCostsNoMemory) {
    Harness h({.memory_slabs = 4});
    h.server.reject_all = true;
    h.steps(20);
    for (int i = 0; i < 200; ++i) {
        h.random_write();
        h.steps(1);
    }
    EXPECT_EQ(h.pool->free_count(), 4U);
    EXPECT_EQ(h.point().error().code, Errc::authz_denied);
    EXPECT_TRUE(h.outbox->empty());
}

}  // namespace
}  // namespace cw::agent::test
