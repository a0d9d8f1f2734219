#include "pipeline/fence.h"
#include "tests/volume/volume_rig.h"

namespace cw::volume::test {
namespace {

TEST_F(VolumeTest, TargetIsUntouchedUntilTheSwitchAndThenIsThePoint) {
    for (std::uint64_t seed = 1; seed <= 10; ++seed) {
        const Stream stream(seed);
        begin(stream, seed);
        auto writer = open().value();
        ASSERT_TRUE(feed(*writer, stream));
        EXPECT_EQ(target(), stream.original());
        const PointId last = stream.steps.back().point;
        ASSERT_EQ(writer->point()->id, last);
        ASSERT_TRUE(writer->begin_switch(last));
        EXPECT_EQ(target(), stream.original());
        ASSERT_TRUE(finish(*writer));
        EXPECT_EQ(target(), stream.steps.back().image) << "seed " << seed;
        EXPECT_FALSE(storage_->exists("/beside/overlay"));
    }
}

// The simulated disk refuses what a device would: memory, offsets and lengths that are not whole.
TEST_F(VolumeTest, ADeviceIsReadAndWrittenPastThePageCache) {
    probe_.name = "device of-a-test";
    const Stream stream(11);
    begin(stream, 11);
    auto writer = open().value();
    ASSERT_TRUE(feed(*writer, stream));
    ByteVector held(3000);
    ASSERT_TRUE(writer->read_target(512, held));  // Neither begins nor ends with a block.
    EXPECT_TRUE(std::ranges::equal(held, Bytes(stream.original()).subspan(512, held.size())));
    ASSERT_TRUE(writer->read_target(0, held = ByteVector(disk_size)));
    EXPECT_EQ(held, stream.original());
    const PointId last = stream.steps.back().point;
    ASSERT_TRUE(writer->begin_switch(last));
    ASSERT_TRUE(finish(*writer));
    EXPECT_EQ(target(), stream.steps.back().image);
}

TEST_F(VolumeTest, PowerCutAtAnyOperationLeavesTheTargetOldOrMakesItThePoint) {
    std::uint64_t cuts = 0, switched = 0, untouched = 0;
    for (std::uint64_t seed = 1; seed <= 4; ++seed) {
        const Stream stream(seed);
        for (std::uint64_t at = 1 + seed; cuts < 4000; at += 3) {
            begin(stream, seed * 1000 + at);
            disk_ = std::make_unique<CutDisk>(*storage_, at);
            bool switch_promised = false;
            const auto run = [&]() -> Result<void> {
                CW_TRY_ASSIGN(auto writer, open());
                CW_TRY(feed(*writer, stream));
                CW_TRY(writer->begin_switch(stream.steps.back().point));
                switch_promised = true;
                return finish(*writer);
            };
            const bool whole = run().has_value();
            if (whole && !disk_->cut()) {
                break;  // The cut would come after the end.
            }
            ++cuts;
            disk_ = std::make_unique<CutDisk>(*storage_, 0);
            auto writer = open();
            ASSERT_TRUE(writer.has_value()) << to_string(writer.error()) << " cut " << at;
            PointId expected = stream.steps.back().point;
            if ((*writer)->phase() == Phase::collecting) {
                ++untouched;
                EXPECT_FALSE(switch_promised);
                EXPECT_EQ(target(), stream.original()) << "seed " << seed << " cut " << at;
                if (at % 2 == 0 && (*writer)->point()) {
                    expected = (*writer)->point()->id;  // What it says it holds, it must hold.
                } else {
                    ASSERT_TRUE(feed(**writer, stream));
                }
                ASSERT_TRUE((*writer)->begin_switch(expected));
            } else {
                ++switched;
                if ((*writer)->phase() == Phase::switching) {
                    EXPECT_EQ((*writer)->cancel().error().code, Errc::target_switching);
                }
            }
            ASSERT_TRUE(finish(**writer));
            EXPECT_TRUE(target() == image_of(stream, expected)) << "seed " << seed << " cut " << at;
        }
    }
    EXPECT_GT(untouched, 50U);
    EXPECT_GT(switched, 5U);
}

// The sync of the redo log is what a point stands on: whatever the power takes after take() of a
// point, the next start holds it.
TEST_F(VolumeTest, PowerCutRightAfterAPointWasTakenLosesNothingOfIt) {
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        const Stream stream(seed);
        for (const Step* const point : points_of(stream)) {
            begin(stream, seed);
            auto writer = open().value();
            for (const Step& step : stream.steps) {
                ASSERT_TRUE(writer->take(step.make(*pool_)));
                if (&step == point) {
                    break;  // Not merged yet.
                }
                ASSERT_TRUE(merge(*writer));
            }
            writer.reset();
            storage_->power_cut();
            disk_ = std::make_unique<CutDisk>(*storage_, 0);
            writer = open().value();
            ASSERT_TRUE(writer->point().has_value()) << "seed " << seed;
            EXPECT_EQ(writer->point()->id, point->point) << "seed " << seed;
            ASSERT_TRUE(writer->begin_switch(point->point));
            ASSERT_TRUE(finish(*writer));
            EXPECT_TRUE(target() == point->image) << "seed " << seed;
        }
    }
}

TEST_F(VolumeTest, WhateverSyncHasPromisedSurvivesAPowerCut) {
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        const Stream stream(seed);
        for (std::size_t stop = 1; stop + 1 < stream.steps.size(); stop += 3) {
            begin(stream, seed * 100 + stop);
            auto writer = open().value();
            for (std::size_t i = 0; i < stop; ++i) {
                ASSERT_TRUE(take(*writer, stream.steps[i]));
            }
            ASSERT_TRUE(writer->sync());
            const Seq promised = writer->durable();
            EXPECT_EQ(promised, writer->received());
            writer.reset();
            storage_->power_cut();
            disk_ = std::make_unique<CutDisk>(*storage_, 0);
            writer = open().value();
            EXPECT_EQ(writer->received(), promised) << "seed " << seed << " after " << stop;
        }
    }
}

