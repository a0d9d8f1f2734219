// Digests of two levels: what is asked for, what is believed, and how little it takes.
#include "agent/stream/server_digests.h"

#include "tests/agent/harness.h"

namespace cw::agent::test {
namespace {

// --- by itself ---

class Digests : public testing::Test {
protected:
    Digests() {
        random_->fill(chunk_);
        secret_.fill(std::byte{9});
        digests_.new_session(true);
        digests_.begin(secret_);
    }
    // Of what the server holds: `content`, of which only `known` blocks have digests.
    wire::Summaries summaries(std::uint64_t known, Bytes content) {
        wire::Summaries out;
        out.entries.resize(ServerDigests::window_items);
        out.entries[5] = wire::summarise(known, fingerprints(known, content), secret_);
        return out;
    }
    std::vector<Fingerprint> fingerprints(std::uint64_t known, Bytes content) {
        std::vector<Fingerprint> out;
        for (std::size_t i = 0; i < 64; ++i) {
            if ((known >> i & 1) != 0) {
                out.push_back(
                    fingerprint(content.subspan(i * map_block_bytes, map_block_bytes), secret_));
            }
        }
        return out;
    }
    void ask_window() {
        const std::uint32_t first = 0;
        const auto request = digests_.next_request(std::span(&first, 1));
        ASSERT_TRUE(request);
        ASSERT_TRUE(std::holds_alternative<wire::SummariesRequest>(*request));
        EXPECT_FALSE(digests_.next_request(std::span(&first, 1)));  // Once.
    }
    static constexpr std::uint64_t all = ~std::uint64_t{0};

    std::unique_ptr<Random> random_ = make_seeded_random(3);
    ByteVector chunk_ = ByteVector(super_bytes);
    FingerprintSecret secret_{};
    ServerDigests digests_;
};

TEST_F(Digests, AnEqualSummaryNeedsNoMore) {
    ask_window();
    ASSERT_TRUE(digests_.take(summaries(all, chunk_)));
    ASSERT_TRUE(digests_.has(0));
    EXPECT_EQ(digests_.differing(5, all, chunk_), 0U);
    EXPECT_FALSE(digests_.next_request({}));
}

TEST_F(Digests, WhatIsUnknownDiffersEvenWhereTheRestIsEqual) {
    ask_window();
    ASSERT_TRUE(digests_.take(summaries(all & ~std::uint64_t{0b101}, chunk_)));
    EXPECT_EQ(digests_.differing(5, all, chunk_), 0b101U);
    EXPECT_EQ(digests_.differing(6, all, chunk_), all);  // Nothing is known of it.
}

TEST_F(Digests, ADifferentSummaryAsksForItsBlocksOnly) {
    ask_window();
    ByteVector other = chunk_;
    other[7 * map_block_bytes] ^= std::byte{1};
    ASSERT_TRUE(digests_.take(summaries(all, other)));
    EXPECT_EQ(digests_.differing(5, all, chunk_), std::nullopt);
    const auto request = digests_.next_request({});
    ASSERT_TRUE(request);
    const auto& blocks = std::get<wire::HashesRequest>(*request);
    EXPECT_EQ(blocks.first_block, 5U * 64);
    EXPECT_EQ(blocks.count, 64U);
    EXPECT_FALSE(digests_.ready());
    ASSERT_TRUE(
        digests_.take(wire::Hashes{5 * 64, std::vector<bool>(64, true), fingerprints(all, other)}));
    ASSERT_EQ(digests_.ready(), 5U);
    EXPECT_EQ(digests_.differing(5, all, chunk_), std::uint64_t{1} << 7);
    digests_.done(5);
    EXPECT_FALSE(digests_.ready());
}

// The summary is of more than what is to be looked at, or of what the disk has not: no equality.
TEST_F(Digests, ASummaryOfMoreThanIsReadIsNotBelieved) {
    ask_window();
    ASSERT_TRUE(digests_.take(summaries(all, chunk_)));
    EXPECT_EQ(digests_.differing(5, 0b11, chunk_), std::nullopt);
}
TEST_F(Digests, ASummaryBeyondTheEndOfTheDiskIsNotBelieved) {
    ask_window();
    ASSERT_TRUE(digests_.take(summaries(all, chunk_)));
    EXPECT_EQ(digests_.differing(5, all, Bytes(chunk_).first(super_bytes - 512)), std::nullopt);
}

TEST_F(Digests, ThatNobodyAskedForAreRefused) {
    EXPECT_FALSE(digests_.take(summaries(all, chunk_)));
    ask_window();
    EXPECT_FALSE(
        digests_.take(wire::Hashes{0, std::vector<bool>(64, false), {}}));  // Of the lower level.
    ASSERT_TRUE(digests_.take(summaries(all, chunk_)));
    EXPECT_FALSE(digests_.take(summaries(all, chunk_)));  // Twice.
}

// An answer to a question of a fence that was given up is of another moment.
TEST_F(Digests, OfAFenceThatWasGivenUpAreNotBelieved) {
    ask_window();
    digests_.begin(secret_);
    const std::uint32_t first = 0;
    EXPECT_FALSE(digests_.next_request(std::span(&first, 1)));  // Not before that one is out.
    ASSERT_TRUE(digests_.take(summaries(all, chunk_)));
    EXPECT_FALSE(digests_.has(0));
    ask_window();
    ASSERT_TRUE(digests_.take(summaries(all, chunk_)));
    EXPECT_TRUE(digests_.has(0));
}

TEST_F(Digests, FewSuperChunksAreLookedIntoAtATime) {
    ask_window();
    wire::Summaries told;
    told.entries.resize(ServerDigests::window_items);
    for (auto& entry : told.entries) {
        entry = {.known = all, .digest = {}};
        entry.digest.fill(std::byte{1});
    }
    ASSERT_TRUE(digests_.take(told));
    std::uint32_t ordinal = 0;
    for (; digests_.has(0); ++ordinal) {
        EXPECT_EQ(digests_.differing(ordinal, all, chunk_), std::nullopt);
    }
    EXPECT_EQ(ordinal, ServerDigests::details_max);
}

// --- with an agent around them ---

class TwoLevels : public testing::TestWithParam<bool> {
protected:
    TwoLevels() {
        h.server.know_hashes = true;
        h.server.features = GetParam() ? wire::feature_summaries : 0;
        h.server.secret.fill(std::byte{5});
    }
    void synchronise() {
        ByteVector noise(mib);
        for (std::uint64_t at = 0; at < h.options.disk_bytes; at += mib) {
            h.random->fill(noise);
            ASSERT_TRUE(h.images[0]->write(at, noise));
        }
        ASSERT_TRUE(h.run_until_protected());
        h.kill();
        h.server.base_bytes = h.server.digest_bytes = 0;
    }
    // A history that cannot be proven any more.
    void compare_again() {
        h.start(false, true);
        ASSERT_TRUE(h.run_until_protected());
        EXPECT_EQ(h.server.begins.back(), wire::ResyncKind::resync);
    }
    void expect_whole_point() {
        const auto id = h.point();
        ASSERT_TRUE(id);
        ASSERT_TRUE(h.run_until([&] {
            const auto* point = h.replicator->points().find(*id);
            return point != nullptr && point->phase == PointPhase::committed;
        }));
        EXPECT_GE(h.check_points(), 1U);
        h.expect_no_violations();
    }
    void change(std::uint64_t offset) {
        ASSERT_TRUE(h.images[0]->write(offset, ByteVector(512, std::byte{0x77})));
    }

