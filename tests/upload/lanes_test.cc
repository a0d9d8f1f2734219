#include "egress/upload/lanes.h"

#include <algorithm>
#include <deque>
#include <map>

#include <gtest/gtest.h>

namespace cw::upload {
namespace {

constexpr WallMicros noon{1'700'000'000'000'000};  // A Tuesday, 22:13 UTC.

class LanesTest : public testing::Test {
protected:
    static MachineId machine(std::uint8_t number) {
        MachineId id;
        id.bytes[0] = std::byte{number};
        return id;
    }
    SegmentWork& add(Lanes& lanes, std::uint8_t number, Nanos deadline, std::size_t bytes = 1000) {
        SegmentWork& work = *works.emplace_back(std::make_unique<SegmentWork>());
        work.machine = machine(number);
        work.step = StepId{works.size()};
        work.deadline = deadline;
        work.tail.resize(bytes - vault::segment_header_bytes);
        work.phase = SegmentPhase::ready;
        lanes.add(work);
        return work;
    }
    std::vector<std::unique_ptr<SegmentWork>> works;
    Nanos now{100 * ns_per_s};
};

TEST_F(LanesTest, AMachineUsesNoMoreThanItsLanes) {
    Lanes lanes({.upload_threads_per_vm = 2, .total_connections = 10}, {});
    for (int i = 0; i < 5; ++i) {
        add(lanes, 1, now);
    }
    EXPECT_NE(lanes.take(now, noon), nullptr);
    EXPECT_NE(lanes.take(now, noon), nullptr);
    EXPECT_EQ(lanes.take(now, noon), nullptr);
    lanes.set({.upload_threads_per_vm = 3, .total_connections = 10});  // Live.
    EXPECT_NE(lanes.take(now, noon), nullptr);
    EXPECT_EQ(lanes.take(now, noon), nullptr);
    lanes.set({.upload_threads_per_vm = 1, .total_connections = 10});
    lanes.finished(machine(1), false);
    EXPECT_EQ(lanes.take(now, noon), nullptr);
}

TEST_F(LanesTest, AllMachinesTogetherUseNoMoreThanTheTotal) {
    Lanes lanes({.upload_threads_per_vm = 4, .total_connections = 10}, {});
    std::deque<MachineId> sending;
    const auto start_all = [&] {
        while (const SegmentWork* const work = lanes.take(now, noon)) {
            sending.push_back(work->machine);
        }
    };
    for (int i = 0; i < 100; ++i) {
        add(lanes, static_cast<std::uint8_t>(i % 20), now);
    }
    start_all();
    EXPECT_EQ(sending.size(), 10U);
    lanes.set({.upload_threads_per_vm = 4, .total_connections = 12});  // Live.
    start_all();
    EXPECT_EQ(sending.size(), 12U);
    lanes.set(
        {.upload_threads_per_vm = 4, .total_connections = 3});  // What is sent is not cut off.
    std::size_t finished = 0;
    while (!sending.empty()) {
        lanes.finished(sending.front(), false);
        sending.pop_front();
        ++finished;
        start_all();
        ASSERT_LE(sending.size(), std::max<std::size_t>(3, 12 - finished));
    }
    EXPECT_EQ(finished, 100U);
    EXPECT_EQ(lanes.in_use(), 0U);
    EXPECT_EQ(lanes.waiting_bytes(), 0U);
}

TEST_F(LanesTest, TheNearestDeadlineGoesFirst) {
    Lanes lanes({.upload_threads_per_vm = 4, .total_connections = 10}, {});
    add(lanes, 1, now + 9 * ns_per_s);
    const SegmentWork& urgent = add(lanes, 2, now + 1 * ns_per_s);
    EXPECT_EQ(lanes.take(now, noon), &urgent);
}

TEST_F(LanesTest, TheLateShareAlike) {
    Lanes lanes({.upload_threads_per_vm = 32, .total_connections = 64}, {});
    for (int i = 0; i < 20; ++i) {
        add(lanes, 1, now + -1000 * ns_per_s);  // A backlog, hopelessly late.
    }
    for (int i = 0; i < 4; ++i) {
        add(lanes, 2, now + -1 * ns_per_s);
    }
    for (int i = 0; i < 8; ++i) {
        ASSERT_NE(lanes.take(now, noon), nullptr);
    }
    EXPECT_EQ(lanes.in_use(machine(1)), 4U);
    EXPECT_EQ(lanes.in_use(machine(2)), 4U);
}

TEST_F(LanesTest, ThrottlingHalvesTheWindowAndSuccessOpensItAgain) {
    Lanes lanes({.upload_threads_per_vm = 32, .total_connections = 16}, {});
    add(lanes, 1, now);
    lanes.take(now, noon);
    lanes.finished(machine(1), true);
    EXPECT_EQ(lanes.allowed(), 8U);
    for (int i = 0; i < 200; ++i) {
        add(lanes, 1, now);
        ASSERT_NE(lanes.take(now, noon), nullptr);
        lanes.finished(machine(1), false);
    }
    EXPECT_EQ(lanes.allowed(), 16U);
}

TEST_F(LanesTest, AnIdleMachineHoldsNothing) {
    Lanes lanes({}, {});
    SegmentWork& work = add(lanes, 1, now);
    lanes.remove(work);
    EXPECT_EQ(lanes.waiting(machine(1)), 0U);
    EXPECT_EQ(lanes.waiting_bytes(), 0U);
    EXPECT_EQ(lanes.take(now, noon), nullptr);
    EXPECT_EQ(lanes.next_start(now), Nanos{INT64_MAX});
}

TEST_F(LanesTest, ThePauseOfAFailedSegmentIsKept) {
    Lanes lanes({}, {});
    add(lanes, 1, now).not_before = now + ns_per_s;
    EXPECT_EQ(lanes.take(now, noon), nullptr);
    EXPECT_EQ(lanes.next_start(now), now + ns_per_s);
    EXPECT_NE(lanes.take(now + ns_per_s, noon), nullptr);
}

TEST_F(LanesTest, BandwidthKeepsItsMeanWhateverTheSizes) {
    Lanes lanes({.upload_threads_per_vm = 32, .total_connections = 64},
                {.bytes_per_s = 100'000, .rules = {}, .utc_offset_minutes = 0});
    std::uint64_t sent = 0;
    for (int i = 0; i < 4000; ++i) {
        add(lanes, 1, now, 1000 + 700 * (i % 30));
    }
    for (int ms = 0; ms < 60'000; ms += 10) {
        while (SegmentWork* const work = lanes.take(now + ms * ns_per_ms, noon)) {
            sent += work->object_bytes();
            lanes.finished(machine(1), false);
        }
    }
    EXPECT_GE(sent, 59 * 100'000U);
    EXPECT_LE(sent, 62 * 100'000U);
    lanes.set_bandwidth({});  // Live: no limit.
    EXPECT_NE(lanes.take(now + 61 * ns_per_s, noon), nullptr);
    EXPECT_NE(lanes.take(now + 61 * ns_per_s, noon), nullptr);
}

TEST_F(LanesTest, UnderALimitMachinesShareAlikeWhateverTheirBacklogAndSizes) {
    Lanes lanes({.upload_threads_per_vm = 4, .total_connections = 64},
                {.bytes_per_s = 1'000'000, .rules = {}, .utc_offset_minutes = 0});
    for (int i = 0; i < 600; ++i) {
        add(lanes, 1, now + -100 * ns_per_s, 100'000);
        add(lanes, 2, now + -1 * ns_per_s, 30'000);
    }
    std::map<MachineId, std::uint64_t> sent;
    for (int ms = 0; ms < 20'000; ms += 10) {
        while (SegmentWork* const work = lanes.take(now + ms * ns_per_ms, noon)) {
            sent[work->machine] += work->object_bytes();
            lanes.finished(work->machine, false);
        }
    }
    EXPECT_NEAR(static_cast<double>(sent[machine(1)]), static_cast<double>(sent[machine(2)]),
                200'000.0);
}

TEST_F(LanesTest, WhatIsOnTheWireSharesTheLimit) {
    Lanes lanes({.upload_threads_per_vm = 4, .total_connections = 64},
                {.bytes_per_s = 1'000'000, .rules = {}, .utc_offset_minutes = 0});
    for (int i = 0; i < 4; ++i) {
        add(lanes, 1, now, 1000);
    }
    ASSERT_NE(lanes.take(now, noon), nullptr);
    EXPECT_EQ(lanes.pace(), 1'000'000U);
    ASSERT_NE(lanes.take(now + ns_per_s, noon), nullptr);
    EXPECT_EQ(lanes.pace(), 500'000U);
    lanes.finished(machine(1), false);
    EXPECT_EQ(lanes.pace(), 1'000'000U);
    lanes.set_bandwidth({});
    ASSERT_NE(lanes.take(now + 2 * ns_per_s, noon), nullptr);
    EXPECT_EQ(lanes.pace(), 0U);
}

TEST(BandwidthRules, FollowWeekdayAndHour) {
    BandwidthOptions options;
    options.bytes_per_s = 7;
    options.rules = {
        {.days = 0b0001'1111, .from_minute = 480, .to_minute = 1080, .bytes_per_s = 1},
        {.days = 0b0001'0000, .from_minute = 1320, .to_minute = 360, .bytes_per_s = 2}};
    // 2023-11-14 was a Tuesday; midnight UTC.
    const std::int64_t tuesday_us = 1'699'920'000'000'000;
    const auto at = [&](int day, int hour) {
        return limit_at(options, WallMicros{tuesday_us + (day * 24 + hour) * 3'600'000'000LL});
    };
    EXPECT_EQ(at(0, 9), 1U);
    EXPECT_EQ(at(0, 19), 7U);
    EXPECT_EQ(at(3, 23), 2U);  // Friday night …
    EXPECT_EQ(at(4, 5), 2U);   // … until Saturday morning.
    EXPECT_EQ(at(4, 7), 7U);
    EXPECT_EQ(at(3, 5), 7U);  // Friday morning belongs to Thursday's night, which has no rule.
    options.utc_offset_minutes = 120;
    EXPECT_EQ(at(0, 7), 1U);
}

}  // namespace
}  // namespace cw::upload
