// What a server lost of the BASE it had acknowledged: a fence must not end over the hole.
#include "tests/agent/harness.h"

namespace cw::agent::test {
namespace {

class FenceEnd : public testing::Test {
protected:
    void SetUp() override {
        ByteVector noise(mib);
        for (std::uint64_t at = 0; at < h.options.disk_bytes; at += mib) {
            h.random->fill(noise);
            ASSERT_TRUE(h.captures[0]->write(at, noise));
        }
        h.server.auto_commit = false;
    }
    // As rot in the cache, or another server that takes over from what is committed.
    void lose_base(std::uint32_t first, std::uint32_t last) {
        auto& kept = h.server.disks.at(h.id_of(0));
        for (std::uint32_t ordinal = first; ordinal <= last; ++ordinal) {
            kept.ordinals.erase(ordinal);
        }
        std::erase_if(kept.pieces, [&](const ModelDisk::Piece& piece) {
            return piece.base && piece.ordinal >= first && piece.ordinal <= last;
        });
    }
    void expect_whole_points() {
        h.server.auto_sync = h.server.auto_commit = true;
        ASSERT_TRUE(h.run_until_protected());
        const auto id = h.point();
        ASSERT_TRUE(h.run_until([&] {
            const auto* point = h.replicator->points().find(*id);
            return point != nullptr && point->phase == PointPhase::committed;
        }));
        EXPECT_GE(h.check_points(), 1U);
        h.expect_no_violations();
    }
    void reconnect() {
        h.server.crash();
        ASSERT_TRUE(h.run_until([&] { return !h.server.closed; }));
    }

    Harness h{{.disk_bytes = 32 * mib}};
};

TEST_F(FenceEnd, G5BaseThatTheServerLostIsSentAgainBeneathTheOpenFence) {
    ASSERT_TRUE(h.run_until([&] { return h.server.base_bytes >= 12 * mib; }));
    lose_base(0, 0);
    reconnect();
    expect_whole_points();
    EXPECT_EQ(h.server.begins.size(), 1U);  // The same fence goes on.
}

TEST_F(FenceEnd, G5ATakeoverThatHoldsNoneOfTheBaseIsSentAllOfIt) {
    ASSERT_TRUE(h.run_until([&] { return h.server.base_bytes >= 12 * mib; }));
    lose_base(0, 7);
    reconnect();
    expect_whole_points();
    EXPECT_EQ(h.server.begins.size(), 1U);
}

TEST_F(FenceEnd, G5AnEndIsNotSentAgainToAServerThatLostWhatLayBeneath) {
    h.server.auto_sync = false;
    ASSERT_TRUE(h.run_until([&] {
        if (h.captures[0]->fence_open()) {
            h.server.sync();
            return false;
        }
        return h.server.sessions > 0 && h.captures[0]->position().fences > 0;
    }));
    lose_base(3, 3);
    reconnect();
    EXPECT_TRUE(h.run_until([&] {
        const auto error = h.replicator->status().last_error;
        return error && error->code == Errc::resync_required;
    }));
    expect_whole_points();
    EXPECT_EQ(h.server.begins.back(), wire::ResyncKind::catch_up);
}

TEST_F(FenceEnd, AnEndThatArrivesAgainOverAWholeBaseNeedsNoNewFence) {
    h.server.auto_sync = false;
    ASSERT_TRUE(h.run_until([&] {
        if (h.captures[0]->fence_open()) {
            h.server.sync();
            return false;
        }
        return h.server.sessions > 0 && h.captures[0]->position().fences > 0;
    }));
    reconnect();
    expect_whole_points();
    EXPECT_EQ(h.server.begins.size(), 1U);
}

TEST_F(FenceEnd, AnEndThatIsRefusedForItsBaseBeginsANewFence) {
    ASSERT_TRUE(h.run_until([&] { return h.server.base_bytes >= 12 * mib; }));
    lose_base(0, 0);  // And nobody is told of it.
    const std::uint64_t sessions = h.server.sessions;
    ASSERT_TRUE(h.run_until([&] { return h.server.sessions > sessions; }));
    expect_whole_points();
    EXPECT_EQ(h.server.begins.back(), wire::ResyncKind::catch_up);
    EXPECT_EQ(h.server.ends_refused, 1U);
}

}  // namespace
}  // namespace cw::agent::test