    Harness h{{.disk_bytes = 64 * mib}};
};

TEST_P(TwoLevels, OnlyTheBlocksThatDifferAreSent) {
    synchronise();
    change(0);
    change(9 * mib);
    change(63 * mib + 512);
    compare_again();
    EXPECT_EQ(h.server.base_bytes, 3 * map_block_bytes);
    if (GetParam()) {
        EXPECT_EQ(h.server.summaries_sent, 1U);
        EXPECT_EQ(h.server.hashes_sent, 3U);
        EXPECT_LT(h.server.digest_bytes, 6000U);
    } else {
        EXPECT_EQ(h.server.summaries_sent, 0U);
        EXPECT_GT(h.server.digest_bytes, 16384U);
    }
    expect_whole_point();
}

TEST_P(TwoLevels, UnknownBlocksAreSent) {
    synchronise();
    h.server.unknown_blocks = {3, 64, 1023};
    compare_again();
    EXPECT_EQ(h.server.base_bytes, 3 * map_block_bytes);
    EXPECT_LE(h.server.hashes_sent, GetParam() ? 0U : 1U);
    expect_whole_point();
}

TEST_P(TwoLevels, AConnectionThatIsCutInBetweenCostsNothingTwice) {
    synchronise();
    for (std::uint64_t at = 0; at < 64 * mib; at += 8 * mib) {
        change(at);
    }
    h.start(false, true);
    ASSERT_TRUE(h.run_until([&] { return h.server.base_bytes >= 3 * map_block_bytes; }));
    h.server.crash();
    ASSERT_TRUE(h.run_until_protected());
    EXPECT_LE(h.server.base_bytes, 9 * map_block_bytes);  // One was perhaps on its way.
    expect_whole_point();
}

TEST_P(TwoLevels, WritesDuringTheComparisonAreNotLost) {
    synchronise();
    change(20 * mib);
    h.start(false, true);
    for (int i = 0; i < 300; ++i) {
        h.random_write();
        h.steps(2);
    }
    ASSERT_TRUE(h.run_until_protected());
    expect_whole_point();
}

// An agent that was killed in a resync has a map in which everything is dirty.
TEST_P(TwoLevels, AKilledAgentComparesWhatIsLeftInsteadOfSendingIt) {
    synchronise();
    change(40 * mib);
    h.compare_bytes_min = 0;
    h.start(true, true);
    ASSERT_TRUE(h.run_until_protected());
    EXPECT_EQ(h.server.begins.back(), wire::ResyncKind::catch_up);
    EXPECT_EQ(h.server.base_bytes, map_block_bytes);
    expect_whole_point();
}

TEST_P(TwoLevels, ASmallDiskIsSentSoonerThanCompared) {
    synchronise();
    h.start(true, true);
    ASSERT_TRUE(h.run_until_protected());
    EXPECT_EQ(h.server.base_bytes, h.options.disk_bytes);
    EXPECT_EQ(h.server.digest_bytes, 0U);
    expect_whole_point();
}

INSTANTIATE_TEST_SUITE_P(Servers, TwoLevels, testing::Bool(), [](const auto& which) {
    return which.param ? "OfTwoLevels" : "OfOneLevel";
});

}  // namespace
}  // namespace cw::agent::test