TEST_F(VolumeTest, CancelAtAnyMomentBeforeTheSwitchLeavesTheTargetAsItWas) {
    const Stream stream(5);
    std::size_t moments = 0;
    for (std::size_t stop = 0; stop <= stream.steps.size(); stop += 2, ++moments) {
        begin(stream, stop);
        auto writer = open().value();
        for (std::size_t i = 0; i < stop; ++i) {
            ASSERT_TRUE(take(*writer, stream.steps[i]));
        }
        ASSERT_TRUE(writer->cancel());
        EXPECT_EQ(target(), stream.original());
        EXPECT_FALSE(writer->point().has_value());
        // And it can begin again.
        ASSERT_TRUE(feed(*writer, stream));
        ASSERT_TRUE(writer->begin_switch(stream.steps.back().point));
        ASSERT_TRUE(finish(*writer));
        EXPECT_EQ(target(), stream.steps.back().image);
    }
    EXPECT_GE(moments, 10U);
}

TEST_F(VolumeTest, AfterTheSwitchNothingIsCancelledAndNothingElseIsTaken) {
    const Stream stream(6);
    begin(stream, 1);
    auto writer = open().value();
    ASSERT_TRUE(feed(*writer, stream));
    ASSERT_TRUE(writer->begin_switch(stream.steps.back().point));
    EXPECT_EQ(writer->cancel().error().code, Errc::target_switching);
    EXPECT_EQ(writer->take(stream.steps[0].make(*pool_)).error().code, Errc::target_switching);
    ASSERT_TRUE(writer->apply_some(4096));
    writer = open().value();
    EXPECT_EQ(writer->phase(), Phase::switching);
    ASSERT_TRUE(finish(*writer));
    EXPECT_EQ(target(), stream.steps.back().image);
}

TEST_F(VolumeTest, E11_UnsafeTargetsAreRefused) {
    const Stream stream(7);
    begin(stream, 1);
    probe_.used = true;
    EXPECT_EQ(open().error().code, Errc::target_unsafe);
    probe_.used = false;
    VolumeWriter::Options other_size = options(), other_disk = options();
    other_size.size_bytes += 512;
    other_disk.work_directory = "/beside2";
    other_disk.expected_identity = "somebody else";
    EXPECT_EQ(VolumeWriter::open(other_size, {*disk_, probe_}).error().code, Errc::target_unsafe);
    EXPECT_EQ(VolumeWriter::open(other_disk, {*disk_, probe_}).error().code, Errc::target_unsafe);
    begin(stream, 2);
    auto writer = open().value();
    ASSERT_TRUE(feed(*writer, stream));
    probe_.used = true;  // Mounted meanwhile.
    EXPECT_EQ(writer->begin_switch(stream.steps.back().point).error().code, Errc::target_unsafe);
    EXPECT_EQ(target(), stream.original());
    probe_.used = false;
    probe_.name = "file 9 9";  // Exchanged meanwhile.
    EXPECT_EQ(writer->begin_switch(stream.steps.back().point).error().code, Errc::target_unsafe);
    EXPECT_EQ(open().error().code, Errc::target_unsafe);
}

TEST_F(VolumeTest, OnlyTheHeldPointCanBeSwitchedTo) {
    const Stream stream(8);
    begin(stream, 1);
    auto writer = open().value();
    EXPECT_EQ(writer->begin_switch(stream.steps.back().point).error().code, Errc::point_not_found);
    ASSERT_TRUE(feed(*writer, stream));
    EXPECT_EQ(writer->begin_switch(PointId{{std::byte{7}}}).error().code, Errc::point_not_found);
}

