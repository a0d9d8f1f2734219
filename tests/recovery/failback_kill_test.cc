// A failback that is cancelled, killed or told to wait: the old disk is as it was, or is completed.
#include "tests/recovery/failback_site.h"

namespace cw::recovery {
namespace {

using test::Site;
using test::target_path;

class FailbackKill : public test::FailbackTest {};

TEST_F(FailbackKill, E9_ACancelAtAnyMomentLeavesTheTargetAsItWas) {
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

TEST_F(FailbackKill, APowerCutLeavesTheOldDiskOrIsCompletedByTheNextRun) {
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

TEST_F(FailbackKill, AnInterruptedSwitchNeedsNoVault) {
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

TEST_F(FailbackKill, BeginsAnewWhenTheTargetChangedAfterAnInterruptedRun) {
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

TEST_F(FailbackKill, CancelDropsWhatAKilledRunLeft) {
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

TEST_F(FailbackKill, WhatWasCollectedWaitsForItsSwitch) {
    Site site(8 * mib);
    begin(site, site.old_disk(9));
    prepare();
    const VaultPoints source(*site.world.store, *catalog_);
    const auto collected = collect_failback(source, *catalog_, {*disk_, probe_}, request_, {});
    ASSERT_TRUE(collected) << to_string(collected.error());
    EXPECT_EQ((*collected)->report().blocks_different, 9U);
    EXPECT_EQ((*collected)->report().point, site.point);
    EXPECT_TRUE(target_is(old_));
    ASSERT_TRUE((*collected)->complete());
    EXPECT_TRUE(target_is(site.truth));
    EXPECT_FALSE(storage_->exists("/beside/state"));
}

TEST_F(FailbackKill, WhatWasCollectedCanBeDropped) {
    Site site(8 * mib);
    begin(site, site.old_disk(9));
    prepare();
    const VaultPoints source(*site.world.store, *catalog_);
    const auto collected = collect_failback(source, *catalog_, {*disk_, probe_}, request_, {});
    ASSERT_TRUE(collected) << to_string(collected.error());
    ASSERT_TRUE((*collected)->drop());
    EXPECT_TRUE(target_is(old_));
    EXPECT_FALSE(storage_->exists("/beside/state"));
}

TEST_F(FailbackKill, NothingIsCollectedOverASwitchThatHadBegun) {
    Site site(8 * mib);
    begin(site, site.old_disk(9));
    ASSERT_TRUE(run());
    for (std::uint64_t at = disk_->operations(); at > 0; --at) {
        fresh(at);
        ASSERT_FALSE(run());
        if (phase().value() == volume::Phase::switching) {
            break;
        }
    }
    ASSERT_EQ(phase().value(), volume::Phase::switching);
    reopen(0);
    const VaultPoints source(*site.world.store, *catalog_);
    const auto collected = collect_failback(source, *catalog_, {*disk_, probe_}, request_, {});
    ASSERT_FALSE(collected);
    EXPECT_EQ(collected.error().code, Errc::target_switching);
    ASSERT_TRUE(run());
    EXPECT_TRUE(target_is(site.truth));
}

}  // namespace
}  // namespace cw::recovery
