#include "ingest/frame_reader.h"

#include "tests/ingest/agent_frames.h"

#include <gtest/gtest.h>

namespace cw::test {
namespace {

class FrameReaderTest : public testing::Test {
protected:
    // Feeds at most `step` bytes at a time.
    Result<void> feed(Bytes bytes, std::size_t step) {
        while (!bytes.empty()) {
            const MutableBytes target = reader.target();
            const std::size_t count = std::min({target.size(), bytes.size(), step});
            if (count == 0) {
                return fail(Errc::out_of_budget);
            }
            std::memcpy(target.data(), bytes.data(), count);
            CW_TRY(reader.filled(count));
            bytes = bytes.subspan(count);
        }
        return {};
    }

    std::unique_ptr<pipeline::SlabPool> pool = std::move(*pipeline::SlabPool::create("t", 8));
    ingest::FrameReader reader{*pool};
};

TEST_F(FrameReaderTest, FramesComeOutWholeHoweverTheirBytesArrive) {
    const ByteVector frame =
        write_frame({.session = SessionId{1}, .seq = Seq{1}}, {{0, 3 * mib, 9}, {4 * mib, 512, 8}});
    for (const std::size_t step : {std::size_t{1}, std::size_t{4095}, frame.size()}) {
        ASSERT_TRUE(feed(frame, step));
        ASSERT_TRUE(reader.complete());
        const ingest::InFrame out = reader.take();
        EXPECT_EQ(out.header.seq, Seq{1});
        const auto table = pipeline::read_extent_table(out.record.table.bytes(),
                                                       out.record.header.data_bytes, UINT64_MAX);
        ASSERT_TRUE(table);
        EXPECT_TRUE(pipeline::check_extents(out.record, *table));
        EXPECT_TRUE(reader.between_frames());
    }
}

TEST_F(FrameReaderTest, PayloadBytesLandDirectlyInTheSlabThatIsHandedOver) {
    const ByteVector frame =
        write_frame({.session = SessionId{1}, .seq = Seq{1}}, {{0, 2 * mib, 9}});
    const std::size_t data_at = wire::frame_header_bytes + 4096;
    ASSERT_TRUE(feed(Bytes(frame).first(data_at), frame.size()));
    const std::byte* const first = reader.target().data();
    EXPECT_EQ(reader.target().size(), pipeline::slab_bytes);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(first) % block_bytes, 0U);
    ASSERT_TRUE(feed(Bytes(frame).subspan(data_at, mib), frame.size()));
    const std::byte* const second = reader.target().data();
    ASSERT_TRUE(feed(Bytes(frame).subspan(data_at + mib), frame.size()));
    const ingest::InFrame out = reader.take();
    EXPECT_EQ(out.record.slabs[0].data(), first);
    EXPECT_EQ(out.record.slabs[1].data(), second);
}

TEST_F(FrameReaderTest, WithoutEnoughSlabsNoneIsTaken) {
    std::vector<pipeline::Slab> loans;
    loans.reserve(6);
    for (int i = 0; i < 6; ++i) {
        loans.push_back(pool->try_take());
    }
    const ByteVector frame =
        write_frame({.session = SessionId{1}, .seq = Seq{1}}, {{0, 3 * mib, 9}});
    ASSERT_TRUE(feed(Bytes(frame).first(wire::frame_header_bytes), frame.size()));
    EXPECT_TRUE(reader.target().empty());
    EXPECT_EQ(pool->free_count(), 2U);
    loans.pop_back();
    EXPECT_FALSE(reader.target().empty());
    EXPECT_EQ(pool->free_count(), 0U);
}

TEST_F(FrameReaderTest, H1_MalformedHeaderIsRefusedBeforeMemoryIsTaken) {
    ByteVector frame = write_frame({.session = SessionId{1}, .seq = Seq{1}}, {{0, 3 * mib, 9}});
    frame[9] ^= std::byte{0x40};
    const auto fed = feed(Bytes(frame).first(wire::frame_header_bytes), frame.size());
    ASSERT_FALSE(fed);
    EXPECT_EQ(fed.error().code, Errc::frame_malformed);
    EXPECT_EQ(pool->free_count(), 8U);
}

}  // namespace
}  // namespace cw::test