TEST_F(VolumeTest, DigestsAreOfWhatTheTargetWouldBeOrUnknown) {
    const Stream stream(9);
    begin(stream, 1);
    auto writer = open().value();
    FingerprintSecret secret{};
    const auto of = [&](const ByteVector& image, std::size_t i) {
        return fingerprint(Bytes(image).subspan(i * 64 * kib, 64 * kib), secret);
    };
    auto digests = writer->digests(0, 12, secret).value();
    for (std::size_t i = 0; i < 8; ++i) {
        EXPECT_EQ(digests[i], of(stream.original(), i));
    }
    EXPECT_FALSE(digests[8].has_value());  // The partial last block.
    EXPECT_FALSE(digests[11].has_value());
    ASSERT_TRUE(writer->take(stream.steps[0].make(*pool_)));
    ASSERT_TRUE(writer->take(stream.steps[4].make(*pool_)));  // BASE of the first block
    EXPECT_FALSE(writer->digests(0, 1, secret).value()[0].has_value());
    writer->cancel().value();
    ASSERT_TRUE(feed(*writer, stream));
    digests = writer->digests(0, 8, secret).value();
    for (std::size_t i = 0; i < 8; ++i) {
        EXPECT_EQ(digests[i], of(stream.steps.back().image, i));
    }
}

TEST_F(VolumeTest, GapsForeignBaseAndDamageAreRefusedDuplicatesAreNot) {
    const Stream stream(10);
    begin(stream, 1);
    auto writer = open().value();
    EXPECT_EQ(writer->take(stream.steps[1].make(*pool_)).error().code, Errc::generation_mismatch);
    ASSERT_TRUE(writer->take(stream.steps[0].make(*pool_)));
    ASSERT_TRUE(writer->take(stream.steps[0].make(*pool_)));  // Sent again after a reconnect.
    EXPECT_EQ(writer->take(stream.steps[2].make(*pool_)).error().code, Errc::seq_gap);
    Record base = stream.steps[4].make(*pool_);
    base.header.seq = Seq{7};
    EXPECT_EQ(writer->take(base).error().code, Errc::generation_mismatch);
    Record damaged = stream.steps[4].make(*pool_);
    damaged.slabs[0].data()[5] ^= std::byte{1};
    EXPECT_EQ(writer->take(damaged).error().code, Errc::payload_corrupt);
    EXPECT_EQ(writer->take(stream.steps.back().make(*pool_)).error().code, Errc::seq_gap);
    // A fence that covers only what changed since the sequence that it follows.
    Record resumed = stream.steps[0].make(*pool_);
    resumed.header.aux = pipeline::resync_kind_resume;
    resumed.header.seq = advance(writer->received(), 100);
    resumed.header.ordinal = pipeline::ordinal_of(next(writer->received()));
    EXPECT_EQ(writer->take(resumed).error().code, Errc::seq_gap);
    resumed.header.ordinal = pipeline::ordinal_of(writer->received());
    EXPECT_TRUE(writer->take(resumed));
}

TEST_F(VolumeTest, ATargetThatSomebodyElseWroteToIsNotSwitched) {
    const Stream stream(11);
    begin(stream, 1);
    auto writer = open().value();
    ASSERT_TRUE(feed(*writer, stream));
    const PointId point = writer->point()->id;
    EXPECT_TRUE(writer->check_untouched());
    probe_.written = 8;
    EXPECT_EQ(writer->check_untouched().error().code, Errc::target_unsafe);
    const auto refused = writer->begin_switch(point);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Errc::target_unsafe);
    EXPECT_NE(refused.error().detail.find("causeway target cancel"), std::string::npos);
    writer.reset();
    writer = open().value();  // Also after a restart.
    EXPECT_FALSE(writer->begin_switch(point));
    writer->cancel().value();
    ASSERT_TRUE(feed(*writer, stream));
    EXPECT_TRUE(writer->begin_switch(point));
}

// As on a file system that turned read-only: behind the switch nobody could give it up.
TEST_F(VolumeTest, ATargetThatCannotBeWrittenIsNotSwitched) {
    const Stream stream(12);
    begin(stream, 1);
    auto writer = open().value();
    ASSERT_TRUE(feed(*writer, stream));
    const PointId point = writer->point()->id;
    disk_->read_only = options().target_path;
    const auto refused = writer->begin_switch(point);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Errc::target_unsafe);
    EXPECT_TRUE(writer->cancel());
    EXPECT_EQ(target(), stream.original());
    disk_->read_only.clear();
    ASSERT_TRUE(feed(*writer, stream));
    EXPECT_TRUE(writer->begin_switch(point));
}

// Hours of collecting for a target that takes nothing would end in a refusal.
TEST_F(VolumeTest, NothingIsCollectedForATargetThatCannotBeWritten) {
    begin(Stream(12), 1);
    disk_->read_only = options().target_path;
    const auto refused = open();
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Errc::target_unsafe);
    disk_->read_only.clear();
    EXPECT_TRUE(open());  // Nothing of the refusal is left.
}

}  // namespace
}  // namespace cw::volume::test
