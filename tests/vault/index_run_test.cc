// Checkpoints stay small however much is alive, and stand for all of it.
#include "egress/vault/index_run.h"

#include "tests/fakes/memory_vault.h"
#include "tests/vault/vault_rig.h"

#include <cstdlib>

#include <gtest/gtest.h>

namespace cw::vault {
namespace {

using fakes::VaultRig;

class IndexRuns : public testing::Test {
protected:
    IndexRuns() {
        rig_.disk(disk_).size_bytes = 64 * mib;
        rig_.publish(rig_.next());
    }
    // A reference as an uploader would make it; its object does not exist.
    SegmentRef made_up() {
        SegmentRef ref;
        ref.name = {rig_.state.newest.machine, disk_, Generation{1}, Epoch{1}, next_, {}};
        random_->fill(ref.name.attempt);
        random_->fill(ref.segment_id);
        random_->fill(ref.root);
        ref.dek_version = 1;
        ref.last_seq = next_;
        ref.chunk_count = 1;
        ref.index_offset = segment_header_bytes + 512;
        ref.index_bytes = 12 + 56;
        ref.object_bytes = ref.index_offset + ref.index_bytes + segment_trailer_bytes;
        ref.raw_bytes = 512;
        next_ = next(next_);
        return ref;
    }
    void add(std::size_t segments) {
        Manifest manifest = rig_.next();
        for (std::size_t i = 0; i < segments; ++i) {
            manifest.added.push_back(made_up());
        }
        rig_.publish(std::move(manifest));
    }
    void drop_every(std::size_t nth) {
        Manifest manifest = rig_.next();
        std::size_t at = 0;
        for (const auto& [name, ref] : rig_.state.segments) {
            if (++at % nth == 0) {
                manifest.dropped.push_back(name);
            }
        }
        rig_.publish(std::move(manifest));
    }
    // As the publisher does it. Returns the manifest's size.
    std::size_t checkpoint(const RunLimits& limits) {
        CheckpointPlan plan = plan_checkpoint(rig_.state, limits);
        IndexRunRef ref;
        ref.epoch = plan.manifest.epoch;
        ref.id = plan.manifest.run_counter - static_cast<std::uint32_t>(plan.fresh.size());
        for (const IndexRun& run : plan.fresh) {
            ++ref.id;
            const SealedRun sealed = seal_index_run(run, ref, rig_.keys, *random_);
            rig_.store_object(segment_blob(index_run_name(rig_.state.newest.machine, sealed.ref)),
                              sealed.bytes);
            plan.manifest.runs.push_back(sealed.ref);
            largest_run_ = std::max(largest_run_, sealed.bytes.size());
        }
        random_->fill(plan.manifest.nonce);
        const SealedManifest sealed = rig_.seal_manifest(plan.manifest);
        rig_.store_object(manifest_blob(rig_.state.newest.machine, plan.manifest.number),
                          sealed.bytes);
        const auto applied = apply_manifest(rig_.state, plan.manifest, sealed.hash, plan.fresh);
        EXPECT_TRUE(applied) << to_string(applied.error());
        return sealed.bytes.size();
    }
    Result<std::optional<ChainState>> read() {
        return read_chain(*store_, rig_.vault, rig_.keys, {});
    }
    void expect_read_back() {
        const auto chain = read();
        ASSERT_TRUE(chain && *chain) << to_string(chain.error());
        const ChainState &got = **chain, &want = rig_.state;
        ASSERT_EQ(got.segments.size(), want.segments.size());
        ASSERT_EQ(got.points.size(), want.points.size());
        EXPECT_TRUE(
            std::ranges::equal(got.segments, want.segments, [](const auto& a, const auto& b) {
                return a.first == b.first && a.second.root == b.second.root &&
                       a.second.place.run == b.second.place.run &&
                       a.second.place.at == b.second.place.at;
            }));
        EXPECT_TRUE(std::ranges::equal(got.points, want.points, [](const auto& a, const auto& b) {
            return a.first == b.first && a.second.valid_until == b.second.valid_until &&
                   a.second.manifest == b.second.manifest;
        }));
        EXPECT_EQ(got.run_counter, want.run_counter);
    }

