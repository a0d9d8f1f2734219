#include "pipeline/point.h"

#include "base/random.h"

#include <algorithm>

#include <gtest/gtest.h>

namespace cw::pipeline {
namespace {

Point sample() {
    const auto random = make_seeded_random(3);
    Point point{.id = make_id<PointId>(*random),
                .kind = PointKind::app,
                .group = make_id<GroupId>(*random),
                .provisional = true,
                .source_time = WallMicros{1'700'000'000'000'001},
                .uncertainty_us = 250,
                .tag = "before the upgrade",
                .hook_results = "freeze.sh: 0",
                .cuts = {}};
    for (int i = 0; i < 3; ++i) {
        DiskCut cut{.disk = make_id<DiskId>(*random),
                    .generation = Generation{2},
                    .cut = Seq{100 + random->below(1000)},
                    .stream_hash = {}};
        random->fill(cut.stream_hash);
        point.cuts.push_back(cut);
    }
    std::ranges::sort(point.cuts, {}, &DiskCut::disk);
    return point;
}

ByteVector padded(ByteVector bytes) {
    bytes.resize(align_up(bytes.size(), block_bytes));
    return bytes;
}

TEST(Point, ReadsWhatWasWrittenFromItsPaddedBlock) {
    const Point point = sample();
    const auto read = decode_point(padded(encode_point(point)));
    ASSERT_TRUE(read) << to_string(read.error());
    EXPECT_EQ(read->id, point.id);
    EXPECT_EQ(read->kind, point.kind);
    EXPECT_EQ(read->group, point.group);
    EXPECT_TRUE(read->provisional);
    EXPECT_EQ(read->source_time, point.source_time);
    EXPECT_EQ(read->uncertainty_us, point.uncertainty_us);
    EXPECT_EQ(read->tag, point.tag);
    EXPECT_EQ(read->hook_results, point.hook_results);
    ASSERT_EQ(read->cuts.size(), 3U);
    for (std::size_t i = 0; i < 3; ++i) {
        EXPECT_EQ(read->cuts[i].disk, point.cuts[i].disk);
        EXPECT_EQ(read->cuts[i].generation, point.cuts[i].generation);
        EXPECT_EQ(read->cuts[i].cut, point.cuts[i].cut);
        EXPECT_EQ(read->cuts[i].stream_hash, point.cuts[i].stream_hash);
    }
}

TEST(Point, RefusesEveryTruncation) {
    const ByteVector good = encode_point(sample());
    for (std::size_t size = 0; size < good.size(); ++size) {
        const auto read = decode_point(Bytes(good).first(size));
        ASSERT_FALSE(read) << size;
        EXPECT_EQ(read.error().code, Errc::frame_malformed);
    }
}

TEST(Point, RefusesAnUnknownKindAFlagADiskTwiceAndBytesBehind) {
    const ByteVector good = encode_point(sample());
    for (const auto& [at, value] : {std::pair{4, 0}, {4, 5}, {5, 2}, {7, 2}}) {
        ByteVector bytes = good;
        bytes[static_cast<std::size_t>(at)] = static_cast<std::byte>(value);
        EXPECT_FALSE(decode_point(bytes)) << at;
    }
    constexpr std::size_t cut_bytes = 16 + 8 + 8 + 32;
    ByteVector twice = good;
    std::copy_n(twice.end() - cut_bytes, cut_bytes, twice.end() - 2 * cut_bytes);
    EXPECT_FALSE(decode_point(twice));
    ByteVector behind = padded(good);
    behind.back() = std::byte{1};
    EXPECT_FALSE(decode_point(behind));
}

TEST(PointResult, ReadsWhatWasWrittenAndRefusesTheRest) {
    const auto random = make_seeded_random(4);
    for (const bool committed : {true, false}) {
        const PointResult result{.id = make_id<PointId>(*random),
                                 .group = make_id<GroupId>(*random),
                                 .committed = committed};
        const ByteVector bytes = padded(encode_point_result(result));
        const auto read = decode_point_result(bytes);
        ASSERT_TRUE(read);
        EXPECT_EQ(read->id, result.id);
        EXPECT_EQ(read->group, result.group);
        EXPECT_EQ(read->committed, committed);
        for (const std::size_t at : {0UL, 4UL, 5UL, 100UL}) {
            ByteVector bad = bytes;
            bad[at] = std::byte{0x55};
            EXPECT_FALSE(decode_point_result(bad)) << at;
        }
    }
}

}  // namespace
}  // namespace cw::pipeline
