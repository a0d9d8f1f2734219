#include "egress/vault/segment.h"

#include "tests/fakes/memory_vault.h"
#include "tests/vault/vault_rig.h"

#include <thread>

#include <gtest/gtest.h>

namespace cw::vault {
namespace {

using fakes::RigExtent;
using fakes::SealedSegment;
using fakes::VaultRig;

class Segments : public testing::Test {
protected:
    Segments() {
        plan_.disk = make_id<DiskId>(*random_);
        plan_.first = Seq{10};
        plan_.last = Seq{14};
        plan_.extents = {
            {0, fakes::random_bytes(*random_, 65536), Seq{10}, Codec::none, 0},
            {1 * mib, fakes::text_bytes(1, 1 * mib), Seq{11}, Codec::zstd, 0},
            {4 * mib, fakes::text_bytes(2, 200 * kib), Seq{12}, Codec::lz4, 0},
            {8 * mib, {}, Seq{13}, Codec::zero, 3 * mib},
            {16 * mib, {}, Seq{14}, Codec::discard, 512},
        };
        sealed_ = rig_.seal(plan_);
    }

    std::unique_ptr<SegmentCrypto> crypto(const SegmentRef& ref) {
        return SegmentCrypto::make(rig_.vault.id, ref, rig_.keys.newest());
    }
    // Reads the whole segment as a reader does; the raw bytes of all chunks.
    Result<std::vector<ByteVector>> read(const SegmentRef& ref, Bytes object) {
        const auto keys = crypto(ref);
        if (object.size() != ref.object_bytes) {
            return fail(Errc::object_corrupt, "length");
        }
        CW_TRY(check_segment_header(*keys, object.first(segment_header_bytes)));
        CW_TRY(check_segment_trailer(ref, object.last(segment_trailer_bytes)));
        CW_TRY_ASSIGN(const auto chunks,
                      open_index(ref, *keys, object.subspan(ref.index_offset, ref.index_bytes)));
        std::vector<ByteVector> out;
        for (const Chunk& chunk : chunks) {
            ByteVector raw_bytes(chunk.raw_length);
            CW_TRY(open_chunk(*keys, chunk,
                              object.subspan(chunk.stored_offset, chunk.stored_length), raw_bytes));
            out.push_back(std::move(raw_bytes));
        }
        return out;
    }

