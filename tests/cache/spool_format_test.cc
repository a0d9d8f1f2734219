// The bytes of format version 1. A change here is a change of the format: it needs a new version
// and a reader for the old one.
#include "cache/spool_format.h"

#include "base/checksum.h"
#include "base/crypto.h"

#include <gtest/gtest.h>

namespace cw::cache {
namespace {

StreamKey golden_key() {
    StreamKey key;
    key.machine.bytes.fill(std::byte{0x11});
    key.disk.bytes.fill(std::byte{0x22});
    key.generation = Generation{3};
    return key;
}

SpoolId golden_id() {
    SpoolId id;
    id.bytes.fill(std::byte{0xab});
    return id;
}

BatchHeader golden_batch() {
    BatchHeader header{.spool = golden_id(),
                       .offset = 0x4000000,
                       .epoch = 9,
                       .number = 77,
                       .durable_through = 75,
                       .moved_before = 5,
                       .records = {}};
    BatchRecord write{.lsn = Lsn{1000}, .moved = false, .header = {}};
    write.header.key = golden_key();
    write.header.type = RecordType::write;
    write.header.session = SessionId{4};
    write.header.seq = Seq{500};
    write.header.seq_count = 3;
    write.header.table_bytes = 4096;
    write.header.data_bytes = 12288;
    write.header.table_crc = 0xdeadbeef;
    BatchRecord base = write;
    base.lsn = Lsn{5};
    base.moved = true;
    base.header.type = RecordType::base;
    base.header.seq_count = 0;
    base.header.ordinal = 6;
    header.records = {write, base};
    return header;
}

Checkpoint golden_checkpoint() {
    Checkpoint checkpoint{.spool = golden_id(),
                          .generation = 12,
                          .durable_through = 76,
                          .next_batch = 78,
                          .epoch = 9,
                          .next_lsn = Lsn{1001},
                          .released_below = Lsn{5},
                          .regions = std::vector<RegionEntry>(4),
                          .streams = {}};
    checkpoint.regions[1] = {
        .state = RegionState::sealed, .epoch = 8, .first_batch = 60, .end_batch = 70};
    checkpoint.regions[2] = {
        .state = RegionState::open, .epoch = 9, .first_batch = 70, .end_batch = 0};
    StreamView view;
    view.seq = Seq{502};
    view.fence = Seq{400};
    view.fence_open = true;
    view.ordinals.insert_range(0, 6);
    view.ordinals.insert(9);
    view.beyond = {{Seq{510}, Seq{520}}};
    checkpoint.streams[golden_key()] = view;
    return checkpoint;
}

TEST(SpoolFormat, SuperblockIsAsWrittenByVersionOne) {
    const Superblock super{.id = golden_id(), .size_bytes = gib, .region_bytes = 64 * mib};
    ByteVector block(block_bytes);
    encode_superblock(super, block);
    EXPECT_EQ(to_hex(Bytes(block).first(48)),
              "4357533101000000c791d78b00000000abababababababababababababababab"
              "00000040000000000000000400000000");
    EXPECT_EQ(decode_superblock(block).value(), super);
}

TEST(SpoolFormat, BatchHeaderIsAsWrittenByVersionOne) {
    ByteVector bytes(golden_batch().header_bytes());
    encode_batch_header(golden_batch(), bytes);
    EXPECT_EQ(to_hex(Bytes(bytes).first(16)), "43574231010002004b0d175e00100000");
    EXPECT_EQ(to_hex(sha256(bytes)),
              "c3b316a89ff79d8831c0ba9ab29212d79b95a0cef8412e350610494ce6e7088d");
    const auto back = decode_batch_header(bytes).value();
    EXPECT_EQ(back.number, 77U);
    ASSERT_EQ(back.records.size(), 2U);
    EXPECT_TRUE(back.records[1].moved);
    EXPECT_EQ(back.records[1].header.ordinal, 6U);
    EXPECT_EQ(back.total_bytes(), 4096U + 2 * (4096 + 12288));
}

TEST(SpoolFormat, CheckpointIsAsWrittenByVersionOne) {
    const ByteVector bytes = encode_checkpoint(golden_checkpoint(), 64 * kib);
    ASSERT_EQ(bytes.size(), block_bytes);
    EXPECT_EQ(to_hex(sha256(bytes)),
              "37144a051d4937e27f1ac92f9126d66b16d033d4bfd178c02d34aa04dfbde768");
    const auto back = decode_checkpoint(bytes).value();
    EXPECT_EQ(back.regions, golden_checkpoint().regions);
    EXPECT_EQ(back.streams, golden_checkpoint().streams);
    EXPECT_EQ(back.next_lsn, Lsn{1001});
}

// One bit that rots must not stop the server for ever: there is another copy.
TEST(SpoolFormat, ACheckpointWhoseVersionRottedIsDamagedAndNotOfAnotherVersion) {
    ByteVector bytes = encode_checkpoint(golden_checkpoint(), 64 * kib);
    bytes[5] ^= std::byte{0x20};
    EXPECT_EQ(decode_checkpoint(bytes).error().code, Errc::record_corrupt);
}

TEST(SpoolFormat, EveryFlippedBitOfAHeaderIsNoticed) {
    ByteVector bytes(golden_batch().header_bytes());
    encode_batch_header(golden_batch(), bytes);
    for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
        bytes[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
        ASSERT_FALSE(decode_batch_header(bytes)) << bit;
        bytes[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
    }
}

TEST(SpoolFormat, G8_NewerVersionsAreRefusedAsSuch) {
    ByteVector bytes(golden_batch().header_bytes());
    encode_batch_header(golden_batch(), bytes);
    bytes[4] = std::byte{2};
    EXPECT_EQ(decode_batch_header(bytes).error().code, Errc::format_unsupported);
}

TEST(SpoolFormat, ACheckpointRemembersLossesAndReadersOfOlderOnesSeeNone) {
    Checkpoint checkpoint = golden_checkpoint();
    EXPECT_TRUE(decode_checkpoint(encode_checkpoint(checkpoint, 64 * kib)).value().losses.empty());
    checkpoint.losses = {{StreamKey{}, Seq{}}, {golden_key(), Seq{520}}};
    const auto back = decode_checkpoint(encode_checkpoint(checkpoint, 64 * kib)).value();
    EXPECT_EQ(back.losses, checkpoint.losses);
    EXPECT_EQ(back.streams, checkpoint.streams);
}

// Readers of a version that has no losses take what is behind the streams for padding.
TEST(SpoolFormat, LossesLieBehindTheStreamsAndAreCountedInWhatWasZero) {
    Checkpoint checkpoint = golden_checkpoint();
    const ByteVector before = encode_checkpoint(checkpoint, 64 * kib);
    checkpoint.losses = {{golden_key(), Seq{520}}};
    const ByteVector with = encode_checkpoint(checkpoint, 64 * kib);
    ASSERT_EQ(with.size(), before.size());
    ByteVector expected = before;
    expected[88] = std::byte{1};
    constexpr std::size_t at = 96 + 4 * 32 + 72 + 16 + 2 * 8;  // Behind the only stream.
    ByteVector loss;
    ByteAppender w(loss);
    w.bytes(golden_key().machine.bytes);
    w.bytes(golden_key().disk.bytes);
    w.u64(3);
    w.u64(520);
    std::ranges::copy(loss, expected.begin() + at);
    std::ranges::copy(Bytes(with).subspan(8, 4), expected.begin() + 8);  // The CRC.
    EXPECT_EQ(with, expected);
}

TEST(SpoolFormat, LossesThatDoNotFitBecomeOneOfWhichItIsNotKnownWhoseItWas) {
    Checkpoint checkpoint = golden_checkpoint();
    for (std::uint64_t i = 1; i <= 85; ++i) {
        StreamKey key = golden_key();
        key.generation = Generation{i};
        checkpoint.losses[key] = Seq{i};
    }
    const ByteVector bytes = encode_checkpoint(checkpoint, block_bytes);
    ASSERT_EQ(bytes.size(), block_bytes);
    const auto back = decode_checkpoint(bytes).value();
    EXPECT_EQ(back.losses, (Losses{{StreamKey{}, Seq{}}}));
    EXPECT_EQ(back.streams, checkpoint.streams);
    EXPECT_EQ(decode_checkpoint(encode_checkpoint(checkpoint, 64 * kib)).value().losses,
              checkpoint.losses);
    // Not even that one: the spool fails rather than forget.
    const std::size_t streams_max = (block_bytes - 96 - 4 * 32) / 72;
    checkpoint.streams.clear();
    for (std::uint64_t i = 1; i <= streams_max; ++i) {
        StreamKey key = golden_key();
        key.generation = Generation{i};
        checkpoint.streams[key] = {};
    }
    checkpoint.streams.begin()->second.beyond = {{Seq{7}, Seq{8}}};
    EXPECT_TRUE(encode_checkpoint(checkpoint, block_bytes).empty());
    checkpoint.losses.clear();
    EXPECT_FALSE(encode_checkpoint(checkpoint, block_bytes).empty());
}

TEST(SpoolFormat, MoreLossesThanThereAreBytesAreRefused) {
    Checkpoint checkpoint = golden_checkpoint();
    checkpoint.losses = {{golden_key(), Seq{520}}};
    const ByteVector whole = encode_checkpoint(checkpoint, 64 * kib);
    for (const std::uint32_t count : {3U, 90U, 0xffffffffU}) {  // 3: two empty ones are the same.
        ByteVector bytes = whole;
        ByteWriter(MutableBytes(bytes).subspan(88, 4)).u32(count);
        const std::uint32_t crc = crc32c(Bytes(bytes).subspan(12), crc32c(Bytes(bytes).first(8)));
        ByteWriter(MutableBytes(bytes).subspan(8, 4)).u32(crc);
        const auto back = decode_checkpoint(bytes);
        ASSERT_FALSE(back.has_value()) << count;
        EXPECT_EQ(back.error().code, Errc::record_corrupt);
    }
}

TEST(SpoolFormat, ACheckpointThatDoesNotFitLeavesSuperChunksOut) {
    Checkpoint checkpoint = golden_checkpoint();
    StreamView& view = checkpoint.streams.begin()->second;
    for (std::uint32_t i = 0; i < 2000; ++i) {
        view.ordinals.insert(100 + 2 * i);
    }
    const ByteVector bytes = encode_checkpoint(checkpoint, block_bytes);
    ASSERT_EQ(bytes.size(), block_bytes);
    const auto back = decode_checkpoint(bytes).value();
    EXPECT_TRUE(back.streams.begin()->second.fence_open);
    EXPECT_EQ(back.streams.begin()->second.ordinals.range_count(), 0U);
    EXPECT_TRUE(encode_checkpoint(checkpoint, 128).empty());
}

TEST(OrdinalSet, KeepsRangesDisjointAndMerged) {
    OrdinalSet set;
    for (const std::uint32_t ordinal : {5U, 7U, 6U, 0U, 0xffffffffU, 0xfffffffeU}) {
        EXPECT_TRUE(set.insert(ordinal));
        EXPECT_FALSE(set.insert(ordinal));
    }
    EXPECT_EQ(set.range_count(), 3U);
    EXPECT_TRUE(set.contains(6) && !set.contains(4) && !set.contains(8));
    set.erase(6);
    EXPECT_EQ(set.to_vector(), (std::vector<std::uint32_t>{0, 5, 7, 0xfffffffeU, 0xffffffffU}));
}

}  // namespace
}  // namespace cw::cache
