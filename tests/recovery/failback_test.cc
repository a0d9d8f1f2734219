#include "tests/recovery/failback_site.h"

namespace cw::recovery {
namespace {

using test::block;
using test::Site;

class Failback : public test::FailbackTest {};

TEST_F(Failback, OnAFullDiskSaysWhichDiskThatIsAndLeavesTheTargetAsItWas) {
    Site site(64 * mib);
    begin(site, site.old_disk(10));
    storage_->plan().capacity_bytes = 64 * mib + 100 * kib;  // Not enough for ten blocks.
    const auto report = run();
    ASSERT_EQ(report.error().code, Errc::disk_full);
    EXPECT_TRUE(report.error().detail.starts_with("that of /beside, where"));
    EXPECT_TRUE(report.error().next.starts_with("df -h /beside; ")) << report.error().next;
    EXPECT_TRUE(target_is(old_));
}

TEST_F(Failback, MovesOnlyWhatDiffers) {
    Site site(64 * mib);
    begin(site, site.old_disk(10));  // 1 % of 1,024 blocks.
    const auto report = run();
    ASSERT_TRUE(report) << to_string(report.error());
    EXPECT_TRUE(target_is(site.truth));
    EXPECT_EQ(report->blocks_different, 10U);
    EXPECT_EQ(report->moved_bytes, 10 * block);
    EXPECT_LE(report->moved_bytes, 64 * mib / 50);
    EXPECT_EQ(report->blocks_compared + report->blocks_unknown, 1024U);
    EXPECT_EQ(report->blocks_unknown, 3U);
    EXPECT_EQ(report->cut, Seq{4});
    EXPECT_FALSE(report->resumed);
    EXPECT_FALSE(storage_->exists("/beside/state"));
    EXPECT_FALSE(storage_->exists("/beside/overlay"));
    EXPECT_LE(report->fetched_bytes, 13 * (1 * mib + 64 * kib));  // A chunk for each, at most.
}

TEST_F(Failback, AChunkIsFetchedOnceHoweverManyOfItsBlocksDiffer) {
    Site site(64 * mib);
    const auto fetched = [&](std::initializer_list<std::uint64_t> blocks) {
        ByteVector old = site.truth;
        for (const std::uint64_t one : blocks) {
            old[one * block] ^= std::byte{1};
        }
        begin(site, old);
        const auto report = run();
        EXPECT_TRUE(report && target_is(site.truth));
        EXPECT_EQ(report->blocks_different, blocks.size());
        return report->fetched_bytes;
    };
    const std::uint64_t unknown_ones = fetched({});
    const std::uint64_t one = fetched({512}) - unknown_ones;
    EXPECT_GT(one, 0U);
    EXPECT_LE(one, 1 * mib + 64 * kib);
    EXPECT_EQ(fetched({512, 514, 516, 519}) - unknown_ones, one);
}

// The blocks that old_disk(count) has changed, as a bitmap of both sides would name them.
std::vector<ByteRange> changed_ranges(std::uint64_t disk_bytes, std::uint64_t count) {
    std::vector<ByteRange> ranges;
    for (std::uint64_t i = 0; i < count; ++i) {
        ranges.push_back({(i * (disk_bytes / block) / count) * block + 512, 2048});
    }
    return ranges;
}

TEST_F(Failback, AHintLimitsWhatIsComparedAndASampleOfTheRestIsCompared) {
    Site site(64 * mib);
    begin(site, site.old_disk(10));
    request_.hint = changed_ranges(64 * mib, 10);
    request_.random = site.world.random.get();
    const auto report = run();
    ASSERT_TRUE(report) << to_string(report.error());
    EXPECT_TRUE(target_is(site.truth));
    EXPECT_FALSE(report->hint_refuted);
    EXPECT_EQ(report->blocks_different, 10U);
    EXPECT_LE(report->blocks_compared + report->blocks_unknown, 10U);
    EXPECT_GE(report->blocks_sampled, 12U);  // One of each super-chunk, unless it is unknown.
    EXPECT_EQ(report->blocks_skipped, 1024U - 10U - 16U);
}

TEST_F(Failback, AHintThatIsWrongIsRefutedByItsSample) {
    Site site(64 * mib);
    ByteVector other = site.truth;
    for (std::size_t at = 0; at < other.size(); at += block) {
        other[at] ^= std::byte{1};  // Every block differs, the hint names one.
    }
    begin(site, other);
    request_.hint = std::vector<ByteRange>{{0, 512}};
    request_.random = site.world.random.get();
    const auto report = run();
    ASSERT_TRUE(report) << to_string(report.error());
    EXPECT_TRUE(report->hint_refuted);
    EXPECT_EQ(report->blocks_different, 1024U);
    EXPECT_EQ(report->blocks_skipped, 0U);
    EXPECT_TRUE(target_is(site.truth));
}

TEST_F(Failback, AHintSinceAPointSparesReadingWhatTheVaultKnowsAsTheSame) {
    Site site(64 * mib);
    const ByteVector old = site.truth;
    request_.hint_since = to_string(site.point);
    site.write_more({5, 200, 900});
    begin(site, old);
    request_.hint =
        std::vector<ByteRange>{{5 * block, block}, {200 * block, block}, {900 * block + 512, 512}};
    request_.random = site.world.random.get();
    const auto report = run();
    ASSERT_TRUE(report) << to_string(report.error());
    EXPECT_FALSE(report->hint_refuted);
    EXPECT_EQ(report->blocks_different, 3U);
    EXPECT_EQ(report->blocks_unknown, 3U);  // Left out by the hint, and compared all the same.
    EXPECT_GE(report->blocks_skipped, 1024U - 3U - 3U - 16U);
    EXPECT_TRUE(target_is(site.truth));
}

TEST_F(Failback, AHintThatLeavesOutOneBlockThatTheVaultKnowsAsAnotherIsRefuted) {
    for (const std::uint64_t seed : {1, 2, 3}) {  // Whichever blocks are the sample.
        Site site(64 * mib);
        const ByteVector old = site.truth;
        request_.hint_since = to_string(site.point);
        site.write_more({5, 200, 900});
        begin(site, old);
        request_.hint = std::vector<ByteRange>{{5 * block, block}, {200 * block, block}};
        const auto random = make_seeded_random(seed);
        request_.random = random.get();
        const auto report = run();
        ASSERT_TRUE(report) << to_string(report.error());
        EXPECT_TRUE(report->hint_refuted);
        EXPECT_EQ(report->blocks_skipped, 0U);
        EXPECT_TRUE(target_is(site.truth));
    }
}

TEST_F(Failback, AHintBeyondTheDiskIsRefused) {
    Site site(8 * mib);
    begin(site, site.old_disk(1));
    request_.random = site.world.random.get();
    for (const ByteRange& range : {ByteRange{8 * mib, 512}, ByteRange{0, 8 * mib + 1},
                                   ByteRange{512, UINT64_MAX}, ByteRange{512, 0}}) {
        request_.hint = std::vector<ByteRange>{range};
        EXPECT_EQ(run().error().code, Errc::usage);
        EXPECT_TRUE(target_is(old_));
    }
}

TEST_F(Failback, E9_MovesNothingWhenNothingDiffers) {
    Site site(8 * mib + 37 * sector_bytes);
    begin(site, site.truth);
    const auto report = run();
    ASSERT_TRUE(report) << to_string(report.error());
    EXPECT_TRUE(target_is(site.truth));
    EXPECT_EQ(report->blocks_different, 0U);
    EXPECT_EQ(report->moved_bytes, 0U);
    EXPECT_GT(report->index_bytes, 0U);
}

// As a master target is: it keeps no fingerprints.
class ReadPoints final : public PointSource {
public:
    ReadPoints(blob::BlobStore& store, const Catalog& catalog)
        : points_(store, catalog), secret_(catalog.keys().fingerprint_secret) {}
    Result<std::unique_ptr<Image>> open(const PointDisk& at,
                                        const ReaderOptions& options) const override {
        return points_.open(at, options);
    }
    Result<std::unique_ptr<PointDigests>> digests(const PointDisk& at, const ReaderOptions& options,
                                                  const std::function<bool()>&) const override {
        CW_TRY_ASSIGN(auto image, open(at, options));
        return digests_by_reading(std::move(image), secret_);
    }
    Result<Changes> changes(const PointDisk& from, const PointDisk& to,
                            const ReaderOptions& options) const override {
        return points_.changes(from, to, options);
    }

private:
    const VaultPoints points_;
    const FingerprintSecret secret_;
};

TEST_F(Failback, WhereNobodyKeepsFingerprintsBlocksAreReadForThem) {
    Site site(8 * mib + 37 * sector_bytes);
    ByteVector old = site.truth;
    old.front() ^= std::byte{1};
    old[5 * mib] ^= std::byte{1};
    old.back() ^= std::byte{1};  // Of the block that is not a whole one.
    begin(site, old);
    const ReadPoints source(*site.world.store, *catalog_);
    prepare();
    const auto report = failback_disk(source, *catalog_, {*disk_, probe_}, request_, {});
    ASSERT_TRUE(report) << to_string(report.error());
    EXPECT_TRUE(target_is(site.truth));
    EXPECT_EQ(report->blocks_unknown, 0U);
    EXPECT_EQ(report->blocks_compared, 129U);
    EXPECT_EQ(report->blocks_different, 3U);
    EXPECT_EQ(report->moved_bytes, 2 * block + 37 * sector_bytes);
}

TEST_F(Failback, FillsAnOddDiskThatHasNothingInCommon) {
    Site site(8 * mib + 37 * sector_bytes);
    begin(site, fakes::random_bytes(*site.world.random, site.truth.size()));
    const auto report = run();
    ASSERT_TRUE(report) << to_string(report.error());
    EXPECT_TRUE(target_is(site.truth));
    EXPECT_EQ(report->moved_bytes, site.truth.size());
}

TEST_F(Failback, E11_RefusesUnsafeTargets) {
    Site site(2 * mib);
    begin(site, site.old_disk(2));
    probe_.used = true;
    EXPECT_EQ(run().error().code, Errc::target_unsafe);
    probe_.used = false;
    request_.target.expected_identity = "device of somebody else";
    EXPECT_EQ(run().error().code, Errc::target_unsafe);
    request_.target.expected_identity.clear();
    EXPECT_TRUE(target_is(old_));
    old_.resize(old_.size() + mib);  // Wrong size.
    fresh(0);
    EXPECT_EQ(run().error().code, Errc::target_unsafe);
    EXPECT_TRUE(target_is(old_));
}

TEST_F(Failback, DamageInTheVaultLeavesTheTargetAsItWas) {
    Site site(4 * mib);
    begin(site, site.old_disk(8));
    for (const auto& name : site.world.memory.names()) {
        if (name.container == blob::Container::data) {
            site.world.memory.flip_bit(name, 8 * 1024 * 2);  // In a chunk.
        }
    }
    const auto report = run();
    ASSERT_FALSE(report);
    EXPECT_EQ(report.error().code, Errc::object_corrupt);
    EXPECT_TRUE(target_is(old_));
    EXPECT_FALSE(storage_->exists("/beside/state"));
}

}  // namespace
}  // namespace cw::recovery