    ManualClock clock_;
    fakes::MemoryVault memory_{clock_, {}};
    std::unique_ptr<blob::StoreFactory> factory_ = memory_.factory();
    std::unique_ptr<blob::BlobStore> store_ = factory_->make();
    std::unique_ptr<Random> random_ = make_seeded_random(7);
    std::unique_ptr<KeyService> kek_ = fakes::make_test_kek("k", *random_);
    VaultRig rig_{*store_, *kek_, *random_, make_id<MachineId>(*random_)};
    fakes::RigSegment plan_;
    SealedSegment sealed_;
};

TEST_F(Segments, GiveBackWhatWasSealed) {
    const auto chunks = read(sealed_.ref, sealed_.object);
    ASSERT_TRUE(chunks) << to_string(chunks.error());
    ASSERT_EQ(chunks->size(), plan_.extents.size());
    for (std::size_t i = 0; i < chunks->size(); ++i) {
        const RigExtent& extent = plan_.extents[i];
        EXPECT_EQ((*chunks)[i],
                  extent.bytes.empty() ? ByteVector(extent.hole_bytes) : extent.bytes);
    }
    EXPECT_EQ(sealed_.chunks[1].codec, Codec::zstd);
    EXPECT_EQ(sealed_.chunks[2].codec, Codec::lz4);
    EXPECT_EQ(sealed_.ref.object_bytes, sealed_.object.size());
}

TEST_F(Segments, IndexGivesBackEveryField) {
    const auto keys = crypto(sealed_.ref);
    const auto chunks = open_index(
        sealed_.ref, *keys,
        Bytes(sealed_.object).subspan(sealed_.ref.index_offset, sealed_.ref.index_bytes));
    ASSERT_TRUE(chunks);
    for (std::size_t i = 0; i < chunks->size(); ++i) {
        const Chunk &a = (*chunks)[i], &b = sealed_.chunks[i];
        EXPECT_EQ(std::tie(a.ordinal, a.disk_offset, a.raw_length, a.stored_offset, a.stored_length,
                           a.codec, a.last_seq, a.tag, a.fingerprints),
                  std::tie(b.ordinal, b.disk_offset, b.raw_length, b.stored_offset, b.stored_length,
                           b.codec, b.last_seq, b.tag, b.fingerprints));
    }
    EXPECT_EQ(chunks->at(0).fingerprints.size(), 1U);
    EXPECT_EQ(chunks->at(1).fingerprints.size(), 16U);
}

TEST_F(Segments, EveryFlippedByteOfTheObjectIsSeen) {
    std::vector<std::size_t> positions;
    for (std::size_t i = 0; i < segment_header_bytes; ++i) {
        positions.push_back(i);
    }
    for (std::size_t i = sealed_.ref.index_offset; i < sealed_.object.size(); ++i) {
        positions.push_back(i);
    }
    for (int i = 0; i < 200; ++i) {
        positions.push_back(segment_header_bytes +
                            random_->below(sealed_.ref.index_offset - segment_header_bytes));
    }
    for (const std::size_t at : positions) {
        ByteVector bad = sealed_.object;
        bad[at] ^= static_cast<std::byte>(1 + random_->below(255));
        const auto chunks = read(sealed_.ref, bad);
        ASSERT_FALSE(chunks) << "byte " << at;
        EXPECT_EQ(chunks.error().code, Errc::object_corrupt) << "byte " << at;
    }
}

TEST_F(Segments, EveryFieldOfTheReferenceIsBound) {
    const std::vector<std::function<void(SegmentRef&)>> changes = {
        [](SegmentRef& r) { r.name.machine.bytes[3] ^= std::byte{1}; },
        [](SegmentRef& r) { r.name.disk.bytes[3] ^= std::byte{1}; },
        [](SegmentRef& r) { r.name.generation = Generation{2}; },
        [](SegmentRef& r) { r.name.epoch = Epoch{2}; },
        [](SegmentRef& r) { r.name.first_seq = Seq{9}; },
        [](SegmentRef& r) { r.segment_id[0] ^= std::byte{1}; },
        [](SegmentRef& r) { r.salt[0] ^= std::byte{1}; },
        [](SegmentRef& r) { r.base = true; },
        [](SegmentRef& r) { r.last_seq = Seq{15}; },
        [](SegmentRef& r) { r.chunk_count -= 1; },
        [](SegmentRef& r) { r.object_bytes += 1; },
        [](SegmentRef& r) { r.index_offset -= 1; },
        [](SegmentRef& r) { r.index_bytes -= 1; },
        [](SegmentRef& r) { r.index_tag[0] ^= std::byte{1}; },
        [](SegmentRef& r) { r.root[0] ^= std::byte{1}; },
    };
    for (std::size_t i = 0; i < changes.size(); ++i) {
        SegmentRef bad = sealed_.ref;
        changes[i](bad);
        const auto chunks = read(bad, sealed_.object);
        ASSERT_FALSE(chunks) << "change " << i;
        EXPECT_EQ(chunks.error().code, Errc::object_corrupt) << "change " << i;
    }
}

TEST_F(Segments, OfAnotherDiskOrAttemptDoNotOpen) {
    fakes::RigSegment other = plan_;
    other.disk = make_id<DiskId>(*random_);
    const SealedSegment second = rig_.seal(other);
    EXPECT_EQ(read(sealed_.ref, second.object).error().code, Errc::object_corrupt);
    const SealedSegment again = rig_.seal(plan_);  // The same place, another attempt.
    EXPECT_EQ(read(sealed_.ref, again.object).error().code, Errc::object_corrupt);
}

TEST_F(Segments, ChunksDoNotOpenInEachOthersPlace) {
    fakes::RigSegment plan = plan_;
    plan.extents = {{0, fakes::random_bytes(*random_, 4096), Seq{10}, Codec::none, 0},
                    {8192, fakes::random_bytes(*random_, 4096), Seq{14}, Codec::none, 0}};
    const SealedSegment sealed = rig_.seal(plan);
    const auto keys = crypto(sealed.ref);
    const Bytes object = sealed.object;
    ByteVector out(4096);
    const Bytes first = object.subspan(sealed.chunks[0].stored_offset, 4096);
    Chunk moved = sealed.chunks[1];
    moved.tag = sealed.chunks[0].tag;
    EXPECT_EQ(open_chunk(*keys, moved, first, out).error().code, Errc::object_corrupt);
    for (const auto change :
         {+[](Chunk& c) { c.disk_offset += 512; }, +[](Chunk& c) { c.last_seq = Seq{11}; },
          +[](Chunk& c) { c.ordinal = 5; }}) {
        Chunk bad = sealed.chunks[0];
        change(bad);
        EXPECT_EQ(open_chunk(*keys, bad, first, out).error().code, Errc::object_corrupt);
    }
    EXPECT_TRUE(open_chunk(*keys, sealed.chunks[0], first, out));
}

TEST_F(Segments, F10_DecompressionStopsAtTheAuthenticatedLength) {
    for (const Codec codec : {Codec::lz4, Codec::zstd}) {
        fakes::RigSegment plan = plan_;
        plan.extents = {{0, fakes::text_bytes(3, 1 * mib), Seq{10}, codec, 0}};
        const SealedSegment sealed = rig_.seal(plan);
        // The packed bytes as the compressor made them, opened without the seal.
        const Chunk& chunk = sealed.chunks[0];
        ByteVector packed(chunk.stored_length);
        const Bytes cipher = Bytes(sealed.object).subspan(chunk.stored_offset, packed.size());
        const auto keys = crypto(sealed.ref);
        ASSERT_TRUE(keys->open(chunk, std::span(&cipher, 1), chunk.tag, packed));
        ByteVector guarded(512 * kib + 16, std::byte{0xee});
        const MutableBytes shorter = MutableBytes(guarded).first(512 * kib);
        EXPECT_EQ(decompress(codec, packed, shorter).error().code, Errc::object_corrupt);
        for (std::size_t i = shorter.size(); i < guarded.size(); ++i) {
            EXPECT_EQ(guarded[i], std::byte{0xee});
        }
        ByteVector longer(1 * mib + 512);
        longer.resize(1 * mib);
        EXPECT_TRUE(decompress(codec, packed, longer));
        packed.resize(packed.size() / 2);
        EXPECT_EQ(decompress(codec, packed, longer).error().code, Errc::object_corrupt);
    }
}

TEST_F(Segments, SealAlikeFromManyThreads) {
    const auto keys = crypto(sealed_.ref);
    const ByteVector plain = fakes::random_bytes(*random_, 64 * kib);
    std::vector<GcmTag> tags(64);
    {
        std::vector<std::jthread> threads;
        for (std::size_t t = 0; t < 4; ++t) {
            threads.emplace_back([&, t] {
                for (std::size_t i = t; i < tags.size(); i += 4) {
                    Chunk chunk;
                    chunk.ordinal = static_cast<std::uint32_t>(i);
                    chunk.raw_length = plain.size();
                    ByteVector cipher(plain.size());
                    const MutableBytes to = cipher;
                    tags[i] = keys->seal(chunk, plain, std::span(&to, 1));
                }
            });
        }
    }
    for (std::size_t i = 0; i < tags.size(); ++i) {
        Chunk chunk;
        chunk.ordinal = static_cast<std::uint32_t>(i);
        chunk.raw_length = plain.size();
        ByteVector cipher(plain.size());
        const MutableBytes to = cipher;
        EXPECT_EQ(keys->seal(chunk, plain, std::span(&to, 1)), tags[i]);
    }
}

}  // namespace
}  // namespace cw::vault
