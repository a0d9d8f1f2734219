#include "pipeline/transform.h"
#include "tests/pipeline/rig.h"

#include <gtest/gtest.h>

namespace cw::pipeline {
namespace {

constexpr std::size_t disk_bytes = 24 * mib;

// Three records: a big one over slabs, one of small writes, one that overwrites part of the first.
void write_three_records(DiskWrites& writes) {
    writes.write(0, text_like(3 * mib, 1));
    writes.next_record();
    for (std::uint64_t i = 0; i < 10; ++i) {
        writes.write(8 * mib + i * 8192, text_like(4096, i));
    }
    writes.next_record();
    writes.write(mib + 4096, text_like(256 * kib, 3));
}

class TransformFault : public ::testing::Test {
protected:
    TransformOutcome run(VerifyMode verify) {
        return rig.run(writes.request(sealer, {Codec::zstd, 1}, verify));
    }
    std::unique_ptr<SlabPool> payload_slabs = make_pool(16);
    TransformRig rig{make_thread_executor(2), 16};
    DiskWrites writes{*payload_slabs, disk_bytes};
    std::shared_ptr<TestSealer> sealer = std::make_shared<TestSealer>();
};

TEST_F(TransformFault, AnyFlippedPayloadBitNamesItsRecordAndExtent) {
    struct Place {
        std::uint32_t record, extent, at;
    };
    const Place places[] = {
        {0, 0, 0},                    // First slab of a big extent.
        {0, 0, 3 * 1024 * 1024 - 1},  // Its last byte.
        {0, 0, 1024 * 1024 + 8000},   // A part that was overwritten: the extent is not trusted.
        {1, 0, 17},
        {1, 9, 4095},
        {2, 0, 100'000},
    };
    for (const Place& place : places) {
        DiskWrites fresh(*payload_slabs, disk_bytes);
        write_three_records(fresh);
        fresh.payload_byte(place.record, place.extent, place.at) ^= std::byte{0x10};
        const TransformOutcome outcome = rig.run(
            fresh.request(std::make_shared<TestSealer>(), {Codec::lz4, 1}, VerifyMode::full));
        ASSERT_FALSE(outcome.body) << place.record << " " << place.at;
        EXPECT_EQ(outcome.body.error().error.code, Errc::record_corrupt);
        EXPECT_EQ(outcome.body.error().record, place.record);
        EXPECT_EQ(outcome.body.error().extent_index, place.extent);
        EXPECT_EQ(rig.segment_slabs->free_count(), rig.segment_slabs->count());
        ASSERT_TRUE(outcome.request.payload);  // Given back, to be read again.
    }
}

TEST_F(TransformFault, PayloadThatNobodyNeedsIsNotJudged) {
    writes.write(0, text_like(4096, 1));
    writes.next_record();
    writes.write(0, text_like(4096, 2));
    writes.payload_byte(0, 0, 5) ^= std::byte{1};
    EXPECT_TRUE(run(VerifyMode::full).body);
}

TEST_F(TransformFault, FullVerificationSeesAFlipInTheSealedBytes) {
    write_three_records(writes);
    sealer->after_seal = [](const ChunkBinding& chunk, std::span<const MutableBytes> cipher,
                            GcmTag&) {
        if (chunk.ordinal == 5) {
            cipher[0][cipher[0].size() / 2] ^= std::byte{4};
        }
    };
    const TransformOutcome outcome = run(VerifyMode::full);
    ASSERT_FALSE(outcome.body);
    EXPECT_EQ(outcome.body.error().error.code, Errc::internal);
    EXPECT_FALSE(outcome.body.error().record);
    EXPECT_EQ(rig.segment_slabs->free_count(), rig.segment_slabs->count());
}

TEST_F(TransformFault, FullVerificationSeesAFlippedTag) {
    write_three_records(writes);
    sealer->after_seal = [](const ChunkBinding&, std::span<const MutableBytes>, GcmTag& tag) {
        tag[15] ^= std::byte{1};
    };
    EXPECT_FALSE(run(VerifyMode::full).body);
}

// A sealer that seals something else than it was given: authentic, and wrong.
class LyingSealer final : public Sealer {
public:
    GcmTag seal(const ChunkBinding& chunk, Bytes plain,
                std::span<const MutableBytes> cipher) override {
        ByteVector changed(plain.begin(), plain.end());
        changed[changed.size() / 2] ^= std::byte{1};
        return honest_.seal(chunk, changed, cipher);
    }
    Result<void> open(const ChunkBinding& chunk, std::span<const Bytes> cipher, const GcmTag& tag,
                      MutableBytes plain) override {
        return honest_.open(chunk, cipher, tag, plain);
    }
    [[nodiscard]] const FingerprintSecret& fingerprint_secret() const override {
        return honest_.fingerprint_secret();
    }

private:
    TestSealer honest_;
};

TEST_F(TransformFault, FullVerificationComparesWithTheOriginal) {
    for (const Codec codec : {Codec::none, Codec::lz4, Codec::zstd}) {
        DiskWrites fresh(*payload_slabs, disk_bytes);
        write_three_records(fresh);
        const TransformOutcome outcome =
            rig.run(fresh.request(std::make_shared<LyingSealer>(), {codec, 1}, VerifyMode::full));
        ASSERT_FALSE(outcome.body);
        EXPECT_EQ(outcome.body.error().error.code, Errc::internal);
    }
}

TEST_F(TransformFault, SampledVerificationLooksAtTheFirstChunkAndOffAtNone) {
    sealer->after_seal = [](const ChunkBinding& chunk, std::span<const MutableBytes> cipher,
                            GcmTag&) {
        if (chunk.ordinal == 0) {
            cipher[0][0] ^= std::byte{4};
        }
    };
    writes.write(0, text_like(mib, 1));
    EXPECT_FALSE(run(VerifyMode::sampled).body);
    sealer = std::make_shared<TestSealer>();
    DiskWrites again(*payload_slabs, disk_bytes);
    again.write(0, text_like(mib, 1));
    sealer->after_seal = [](const ChunkBinding&, std::span<const MutableBytes> cipher, GcmTag&) {
        cipher[0][0] ^= std::byte{4};
    };
    EXPECT_TRUE(rig.run(again.request(sealer, {}, VerifyMode::off)).body);
}

}  // namespace
}  // namespace cw::pipeline
