// Servers that are not alone: one that slept while another took over, and two that are the same.
#include "egress/vault/segment.h"
#include "tests/upload/publish_fixture.h"

#include <set>

namespace cw::upload::test {
namespace {

constexpr std::size_t manifest_salt_offset = 104, salt_bytes = 32;  // FORMAT.md

// A host that disagrees with all others about the time of day.
class WrongWall final : public Clock {
public:
    WrongWall(Clock& right, std::int64_t shift_us) : right_(right), shift_us_(shift_us) {}
    Nanos boot() override { return right_.boot(); }
    WallMicros wall() override { return WallMicros{raw(right_.wall()) + shift_us_}; }

private:
    Clock& right_;
    std::int64_t shift_us_;
};

// There is no lease that could have run out: whoever wakes meets the chain as it is now.
TEST_F(Publish, A6_WhoSleptThroughATakeoverIsFencedWhenItWakesAndWritesNothing) {
    protect();
    source.write(server, source.disks[0]);
    const PointId lost = source.point(server);
    for (int i = 0; i < 3; ++i) {  // In the midst of it.
        server.step();
    }
    Server other(world, publish_options(), 2);
    other.start();
    ASSERT_FALSE(other.hello(source.machine, source.disks, Seq{10}, true).refused.has_value());
    ASSERT_EQ(chain().newest.epoch, Epoch{2});
    const vault::ChainState moved = chain();
    world.clock.advance(3600 * ns_per_s);
    ASSERT_TRUE(server.run_until([this] { return server.conditions->standing(Errc::fenced); }));
    for (int i = 0; i < 500; ++i) {
        server.step(ns_per_s);
    }
    EXPECT_TRUE(server.conditions->standing(Errc::fenced));
    EXPECT_EQ(chain().hash, moved.hash);
    EXPECT_FALSE(chain().points.contains(lost));
    EXPECT_FALSE(server.cache.records.empty());  // Kept, for whoever wants to look.
    // It is the machine's server again once its agent is here.
    ASSERT_FALSE(server.hello(source.machine, source.disks).refused.has_value());
    EXPECT_FALSE(server.conditions->standing(Errc::fenced));
}

// The agent goes on sending: what is acknowledged is kept, and it is said that nothing is
// committed.
TEST_F(Publish, E2_CutOffFromTheVaultAloneAServerKeepsWhatComesAndSaysSo) {
    protect();
    world.vault->set_rates({.unavailable = 1.0});
    std::vector<PointId> points;
    for (int i = 0; i < 5; ++i) {
        source.write(server, source.disks[0]);
        points.push_back(source.point(server));
        for (int k = 0; k < 20; ++k) {
            server.step();
        }
    }
    ASSERT_TRUE(
        server.run_until([this] { return server.conditions->standing(Errc::blob_unavailable); }));
    EXPECT_GE(server.cache.records.size(), 10U);  // Five writes and five points.
    for (const PointId& point : points) {
        const auto told = server.listener.points.find(point);
        EXPECT_TRUE(told == server.listener.points.end() ||
                    told->second.state != PointState::committed);
    }
    EXPECT_FALSE(server.conditions->standing(Errc::fenced));
    world.vault->set_rates({});
    ASSERT_TRUE(server.settle());
    EXPECT_FALSE(server.conditions->standing(Errc::blob_unavailable));
    EXPECT_EQ(state_of(points.back()), PointState::committed);
    EXPECT_EQ(check_points(world, source, chain()), 6U);
}

// What was acknowledged and not committed is with the agent, which frees nothing before.
TEST_F(Publish, E6_ACacheThatIsLostForGoodCostsNothingThatTheAgentStillHolds) {
    source.keep_log = true;
    protect();
    source.write(server, source.disks[0]);
    const PointId stored = source.point(server);
    ASSERT_TRUE(server.settle());
    world.vault->set_rates({.unavailable = 1.0});
    const Seq committed = source.disks[0].next;
    source.write(server, source.disks[0]);
    source.write(server, source.disks[0]);
    const PointId held = source.point(server);
    for (int i = 0; i < 50; ++i) {
        server.step();
    }
    server.crash();
    server.cache.records.clear();
    world.vault->set_rates({});
    ASSERT_TRUE(chain().points.contains(stored));
    ASSERT_FALSE(chain().points.contains(held));
    Server other(world, publish_options(), 2);
    other.start();
    const Seq not_committed{raw(source.disks[0].next) - raw(committed)};
    const auto answer = other.hello(source.machine, source.disks, not_committed);
    ASSERT_FALSE(answer.refused.has_value());
    EXPECT_EQ(answer.disks[0].action, pipeline::DiskAction::continue_) << answer.disks[0].reason;
    other.listener.strict = false;  // Points that the first one published come again.
    source.resend(other, answer);
    ASSERT_TRUE(other.settle());
    EXPECT_TRUE(chain().points.contains(held));
    EXPECT_EQ(check_points(world, source, chain()), 3U);
}

// The same identity, the same cache, the same memory of the chain.
TEST_F(Publish, A7_OfAServerAndItsCloneOneIsFencedAndNoKeyIsUsedTwice) {
    protect();
    source.write(server, source.disks[0]);
    const PointId point = source.point(server);
    for (int i = 0; i < 3; ++i) {
        server.step();
    }
    server.crash();
    Server clone(world, publish_options(), 1);
    clone.cache = server.cache;
    clone.listener.committed_seq = server.listener.committed_seq;
    server.start();
    clone.start();
    const auto fenced = [&] {
        return int{server.conditions->standing(Errc::fenced)} +
               int{clone.conditions->standing(Errc::fenced)};
    };
    for (int i = 0; i < 20'000 && fenced() == 0; ++i) {
        server.step();
        clone.step();
    }
    ASSERT_EQ(fenced(), 1);
    const bool clone_lost = clone.conditions->standing(Errc::fenced);
    Server& winner = clone_lost ? server : clone;
    Server& loser = clone_lost ? clone : server;
    ASSERT_TRUE(winner.settle());
    const vault::ChainState after = chain();
    EXPECT_TRUE(after.points.contains(point));
    EXPECT_EQ(check_points(world, source, after), 2U);
    for (int i = 0; i < 500; ++i) {
        loser.step(ns_per_s);
    }
    EXPECT_EQ(chain().hash, after.hash);
    EXPECT_FALSE(loser.cache.records.empty());
    // What a key follows from: a segment's header commits to its own, a manifest has a salt.
    std::set<ByteVector> keys;
    std::size_t objects = 0;
    for (const blob::BlobName& name : world.vault->names()) {
        const ByteVector bytes = *world.vault->bytes(name);
        const bool data = name.container == blob::Container::data;
        if (data || name.container == blob::Container::manifest) {
            const Bytes key = data ? Bytes(bytes).first(vault::segment_header_bytes)
                                   : Bytes(bytes).subspan(manifest_salt_offset, salt_bytes);
            keys.emplace(key.begin(), key.end());
            ++objects;
        }
    }
    EXPECT_EQ(keys.size(), objects);
    EXPECT_GT(objects, 4U);
    // A person has seen to it, and says so to the one that was fenced.
    loser.listener.strict = false;
    loser.engine->post(DiscardQuarantineCommand{source.machine});
    EXPECT_TRUE(loser.settle());
    EXPECT_EQ(fenced(), 0);
}

// Epochs and numbers decide, and nobody's clock: a machine goes there and back, and is whole.
TEST(Takeover, E7_TakeoversAreDecidedAlikeWhateverTheServersClocksSay) {
    constexpr std::int64_t us_per_hour = 3'600'000'000;
    for (const std::int64_t hours : {5, -5, 87'600, -87'600}) {
        SCOPED_TRACE("a clock that is " + std::to_string(hours) + " hours wrong");
        World world(7);
        WrongWall wrong(world.clock, hours * us_per_hour);
        Server right(world, publish_options(), 1), other(world, publish_options(), 2);
        other.engine_clock = &wrong;
        right.options.ownership_check_ns = 2 * ns_per_s;
        Source source(world, {1 * mib});
        right.start();
        other.start();
        ASSERT_FALSE(right.hello(source.machine, source.disks).refused.has_value());
        source.sync_all(right);
        source.point(right);
        ASSERT_TRUE(right.settle());
        std::uint64_t epoch = 1;
        for (Server* const server : {&other, &right, &other}) {
            const vault::ChainState before = read_state(world, source.machine);
            server->listener.newest_number = before.newest.number;
            server->listener.newest_hash = before.hash;
            const auto answer = server->hello(source.machine, source.disks);
            ASSERT_FALSE(answer.refused.has_value()) << answer.refused->detail;
            EXPECT_EQ(answer.disks[0].action, pipeline::DiskAction::continue_);
            source.write(*server, source.disks[0]);
            const PointId point = source.point(*server);
            server->listener.strict = false;
            ASSERT_TRUE(server->settle());
            const vault::ChainState after = read_state(world, source.machine);
            EXPECT_TRUE(after.points.contains(point));
            EXPECT_EQ(after.newest.epoch, Epoch{++epoch});
        }
        EXPECT_EQ(check_points(world, source, read_state(world, source.machine)), 4U);
        ASSERT_TRUE(right.run_until([&] { return right.conditions->standing(Errc::fenced); }));
        EXPECT_FALSE(other.conditions->standing(Errc::fenced));
    }
}

}  // namespace
}  // namespace cw::upload::test
