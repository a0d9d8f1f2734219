#include "pipeline/transform.h"

#include "tests/pipeline/rig.h"

#include <algorithm>
#include <cstdlib>

#include <gtest/gtest.h>

namespace cw::pipeline {
namespace {

constexpr std::size_t disk_bytes = 24 * mib;

struct Variant {
    const char* name;
    std::unique_ptr<Executor> (*make)();
};
const Variant variants[] = {
    {"inline", [] { return make_inline_executor(); }},
    {"threads", [] { return make_thread_executor(3); }},
    {"compute", [] { return make_compute_executor(2); }},  // TBB, except under TSan.
};

// A bit of everything: whole slabs, odd small writes, overwrites, zeros inside data, noise, holes.
void write_everything(DiskWrites& writes, std::uint64_t seed) {
    const auto random = make_seeded_random(seed);
    ByteVector big = text_like(4 * mib, seed + 1);
    std::ranges::fill(std::span(big).subspan(mib + 100 * kib, 400 * kib), std::byte{0});
    writes.write(4 * mib, big);
    writes.next_record();
    writes.write(8 * mib, noise(3 * mib, seed + 2));
    for (int i = 0; i < 120; ++i) {
        if (random->below(6) == 0) {
            writes.next_record();
        }
        const std::uint64_t length = (1 + random->below(40)) * sector_bytes;
        const std::uint64_t offset = random->below((disk_bytes - length) / sector_bytes);
        writes.write(offset * sector_bytes, text_like(length, seed + 10 + i));
    }
    writes.hole(ExtentOp::zero, 10 * mib + 512, 2 * mib);
    writes.hole(ExtentOp::discard, 16 * mib, 1 * mib);
    writes.next_record();
    writes.write(10 * mib + 4096, ByteVector(600 * kib));        // Zeros that came as data.
    writes.write(12 * mib, text_like(3 * mib + 512, seed + 3));  // Crosses slabs at odd places.
    writes.write(12 * mib + 3 * mib + 512, text_like(1536, seed + 4));
}

// The image that the chunks give, where anything was written; elsewhere what restore() left.
void expect_same(const ByteVector& restored, const DiskWrites& writes, const ByteVector& expected) {
    std::vector<bool> written(disk_bytes / sector_bytes);
    for (const PlanInput& input : writes.inputs()) {
        for (std::uint32_t at = 0; at < input.extent.length; at += sector_bytes) {
            written[(input.extent.offset + at) / sector_bytes] = true;
        }
    }
    for (std::size_t sector = 0; sector < written.size(); ++sector) {
        const auto at = static_cast<std::ptrdiff_t>(sector * sector_bytes);
        const bool same = std::equal(restored.begin() + at, restored.begin() + at + sector_bytes,
                                     expected.begin() + at);
        if (written[sector]) {
            ASSERT_TRUE(same) << "sector " << sector;
        } else {
            ASSERT_EQ(restored[sector * sector_bytes], std::byte{0xcc}) << "sector " << sector;
        }
    }
}

TEST(Transform, RestoresEveryByteForEveryCodecAndExecutor) {
    const CodecChoice codecs[] = {
        {Codec::none, 0}, {Codec::lz4, 1}, {Codec::zstd, 1}, {Codec::zstd, -1}};
    const auto payload_slabs = make_pool(64);
    std::uint64_t seed = 1;
    for (const Variant& variant : variants) {
        TransformRig rig(variant.make(), plan_raw_bytes_max / slab_bytes);
        for (const CodecChoice& codec : codecs) {
            SCOPED_TRACE(std::string(variant.name) + ", codec " +
                         std::to_string(static_cast<int>(codec.codec)));
            DiskWrites writes(*payload_slabs, disk_bytes);
            write_everything(writes, seed++);
            const auto sealer = std::make_shared<TestSealer>();
            const TransformOutcome outcome =
                rig.run(writes.request(sealer, codec, VerifyMode::full));
            ASSERT_TRUE(outcome.body) << to_string(outcome.body.error().error);
            EXPECT_EQ(outcome.request.cookie, 77U);
            expect_same(restore(*outcome.body, *sealer, disk_bytes), writes, writes.disk());
        }
        EXPECT_EQ(rig.transformer->bytes_in_progress(), 0U);
        EXPECT_EQ(rig.segment_slabs->free_count(), rig.segment_slabs->count());
    }
}

TEST(Transform, SameInputGivesTheSameBodyInline) {
    const auto payload_slabs = make_pool(64);
    ByteVector first;
    for (int round = 0; round < 2; ++round) {
        TransformRig rig(make_inline_executor(), 56);
        DiskWrites writes(*payload_slabs, disk_bytes);
        write_everything(writes, 5);
        const TransformOutcome outcome = rig.run(
            writes.request(std::make_shared<TestSealer>(), {Codec::zstd, 1}, VerifyMode::off));
        ASSERT_TRUE(outcome.body);
        ByteVector flat;
        for (const Bytes piece : outcome.body->pieces()) {
            flat.insert(flat.end(), piece.begin(), piece.end());
        }
        if (round == 0) {
            first = flat;
        }
        EXPECT_TRUE(flat == first);
    }
}

TEST(Transform, TurnsZerosIntoOneHoleWithoutBytes) {
    const auto payload_slabs = make_pool(8);
    TransformRig rig(make_inline_executor(), 8);
    DiskWrites writes(*payload_slabs, disk_bytes);
    writes.write(0, ByteVector(8 * mib));
    const TransformOutcome outcome =
        rig.run(writes.request(std::make_shared<TestSealer>(), {}, VerifyMode::full));
    ASSERT_TRUE(outcome.body);
    EXPECT_EQ(outcome.body->stored_bytes, 0U);
    EXPECT_TRUE(outcome.body->slabs.empty());
    ASSERT_EQ(outcome.body->chunks.size(), 1U);
    EXPECT_EQ(outcome.body->chunks[0].codec, Codec::zero);
    EXPECT_EQ(outcome.body->chunks[0].raw_length, 8 * mib);
    EXPECT_EQ(rig.segment_slabs->free_count(), 8U);
}

TEST(Transform, LeavesShortZeroRunsToTheCompressorAndKeepsFingerprints) {
    const auto payload_slabs = make_pool(2);
    TransformRig rig(make_inline_executor(), 8);
    DiskWrites writes(*payload_slabs, disk_bytes);
    ByteVector data = text_like(mib, 1);
    std::ranges::fill(std::span(data).subspan(32 * kib, 64 * kib), std::byte{0});
    writes.write(2 * mib, data);
    const TransformOutcome outcome =
        rig.run(writes.request(std::make_shared<TestSealer>(), {}, VerifyMode::full));
    ASSERT_TRUE(outcome.body);
    ASSERT_EQ(outcome.body->chunks.size(), 1U);
    EXPECT_EQ(outcome.body->chunks[0].fingerprints.size(), 16U);
}

TEST(Transform, CopiesNoPayloadOfBigWritesAndCountsWhatItGathers) {
    const auto payload_slabs = make_pool(32);
    TransformRig rig(make_inline_executor(), 32);
    Counter& copied =
        rig.metrics->counter("causeway_payload_copied_bytes_total", {{"stage", "transform"}});
    DiskWrites big(*payload_slabs, disk_bytes);
    big.write(0, text_like(8 * mib, 1));
    ASSERT_TRUE(rig.run(big.request(std::make_shared<TestSealer>(), {}, VerifyMode::full)).body);
    EXPECT_EQ(copied.value(), 0);
    DiskWrites small(*payload_slabs, disk_bytes);
    for (std::uint64_t i = 0; i < 8; ++i) {
        small.next_record();
        small.write(i * 4096, text_like(4096, i));
    }
    ASSERT_TRUE(rig.run(small.request(std::make_shared<TestSealer>(), {}, VerifyMode::full)).body);
    EXPECT_EQ(copied.value(), 8 * 4096);
}

TEST(Transform, CountsCoalescedBytes) {
    const auto payload_slabs = make_pool(4);
    TransformRig rig(make_inline_executor(), 4);
    DiskWrites writes(*payload_slabs, disk_bytes);
    writes.write(0, text_like(4096, 1));
    writes.write(0, text_like(4096, 2));
    ASSERT_TRUE(rig.run(writes.request(std::make_shared<TestSealer>(), {}, VerifyMode::full)).body);
    EXPECT_EQ(rig.metrics->counter("causeway_coalesced_bytes_total").value(), 4096);
}

TEST(Transform, RefusesUntilTheWorstCaseFitsAndThenRuns) {
    const auto payload_slabs = make_pool(16);
    TransformRig rig(make_thread_executor(2), 6);
    DiskWrites first(*payload_slabs, disk_bytes), second(*payload_slabs, disk_bytes);
    first.write(0, noise(5 * mib, 1));
    second.write(0, noise(2 * mib, 2));
    TransformRequest a = first.request(std::make_shared<TestSealer>(), {}, VerifyMode::full);
    TransformRequest b = second.request(std::make_shared<TestSealer>(), {}, VerifyMode::full);
    ASSERT_TRUE(rig.start(a));
    EXPECT_FALSE(rig.start(b));
    ASSERT_TRUE(b.payload);  // Untouched.
    std::optional<TransformOutcome> done = rig.wait();
    ASSERT_TRUE(done && done->body);
    EXPECT_EQ(done->body->slabs.size(), 5U);  // Noise: all of it is needed.
    EXPECT_FALSE(rig.start(b));
    done.reset();  // Uploaded: the slabs go home.
    ASSERT_TRUE(rig.start(b));
    EXPECT_TRUE(rig.wait()->body);
}

TEST(Transform, ManyJobsAtOnceAllComeBackWithinTheirSlabs) {
    const auto payload_slabs = make_pool(64);
    TransformRig rig(make_thread_executor(3), 12);
    std::size_t started = 0, finished = 0;
    std::optional<TransformRequest> waiting;
    while (finished < 40) {
        if (!waiting && started < 40) {
            DiskWrites writes(*payload_slabs, disk_bytes);
            writes.write(0, text_like(2 * mib, started));
            writes.write(3 * mib, noise(mib + 512, started));
            waiting = writes.request(std::make_shared<TestSealer>(), {Codec::lz4, 1},
                                     VerifyMode::sampled);
        }
        if (waiting && rig.start(*waiting)) {
            waiting.reset();
            ++started;
            continue;
        }
        const auto done = rig.wait();
        ASSERT_TRUE(done && done->body);
        ++finished;
    }
    EXPECT_EQ(rig.segment_slabs->free_count(), 12U);
    EXPECT_EQ(payload_slabs->free_count(), 64U);
    EXPECT_EQ(rig.transformer->bytes_in_progress(), 0U);
}

TEST(Transform, HandlesAPlanOfHolesOnly) {
    const auto payload_slabs = make_pool(1);
    TransformRig rig(make_thread_executor(1), 1);
    DiskWrites writes(*payload_slabs, disk_bytes);
    writes.hole(ExtentOp::discard, 0, 4 * mib);
    const TransformOutcome outcome =
        rig.run(writes.request(std::make_shared<TestSealer>(), {}, VerifyMode::full));
    ASSERT_TRUE(outcome.body);
    ASSERT_EQ(outcome.body->chunks.size(), 1U);
    EXPECT_EQ(outcome.body->chunks[0].codec, Codec::discard);
    EXPECT_EQ(outcome.body->crc64, 0U);
}

TEST(Transform, ParsesExactlyTheDocumentedVerifyModes) {
    EXPECT_EQ(parse_verify("full"), VerifyMode::full);
    EXPECT_EQ(parse_verify("sampled"), VerifyMode::sampled);
    EXPECT_EQ(parse_verify("off"), VerifyMode::off);
    EXPECT_FALSE(parse_verify(""));
}

}  // namespace
}  // namespace cw::pipeline
