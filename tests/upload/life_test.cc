// The whole room, end to end, against a model.
#include "tests/fakes/sanitizer.h"
#include "tests/upload/rig.h"

#include <algorithm>

#include <gtest/gtest.h>

namespace cw::upload::test {
namespace {

EngineOptions quick() {
    EngineOptions options = quick_options();
    options.pause_max_ns = 50 * ns_per_ms;
    options.checkpoint_every = 8;
    return options;
}

TEST(Life, EveryPointRestoresToTheModel) {
    World world(1);
    Server server(world, quick());
    server.start();
    Source source(world, {1536 * kib, 5 * mib});
    const auto answer = server.hello(source.machine, source.disks);
    ASSERT_FALSE(answer.refused.has_value());
    ASSERT_EQ(answer.disks.size(), 2U);
    EXPECT_EQ(answer.disks[0].action, pipeline::DiskAction::initial);
    source.sync_all(server);
    std::vector<PointId> points;
    for (int round = 0; round < 12; ++round) {
        for (int i = 0; i < 5; ++i) {
            source.write(server, source.disks[world.random->below(2)]);
            server.step();
        }
        points.push_back(source.point(server));
    }
    ASSERT_TRUE(server.settle());
    const vault::ChainState state = read_state(world, source.machine);
    EXPECT_EQ(check_points(world, source, state), points.size());
    for (const PointId& id : points) {
        EXPECT_EQ(server.listener.points.at(id).state, pipeline::PointState::committed);
    }
    EXPECT_EQ(server.listener.unknown_releases, 0U);
    EXPECT_EQ(state.hash, server.listener.newest_hash);
}

// Crashes, lost replies, refusals, late requests: the chain stays right and everything is committed
// once the faults are over.
void live(std::uint64_t seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    World world(seed, 5 * ns_per_ms);
    Server server(world, quick());
    server.listener.strict = false;
    server.keep_payload = seed % 3 != 0;
    server.start();
    Source source(world, {1536 * kib, 5 * mib});
    ASSERT_FALSE(server.hello(source.machine, source.disks).refused.has_value());
    source.sync_all(server);
    const double rate = seed % 2 == 0 ? 0.1 : 0.02;
    world.vault->set_rates({.unavailable = rate,
                            .throttled = rate / 2,
                            .lost_reply = rate,
                            .lost_request = rate,
                            .late = rate / 2});
    std::vector<PointId> points;
    for (int round = 0; round < 60; ++round) {
        const std::uint64_t what = world.random->below(12);
        if (what == 0) {
            server.crash();
            server.start();
        } else if (what == 1) {
            world.vault->land_late();
        } else if (what < 5) {
            points.push_back(source.point(server));
        } else {
            source.write(server, source.disks[world.random->below(2)]);
        }
        for (std::uint64_t i = world.random->below(20); i > 0; --i) {
            server.step(10 * ns_per_ms);
        }
    }
    world.vault->set_rates({});
    points.push_back(source.point(server));
    server.crash();
    world.vault->land_late();
    server.start();
    ASSERT_TRUE(server.settle()) << server.cache.records.size() << " records left";
    const vault::ChainState state = read_state(world, source.machine);
    EXPECT_GT(check_points(world, source, state), 0U);
    const auto last = state.points.find(points.back());
    const bool same =
        server.listener.points.contains(points.back()) &&
        server.listener.points.at(points.back()).state == pipeline::PointState::same_as;
    EXPECT_TRUE(last != state.points.end() || same);
    for (const SourceDisk& disk : source.disks) {
        const auto entry = std::ranges::find(state.newest.disks, disk.id, &vault::DiskEntry::disk);
        ASSERT_NE(entry, state.newest.disks.end());
        EXPECT_EQ(raw(entry->committed) + 1, raw(disk.next));
        vault::PointEntry::Cut newest;
        newest.disk = disk.id;
        newest.generation = disk.generation;
        newest.cut = entry->committed;
        EXPECT_TRUE(rebuild(world, state, newest, disk.content.size()) == disk.content);
    }
    EXPECT_EQ(server.listener.unknown_releases, 0U);
}

// Nothing of it is entered before it was judged: the disk would have no history above it left.
TEST(Life, AFirstHelloOfAnImpossibleGenerationSpoilsNoDisk) {
    World world(7);
    Server server(world, quick());
    server.start();
    Source source(world, {1 * mib});
    source.disks[0].generation = Generation{UINT64_MAX};
    const auto refused = server.hello(source.machine, source.disks);
    ASSERT_FALSE(refused.refused.has_value());
    EXPECT_EQ(refused.disks[0].action, pipeline::DiskAction::reject);
    source.disks[0].generation = Generation{};
    const auto taken = server.hello(source.machine, source.disks);
    ASSERT_FALSE(taken.refused.has_value());
    EXPECT_EQ(taken.disks[0].action, pipeline::DiskAction::initial);
    ASSERT_EQ(taken.disks[0].generation, Generation{1});
    source.disks[0].generation = Generation{1};
    source.sync_all(server);
    source.point(server);
    ASSERT_TRUE(server.settle());
    EXPECT_EQ(check_points(world, source, read_state(world, source.machine)), 1U);
}

// The agent never comes back: what it was promised must be readable all the same.
TEST(Life, ADiskKnownFromTheCacheAloneCanBeRestored) {
    World world(3);
    Server server(world, quick());
    server.start();
    Source source(world, {1 * mib, 3 * mib});
    for (SourceDisk& disk : source.disks) {
        disk.generation = Generation{0};
    }
    const auto answer = server.hello(source.machine, source.disks);
    for (std::size_t i = 0; i < source.disks.size(); ++i) {
        source.disks[i].generation = answer.disks.at(i).generation;
    }
    source.sync_all(server);
    source.point(server);
    server.crash();  // The records are spooled; no manifest declares their disks.
    ASSERT_TRUE(read_state(world, source.machine).newest.disks.empty());
    server.start();
    ASSERT_TRUE(server.settle());
    const vault::ChainState state = read_state(world, source.machine);
    ASSERT_EQ(state.newest.disks.size(), 2U);
    for (const SourceDisk& disk : source.disks) {
        const auto entry = std::ranges::find(state.newest.disks, disk.id, &vault::DiskEntry::disk);
        ASSERT_NE(entry, state.newest.disks.end());
        EXPECT_EQ(entry->size_bytes, disk.content.size());
    }
    EXPECT_EQ(check_points(world, source, state), 1U);
}

// A cache of an older version knows no sizes: a disk made from it gets its own with the agent's
// next HELLO.
TEST(Life, ADiskMadeFromAnOlderCacheGetsItsSizeFromItsAgent) {
    World world(3);
    Server server(world, quick());
    server.start();
    Source source(world, {1 * mib});
    source.tells_size = false;
    SourceDisk& disk = source.disks[0];
    disk.generation = Generation{0};
    disk.generation = server.hello(source.machine, source.disks).disks.at(0).generation;
    source.begin_sync(server, disk);
    source.send_base(server, disk);
    server.crash();  // The records are spooled; no manifest declares their disk.
    ASSERT_TRUE(read_state(world, source.machine).newest.disks.empty());
    server.start();
    ASSERT_TRUE(server.settle());
    const vault::ChainState recovered = read_state(world, source.machine);
    ASSERT_EQ(recovered.newest.disks.size(), 1U);
    ASSERT_EQ(recovered.newest.disks[0].size_bytes, 0U);

    // The agent holds the fence's end, which the server has not seen: the history goes on.
    std::vector<SourceDisk> told = source.disks;
    told[0].next = next(disk.next);
    const auto answer = server.hello(source.machine, told, Seq{1});
    ASSERT_EQ(answer.disks.at(0).action, pipeline::DiskAction::continue_) << answer.disks[0].reason;
    source.end_sync(server, disk);
    source.point(server);
    ASSERT_TRUE(server.settle());
    const vault::ChainState state = read_state(world, source.machine);
    EXPECT_EQ(state.newest.disks[0].size_bytes, disk.content.size());
    EXPECT_EQ(state.points.begin()->second.cuts.at(0).size_bytes, disk.content.size());
    EXPECT_EQ(check_points(world, source, state), 1U);
}

TEST(Life, SurvivesCrashesAndAmbiguousAnswers) {
    const char* const given = std::getenv("CAUSEWAY_SEED");
    if (given != nullptr) {
        live(std::stoull(given));
        return;
    }
    for (std::uint64_t seed = 100; seed < 100 + fakes::seeds(20) && !HasFailure(); ++seed) {
        live(seed);
    }
}

}  // namespace
}  // namespace cw::upload::test