    ManualClock clock_;
    fakes::MemoryVault memory_{clock_, {}};
    std::unique_ptr<blob::StoreFactory> factory_ = memory_.factory();
    std::unique_ptr<blob::BlobStore> store_ = factory_->make();
    std::unique_ptr<Random> random_ = make_seeded_random(5);
    std::unique_ptr<KeyService> kek_ = fakes::make_test_kek("k", *random_);
    DiskId disk_ = make_id<DiskId>(*random_);
    VaultRig rig_{*store_, *kek_, *random_, make_id<MachineId>(*random_)};
    Seq next_{1};
    std::size_t largest_run_ = 0;
};

constexpr RunLimits small{.inline_bytes = 16 * kib, .run_bytes = 32 * kib, .runs_max = 4};

TEST_F(IndexRuns, AMarkOnAnEntryThatIsNotThereIsRefused) {
    IndexRun run;
    run.segments = {made_up()};
    IndexRunRef ref;
    ref.id = 1;
    ref.segments = 1;
    ref.dead = {std::byte{0}};
    Manifest first = make_checkpoint(rig_.state);
    first.run_counter = 1;
    first.runs = {ref};
    const RunSource source = [&run](std::size_t) -> Result<IndexRun> { return run; };
    EXPECT_TRUE(begin_chain(first, {}, source));
    // As many marks as entries, and none of them on the entry: it would be forgotten.
    first.runs[0].dead = {std::byte{0x40}};
    EXPECT_FALSE(begin_chain(first, {}, source));
}

TEST_F(IndexRuns, ManifestsStaySmallWhateverIsAlive) {
    const char* const given = std::getenv("CAUSEWAY_LIVE_SEGMENTS");
    const std::size_t wanted = given != nullptr ? std::stoul(given) : 120'000;
    std::size_t largest = 0;
    while (rig_.state.segments.size() < wanted) {
        add(30'000);
        largest = std::max(largest, checkpoint({}));
    }
    EXPECT_LT(largest, 2 * mib);
    EXPECT_LE(largest_run_, RunLimits{}.run_bytes + kib);
    expect_read_back();
    drop_every(3);
    largest = checkpoint({});
    EXPECT_LT(largest, 2 * mib);
    expect_read_back();
}

TEST_F(IndexRuns, ReadersSeeWhatDiedAfterItsRunWasWritten) {
    add(400);
    checkpoint(small);
    ASSERT_FALSE(rig_.state.runs.empty());
    drop_every(5);
    expect_read_back();  // Dropped by a manifest after the checkpoint …
    checkpoint(small);
    expect_read_back();  // … and by the bitmap of the next.
    EXPECT_EQ(rig_.state.segments.size(), 320U);
}

TEST_F(IndexRuns, PointsInRunsAreExtendedAndPruned) {
    rig_.disk(disk_).committed = Seq{7};
    std::vector<PointId> ids;
    for (int i = 0; i < 200; ++i) {
        ids.push_back(rig_.publish_point({}, WallMicros{1000 + i}));
    }
    checkpoint(small);
    ASSERT_NE(rig_.state.points.at(ids[0]).place.run, 0U);
    Manifest longer = rig_.next();
    longer.points = {rig_.state.points.at(ids[0])};
    longer.points[0].valid_until = WallMicros{9999};
    longer.pruned = {ids[1]};
    rig_.publish(longer);
    expect_read_back();
    checkpoint(small);
    expect_read_back();
    EXPECT_EQ(rig_.state.points.at(ids[0]).valid_until, WallMicros{9999});
    EXPECT_FALSE(rig_.state.points.contains(ids[1]));
}

TEST_F(IndexRuns, ThinRunsAreRewrittenAndEmptyOnesForgotten) {
    for (int round = 0; round < 20; ++round) {
        add(300);
        checkpoint(small);
        drop_every(2);
    }
    checkpoint(small);
    std::size_t entries = 0;
    for (const auto& [id, run] : rig_.state.runs) {
        entries += run.segments;
    }
    // Not more than half of what runs hold is dead, but for the one written last.
    EXPECT_LT(entries, 2 * rig_.state.segments.size() + 200);
    expect_read_back();
    Manifest all = rig_.next();
    for (const auto& [name, ref] : rig_.state.segments) {
        all.dropped.push_back(name);
    }
    rig_.publish(all);
    const std::uint32_t counter = rig_.state.run_counter;
    checkpoint(small);
    EXPECT_TRUE(rig_.state.runs.empty());
    EXPECT_EQ(rig_.state.run_counter, counter);
    expect_read_back();
}

TEST_F(IndexRuns, ACheckpointThatForgetsOrInventsEntriesIsRefused) {
    add(400);
    checkpoint(small);
    add(3);
    const auto refused = [&](auto change) {
        Manifest bad = make_checkpoint(rig_.state);
        change(bad);
        ChainState state = rig_.state;
        return !apply_manifest(state, bad, {});
    };
    EXPECT_FALSE(refused([](Manifest&) {}));
    EXPECT_TRUE(refused([](Manifest& m) { m.runs.pop_back(); }));
    EXPECT_TRUE(refused([](Manifest& m) { m.added.pop_back(); }));
    EXPECT_TRUE(refused([](Manifest& m) { m.runs[0].dead = ByteVector(1, std::byte{1}); }));
    EXPECT_TRUE(refused([](Manifest& m) { m.runs[0].hash[0] ^= std::byte{1}; }));
    EXPECT_TRUE(refused([](Manifest& m) { m.runs.push_back(m.runs[0]); }));
    EXPECT_TRUE(refused([](Manifest& m) { m.run_counter = 0; }));
    EXPECT_TRUE(refused([](Manifest& m) { m.kind = ManifestKind::regular; }));
}

// G5: an index run that is damaged, swapped or gone is noticed, and unreadable is not corrupt.
TEST_F(IndexRuns, F1ADamagedRunIsNeverBelieved) {
    add(600);
    checkpoint(small);
    ASSERT_GE(rig_.state.runs.size(), 2U);
    const auto name = [&](std::uint32_t id) {
        return segment_blob(index_run_name(rig_.state.newest.machine, rig_.state.runs.at(id)));
    };
    const std::uint32_t first = rig_.state.runs.begin()->first, last = rig_.state.run_counter;
    ASSERT_TRUE(memory_.swap(name(first), name(last)));
    EXPECT_EQ(read().error().code, Errc::object_corrupt);
    ASSERT_TRUE(memory_.swap(name(first), name(last)));
    expect_read_back();
    memory_.script(fakes::BlobOp::get, fakes::BlobFault::unavailable, 1);
    EXPECT_EQ(read().error().code, Errc::blob_unavailable);
    for (std::uint64_t bit : {3U, 40U, 70U * 8U, 9000U * 8U}) {
        ASSERT_TRUE(memory_.flip_bit(name(first), bit));
        EXPECT_EQ(read().error().code, Errc::object_corrupt);
        ASSERT_TRUE(memory_.flip_bit(name(first), bit));
    }
    ASSERT_TRUE(memory_.erase(name(last)));
    EXPECT_EQ(read().error().code, Errc::blob_not_found);
}

}  // namespace
}  // namespace cw::vault
