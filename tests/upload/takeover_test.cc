// Two servers, one machine: whoever the agent talks to owns the chain; the other is a zombie.
#include "tests/fakes/sanitizer.h"
#include "tests/upload/rig.h"

#include <algorithm>
#include <array>

#include <gtest/gtest.h>

namespace cw::upload::test {
namespace {

EngineOptions quick() {
    EngineOptions options = quick_options();
    options.pause_max_ns = 50 * ns_per_ms;
    options.checkpoint_every = 8;
    return options;
}

// The agent turns to `server` until it is let in, and sends what is missing there.
void turn_to(Server& server, Source& source) {
    for (int attempt = 0; attempt < 200; ++attempt) {
        const auto answer = server.hello(source.machine, source.disks, Seq{1'000'000});
        if (!answer.refused) {
            for (const pipeline::DiskWelcome& welcome : answer.disks) {
                ASSERT_EQ(welcome.action, pipeline::DiskAction::continue_) << welcome.reason;
            }
            source.resend(server, answer);
            return;
        }
    }
    FAIL() << "never let in";
}

void live(std::uint64_t seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    World world(seed, 5 * ns_per_ms);
    std::array<Server, 2> servers{Server{world, quick(), 1}, Server{world, quick(), 2}};
    Source source(world, {1 * mib, 1536 * kib});
    for (Server& server : servers) {
        server.listener.strict = false;
        server.start();
    }
    std::size_t active = 0;
    ASSERT_FALSE(servers[0].hello(source.machine, source.disks).refused.has_value());
    source.sync_all(servers[0]);
    ASSERT_TRUE(servers[0].settle());
    source.keep_log = true;
    world.vault->set_rates({.unavailable = 0.01,
                            .throttled = 0.01,
                            .lost_reply = 0.02,
                            .lost_request = 0.02,
                            .late = 0.05});
    for (int round = 0; round < 60 && !testing::Test::HasFailure(); ++round) {
        const std::uint64_t what = world.random->below(14);
        if (what == 0) {
            active = 1 - active;
            turn_to(servers[active], source);
        } else if (what == 1) {
            const std::size_t victim = world.random->below(2);
            servers[victim].crash();
            servers[victim].start();
            if (victim == active) {
                turn_to(servers[active], source);
            }
        } else if (what < 6) {
            source.point(servers[active]);
        } else {
            source.write(servers[active], source.disks[world.random->below(2)]);
        }
        Server& mine = servers[active];
        if (mine.conditions->standing(Errc::fenced)) {
            turn_to(mine, source);
        }
        for (std::uint64_t i = world.random->below(30); i > 0; --i) {
            servers[world.random->below(2)].step(10 * ns_per_ms);
        }
    }
    world.vault->set_rates({});
    world.vault->land_late();
    turn_to(servers[active], source);
    source.point(servers[active]);
    // A server that had not noticed its successor yet lets the agent in, is fenced, and ends the
    // session: the agent comes again.
    Server& last = servers[active];
    std::size_t fencings = last.listener.fencings;
    ASSERT_TRUE(last.run_until([&] {
        if (last.listener.fencings > fencings) {
            fencings = last.listener.fencings;
            turn_to(last, source);
        }
        return last.cache.records.empty();
    }));
    const vault::ChainState state = read_state(world, source.machine);
    EXPECT_GT(check_points(world, source, state), 0U);
    for (const SourceDisk& disk : source.disks) {
        const auto entry = std::ranges::find(state.newest.disks, disk.id, &vault::DiskEntry::disk);
        ASSERT_NE(entry, state.newest.disks.end());
        vault::PointEntry::Cut newest;
        newest.disk = disk.id;
        newest.generation = disk.generation;
        newest.cut = Seq{raw(disk.next) - 1};
        EXPECT_EQ(entry->committed, newest.cut);
        EXPECT_TRUE(rebuild(world, state, newest, disk.content.size()) == disk.content);
    }
}

TEST(Takeover, E4EpochsNeverInterleaveAndNothingIsLost) {
    const char* const given = std::getenv("CAUSEWAY_SEED");
    if (given != nullptr) {
        live(std::stoull(given));
        return;
    }
    for (std::uint64_t seed = 500; seed < 500 + fakes::seeds(10) && !HasFailure(); ++seed) {
        live(seed);
    }
}

// docs/decisions/0008: what a fenced server's cache still holds of an older history enters nothing.
TEST(Takeover, E2AFencedServersTailIsDroppedWhenTheHistoryHasMovedOn) {
    World world(77);
    std::array<Server, 2> servers{Server{world, quick(), 1}, Server{world, quick(), 2}};
    Source source(world, {1 * mib});
    SourceDisk& disk = source.disks[0];
    for (Server& server : servers) {
        server.listener.strict = false;
        server.start();
    }
    ASSERT_FALSE(servers[0].hello(source.machine, source.disks).refused.has_value());
    source.sync_all(servers[0]);
    source.point(servers[0]);
    ASSERT_TRUE(servers[0].settle());
    for (int i = 0; i < 5; ++i) {
        source.write(servers[0], disk);  // Acknowledged there, and never committed.
    }
    source.point(servers[0]);
    // The agent has lost its state: what it sends from now on is another history.
    disk.generation = Generation{2};
    disk.next = Seq{1};
    const auto moved = servers[1].hello(source.machine, source.disks);
    ASSERT_EQ(moved.disks[0].action, pipeline::DiskAction::resync);
    ASSERT_EQ(moved.disks[0].generation, disk.generation);
    source.begin_sync(servers[1], disk);
    source.send_base(servers[1], disk);
    source.end_sync(servers[1], disk);
    source.point(servers[1]);
    source.write(servers[1], disk);
    source.point(servers[1]);
    ASSERT_TRUE(servers[1].settle());
    ASSERT_TRUE(servers[0].run_until([&] { return servers[0].listener.fencings > 0; }));
    EXPECT_FALSE(servers[0].cache.records.empty());
    EXPECT_EQ(check_points(world, source, read_state(world, source.machine)), 3U);

    const auto back = servers[0].hello(source.machine, source.disks);
    ASSERT_FALSE(back.refused.has_value());
    ASSERT_EQ(back.disks[0].action, pipeline::DiskAction::continue_) << back.disks[0].reason;
    source.write(servers[0], disk);
    source.point(servers[0]);
    ASSERT_TRUE(servers[0].run_until([&] { return servers[0].cache.records.empty(); }));
    EXPECT_EQ(check_points(world, source, read_state(world, source.machine)), 4U);
}

}  // namespace
}  // namespace cw::upload::test
