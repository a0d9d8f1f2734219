#include "recovery/failback.h"

#include "recovery/vault_points.h"
#include "tests/recovery/world.h"
#include "tests/volume/cut_disk.h"

#include <algorithm>

#include <gtest/gtest.h>

namespace cw::recovery {
namespace {

using volume::test::CutDisk;

constexpr std::uint64_t block = vault::fingerprint_block_bytes;
constexpr const char* target_path = "/old/disk.img";

class FakeProbe final : public volume::TargetProbe {
public:
    Result<std::string> identity(const std::string&) override { return name; }
    Result<void> check_unused(const std::string& path) override {
        return used ? fail(Errc::target_unsafe, path + " is mounted") : Result<void>{};
    }
    std::string name = "file 1 2";
    bool used = false;
};

// A disk in a vault: base data, holes, small overwrites that leave blocks without a fingerprint.
class Site {
public:
    explicit Site(std::uint64_t disk_bytes) : world(17), disk(make_id<DiskId>(*world.random)) {
        truth.resize(disk_bytes);
        fakes::RigSegment base{.disk = disk, .first = Seq{1}, .last = Seq{1}, .extents = {}};
        for (std::uint64_t at = 0; at < disk_bytes; at += mib) {
            const std::uint64_t length = std::min(mib, disk_bytes - at);
            if (at / mib % 7 == 3) {
                continue;  // Never written.
            }
            ByteVector bytes = fakes::text_bytes(at, length);
            std::ranges::copy(bytes, truth.begin() + static_cast<std::ptrdiff_t>(at));
            base.extents.push_back({.offset = at,
                                    .bytes = std::move(bytes),
                                    .seq = Seq{1},
                                    .codec = vault::Codec::zstd,
                                    .hole_bytes = 0});
        }
        fakes::RigSegment small{.disk = disk, .first = Seq{2}, .last = Seq{4}, .extents = {}};
        for (std::uint64_t i = 2; i <= 4; ++i) {
            const std::uint64_t at = std::min(i * mib, disk_bytes - (5 - i) * 64 * kib) + 4096;
            ByteVector bytes = fakes::random_bytes(*world.random, 4096);
            std::ranges::copy(bytes, truth.begin() + static_cast<std::ptrdiff_t>(at));
            small.extents.push_back({.offset = at,
                                     .bytes = std::move(bytes),
                                     .seq = Seq{i},
                                     .codec = vault::Codec::none,
                                     .hole_bytes = 0});
        }
        vault::DiskEntry& entry = world.rig.disk(disk);
        entry.size_bytes = disk_bytes;
        entry.protected_ = true;
        entry.committed = Seq{4};
        const auto ref = world.rig.put(base);
        point = world.rig.publish_point({ref, world.rig.put(small)}, WallMicros{1'700'000'000});
    }
    // Writes these blocks, whole, and makes another point, which becomes the wanted one.
    void write_more(std::initializer_list<std::uint64_t> blocks) {
        fakes::RigSegment more{.disk = disk, .first = Seq{5}, .last = Seq{5}, .extents = {}};
        for (const std::uint64_t index : blocks) {
            ByteVector bytes = fakes::random_bytes(*world.random, block);
            std::ranges::copy(bytes, truth.begin() + static_cast<std::ptrdiff_t>(index * block));
            more.extents.push_back({.offset = index * block,
                                    .bytes = std::move(bytes),
                                    .seq = Seq{5},
                                    .codec = vault::Codec::none,
                                    .hole_bytes = 0});
        }
        world.rig.disk(disk).committed = Seq{5};
        point = world.rig.publish_point({world.rig.put(more)}, WallMicros{1'700'000'100});
    }
    // What an old disk may have become: `count` blocks differ.
    ByteVector old_disk(std::uint64_t count) {
        ByteVector out = truth;
        const std::uint64_t blocks = out.size() / block;
        for (std::uint64_t i = 0; i < count; ++i) {
            const std::uint64_t at = (i * blocks / count) * block + 512;
            world.random->fill(MutableBytes(out).subspan(at, 2048));
        }
        return out;
    }

    World world;
    DiskId disk;
    ByteVector truth;
    PointId point;
};

class Failback : public testing::Test {
protected:
    void begin(Site& site, const ByteVector& old) {
        catalog_.emplace(site.world.catalog());
        site_ = &site;
        old_ = old;
        fresh(0);
    }
    // The old disk as it was, on a device that loses power at its n-th change.
    void fresh(std::uint64_t cut_at) {
        disk_.reset();
        storage_ = std::make_unique<fakes::SimStorage>(seed_++);
        const auto plain = storage_->make_disk();
        CW_ASSERT(plain->create_directories("/old").has_value());
        CW_ASSERT(write_file_atomically(*plain, target_path, old_).has_value());
        reopen(cut_at);
    }
    void reopen(std::uint64_t cut_at) { disk_ = std::make_unique<CutDisk>(*storage_, cut_at); }
    void prepare() {
        request_.point = to_string(site_->point);
        request_.disk = to_string(site_->disk);
        request_.target.path = target_path;
        request_.target.work_directory = "/beside";
    }
    Result<FailbackReport> run() {
        prepare();
        const VaultPoints source(*site_->world.store, *catalog_);
        return failback_disk(source, *catalog_, {*disk_, probe_}, request_, {});
    }
    Result<std::optional<volume::Phase>> phase() {
        const auto plain = storage_->make_disk();
        return failback_phase(*plain, "/beside");
    }
    bool target_is(const ByteVector& content) { return storage_->contents(target_path) == content; }

    Site* site_ = nullptr;
    std::optional<Catalog> catalog_;
    ByteVector old_;
    std::uint64_t seed_ = 1;
    std::unique_ptr<fakes::SimStorage> storage_;
    std::unique_ptr<CutDisk> disk_;
    FakeProbe probe_;
    FailbackRequest request_;
};

TEST_F(Failback, OnAFullDiskSaysWhichDiskThatIsAndLeavesTheTargetAsItWas) {
    Site site(64 * mib);
    begin(site, site.old_disk(10));
    storage_->plan().capacity_bytes = 64 * mib + 100 * kib;  // Not enough for ten blocks.
    const auto report = run();
    ASSERT_EQ(report.error().code, Errc::spool_full);
    EXPECT_TRUE(report.error().detail.starts_with("this is no server's cache: free some"));
    EXPECT_TRUE(report.error().detail.ends_with("df -h /beside")) << report.error().detail;
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

TEST_F(Failback, E9_ACancelAtAnyMomentLeavesTheTargetAsItWas) {
    Site site(48 * mib);
    begin(site, site.old_disk(60));
    std::uint64_t questions = 0;
    request_.cancelled = [&] { return ++questions, false; };
    ASSERT_TRUE(run());
    ASSERT_TRUE(target_is(site.truth));
    const std::uint64_t all = questions;
    ASSERT_GE(all, 10U);
    for (std::uint64_t at = 1; at <= all; ++at) {
        fresh(0);
        questions = 0;
        request_.cancelled = [&] { return ++questions == at; };
        const auto report = run();
        ASSERT_FALSE(report);
        EXPECT_EQ(report.error().code, Errc::cancelled);
        ASSERT_TRUE(target_is(old_)) << "cancelled at question " << at;
        EXPECT_FALSE(storage_->exists("/beside/state"));
    }
}

TEST_F(Failback, APowerCutLeavesTheOldDiskOrIsCompletedByTheNextRun) {
    Site site(8 * mib + 37 * sector_bytes);
    begin(site, site.old_disk(9));
    ASSERT_TRUE(run());
    const std::uint64_t all = disk_->operations();
    std::uint64_t before = 0, after = 0;
    for (std::uint64_t at = 1; at <= all; ++at) {
        SCOPED_TRACE("cut at change " + std::to_string(at) + " of " + std::to_string(all));
        fresh(at);
        ASSERT_FALSE(run());
        const auto found = phase();
        ASSERT_TRUE(found) << to_string(found.error());
        const bool switching = *found == volume::Phase::switching;
        const bool done = target_is(site.truth);
        if (!switching && !done) {
            ++before;
            ASSERT_TRUE(target_is(old_));
        }
        if (switching) {
            ++after;
            // A second interruption changes nothing.
            reopen(3);
            EXPECT_FALSE(run());
            const auto plain = storage_->make_disk();
            EXPECT_EQ(cancel_failback(*plain, "/beside").error().code, Errc::target_switching);
        }
        reopen(0);
        const auto report = run();
        ASSERT_TRUE(report) << to_string(report.error());
        EXPECT_EQ(report->resumed, switching);
        EXPECT_EQ(report->point, site.point);
        ASSERT_TRUE(target_is(site.truth));
        EXPECT_FALSE(storage_->exists("/beside/state"));
    }
    EXPECT_GE(before, 10U);
    EXPECT_GE(after, 5U);
}

TEST_F(Failback, AnInterruptedSwitchNeedsNoVault) {
    Site site(8 * mib);
    begin(site, site.old_disk(9));
    ASSERT_TRUE(run());
    const std::uint64_t all = disk_->operations();
    for (std::uint64_t at = all; at > 0 && phase().value() != volume::Phase::switching; --at) {
        fresh(at);
        ASSERT_FALSE(run());
    }
    ASSERT_EQ(phase().value(), volume::Phase::switching);
    reopen(0);
    FailbackTarget target = request_.target;
    probe_.name = "file 1 3";  // Another disk took its name.
    EXPECT_EQ(resume_failback({*disk_, probe_}, target).error().code, Errc::target_unsafe);
    probe_.name = "file 1 2";
    const auto report = resume_failback({*disk_, probe_}, target);
    ASSERT_TRUE(report) << to_string(report.error());
    EXPECT_TRUE(report->resumed);
    EXPECT_EQ(report->point, site.point);
    EXPECT_TRUE(target_is(site.truth));
}

TEST_F(Failback, BeginsAnewWhenTheTargetChangedAfterAnInterruptedRun) {
    Site site(8 * mib);
    begin(site, site.old_disk(9));
    ASSERT_TRUE(run());
    const std::uint64_t all = disk_->operations();
    for (std::uint64_t at = all; at > 0; --at) {  // The last moment before the switch.
        fresh(at);
        ASSERT_FALSE(run());
        if (phase().value() == volume::Phase::collecting) {
            break;
        }
    }
    ASSERT_EQ(phase().value(), volume::Phase::collecting);
    const ByteVector scribble = fakes::random_bytes(*site.world.random, 300'000);
    storage_->overwrite(target_path, 5 * mib, scribble);  // It was booted once more.
    reopen(0);
    const auto report = run();
    ASSERT_TRUE(report) << to_string(report.error());
    EXPECT_FALSE(report->resumed);
    EXPECT_TRUE(target_is(site.truth));
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

TEST_F(Failback, CancelDropsWhatAKilledRunLeft) {
    Site site(2 * mib);
    begin(site, site.old_disk(2));
    const auto nothing = cancel_failback(*disk_, "/beside");
    ASSERT_TRUE(nothing);
    EXPECT_FALSE(*nothing);
    ASSERT_TRUE(run());
    for (std::uint64_t at = disk_->operations(); at > 0; --at) {
        fresh(at);
        ASSERT_FALSE(run());
        if (phase().value() == volume::Phase::collecting) {
            break;
        }
    }
    reopen(0);
    const auto dropped = cancel_failback(*disk_, "/beside");
    ASSERT_TRUE(dropped);
    EXPECT_TRUE(*dropped);
    EXPECT_TRUE(target_is(old_));
    EXPECT_FALSE(storage_->exists("/beside/overlay"));
}

}  // namespace
}  // namespace cw::recovery
