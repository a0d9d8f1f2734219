// BaseSender: what it makes of what the server tells of a super-chunk.
#include "agent/stream/base_sender.h"

#include "base/random.h"
#include "tests/agent/memory_image.h"

#include <gtest/gtest.h>

namespace cw::agent::test {
namespace {

// One super-chunk, whose blocks the server is asked for because its summary settles nothing.
class BaseSenderLooksCloser : public testing::Test {
protected:
    BaseSenderLooksCloser() {
        make_seeded_random(3)->fill(content_);
        secret_.fill(std::byte{9});
        EXPECT_TRUE(image_.write(0, content_));
    }
    void begin(std::uint64_t blocks, Bytes at_server) {
        BlockSet set;
        set.add_range(0, blocks * map_block_bytes);
        sender_.new_session(true);
        sender_.start(Seq{7}, set, true, secret_);
        ASSERT_TRUE(std::holds_alternative<wire::SummariesRequest>(sender_.next_request().value()));
        wire::Summaries told;
        told.entries.resize(ServerDigests::window_items);
        told.entries[0] = wire::summarise(all, fingerprints(at_server), secret_);
        ASSERT_TRUE(sender_.take(told));
        EXPECT_FALSE(sender_.next().value());
        ASSERT_TRUE(std::holds_alternative<wire::HashesRequest>(sender_.next_request().value()));
    }
    std::vector<Fingerprint> fingerprints(Bytes content) const {
        std::vector<Fingerprint> out;
        for (std::size_t i = 0; i < 64; ++i) {
            out.push_back(
                fingerprint(content.subspan(i * map_block_bytes, map_block_bytes), secret_));
        }
        return out;
    }
    wire::Hashes hashes(Bytes content) const {
        return {0, std::vector<bool>(64, true), fingerprints(content)};
    }
    static constexpr std::uint64_t all = ~std::uint64_t{0};

    ByteVector content_ = ByteVector(super_bytes);
    FingerprintSecret secret_{};
    MemoryImage image_{super_bytes};
    std::unique_ptr<pipeline::SlabPool> pool_ = pipeline::SlabPool::create("base", 8).value();
    ManualClock clock_;
    BaseSender sender_{image_, *pool_, clock_};
};

// The summary is of more blocks than are in doubt.
TEST_F(BaseSenderLooksCloser, AndIsDoneWhereTheBlocksInDoubtAreEqual) {
    begin(2, content_);
    ASSERT_TRUE(sender_.take(hashes(content_)));
    EXPECT_FALSE(sender_.next().value());
    EXPECT_TRUE(sender_.finished());
    EXPECT_TRUE(sender_.held().empty());
    EXPECT_EQ(sender_.progress().sent_bytes, 0U);
    EXPECT_EQ(sender_.compared().equal_chunks, 1U);
    EXPECT_EQ(sender_.compared().equal_after_all, 1U);
}

TEST_F(BaseSenderLooksCloser, AndIsDoneWhereTheDiskWasWrittenBackMeanwhile) {
    ByteVector before = content_;
    before[5 * map_block_bytes] ^= std::byte{1};
    ASSERT_TRUE(image_.write(0, before));
    begin(64, content_);
    ASSERT_TRUE(image_.write(0, content_));
    ASSERT_TRUE(sender_.take(hashes(content_)));
    EXPECT_FALSE(sender_.next().value());
    EXPECT_TRUE(sender_.finished());
}

TEST_F(BaseSenderLooksCloser, AndSendsTheBlockThatDiffers) {
    ByteVector other = content_;
    other[1 * map_block_bytes] ^= std::byte{1};
    begin(2, other);
    ASSERT_TRUE(sender_.take(hashes(other)));
    const auto record = sender_.next().value();
    ASSERT_TRUE(record);
    EXPECT_EQ(record->header.data_bytes, map_block_bytes);
    EXPECT_EQ(sender_.compared().sent_blocks, 1U);
    EXPECT_EQ(sender_.compared().equal_chunks, 0U);
    EXPECT_FALSE(sender_.finished());
    sender_.acked(Seq{7}, {0});
    EXPECT_TRUE(sender_.finished());
}

}  // namespace
}  // namespace cw::agent::test
