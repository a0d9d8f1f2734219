// What the engine is told is what the settings say, in its own units; and its local time is that of
// the clock on the wall, also after the clocks were changed.
#include "appliance/engine_options.h"

#include "appliance/bandwidth_schedule.h"
#include "appliance/point_policies.h"
#include "appliance/resync_window.h"
#include "egress/upload/bandwidth.h"

#include <cstdlib>
#include <ctime>
#include <optional>
#include <string>

#include <gtest/gtest.h>

namespace cw::appliance {
namespace {

constexpr std::int64_t us_per_hour = 3'600'000'000;
// 2026-03-29 01:00 UTC: central Europe's clocks go from 02:00 to 03:00. A Sunday.
constexpr WallMicros change{1'774'746'000'000'000};

// A time zone that needs no files. The former one comes back.
class TimeZone {
public:
    explicit TimeZone(const char* rules) {
        const char* const before = std::getenv("TZ");
        before_ = before == nullptr ? std::nullopt : std::optional<std::string>(before);
        ::setenv("TZ", rules, 1);
        ::tzset();
    }
    ~TimeZone() {
        before_ ? ::setenv("TZ", before_->c_str(), 1) : ::unsetenv("TZ");
        ::tzset();
    }
    TimeZone(const TimeZone&) = delete;
    TimeZone& operator=(const TimeZone&) = delete;

private:
    std::optional<std::string> before_;
};

config::Settings parsed(const std::string& toml) {
    auto settings = config::parse_settings(toml, "test");
    EXPECT_TRUE(settings) << settings.error().detail;
    return settings ? *settings : config::default_settings();
}

class EngineOptionsTest : public testing::Test {
protected:
    void set_wall(WallMicros at) { clock_.jump_wall(raw(at) - raw(clock_.wall())); }
    std::uint64_t limit_at_hour(const upload::BandwidthOptions& options, WallMicros midnight,
                                double hour) const {
        return upload::limit_at(
            options, WallMicros{raw(midnight) + static_cast<std::int64_t>(hour * us_per_hour)});
    }
    TimeZone zone_{"CET-1CEST,M3.5.0,M10.5.0/3"};
    ManualClock clock_;
    // Monday 2026-01-05 00:00 of that zone.
    const WallMicros monday_{1'767'567'600'000'000};
    const std::int64_t day_us_ = 24 * us_per_hour;
};

TEST_F(EngineOptionsTest, WindowsAreOfTheirDaysAndMinutesAndInBytes) {
    set_wall(monday_);
    const auto options = bandwidth_options(parsed("[egress]\n"
                                                  "bandwidth = \"800Mbps\"\n"
                                                  "[[egress.schedule]]\n"
                                                  "days = [\"mon\", \"wed\"]\n"
                                                  "from = \"08:30\"\n"
                                                  "to = \"18:00\"\n"
                                                  "limit = \"8Mbps\"\n"
                                                  "[[egress.schedule]]\n"
                                                  "days = [\"sun\"]\n"
                                                  "from = \"22:00\"\n"
                                                  "to = \"06:00\"\n"
                                                  "limit = \"80Mbps\"\n"),
                                           clock_);
    EXPECT_EQ(options.utc_offset_minutes, 60);
    const std::uint64_t outside = 100'000'000, day = 1'000'000, night = 10'000'000;
    const auto at = [&](int days, double hour) {
        return limit_at_hour(options, WallMicros{raw(monday_) + days * day_us_}, hour);
    };
    EXPECT_EQ(at(0, 8.49), outside);
    EXPECT_EQ(at(0, 8.5), day);
    EXPECT_EQ(at(0, 17.99), day);
    EXPECT_EQ(at(0, 18), outside);
    EXPECT_EQ(at(1, 12), outside) << "Tuesday";
    EXPECT_EQ(at(2, 12), day) << "Wednesday";
    EXPECT_EQ(at(6, 21.99), outside) << "Sunday";
    EXPECT_EQ(at(6, 22), night);
    EXPECT_EQ(at(7, 5.99), night) << "the night that began on Sunday";
    EXPECT_EQ(at(7, 6), outside);
    EXPECT_EQ(at(1, 1), outside) << "the night that began on Monday";
}

TEST_F(EngineOptionsTest, AWindowThatEndsWhenItBeginsIsAWholeDay) {
    set_wall(monday_);
    const auto all_week =
        bandwidth_options(parsed("[[egress.schedule]]\nlimit = \"8Mbps\"\n"), clock_);
    const auto monday =
        bandwidth_options(parsed("[[egress.schedule]]\ndays = [\"mon\"]\nfrom = \"22:00\"\n"
                                 "to = \"22:00\"\nlimit = \"8Mbps\"\n"),
                          clock_);
    for (const double hour : {0.0, 12.0, 21.9, 22.0, 23.9}) {
        EXPECT_EQ(limit_at_hour(all_week, monday_, hour), 1'000'000U) << hour;
        EXPECT_EQ(limit_at_hour(monday, monday_, hour), hour < 22 ? 0U : 1'000'000U) << hour;
        EXPECT_EQ(limit_at_hour(monday, monday_, hour + 24), hour < 22 ? 1'000'000U : 0U) << hour;
    }
}

TEST_F(EngineOptionsTest, EachSettingReachesItsOwnField) {
    const auto settings = parsed(
        "[pipeline]\ncompression = \"zstd\"\nzstd_level = 7\n"
        "verify = \"sampled\"\nsegment_window = \"16MiB\"\n"
        "compute_threads = 3\nmemory = \"960MiB\"\n"
        "[egress]\nupload_threads_per_vm = 5\ntotal_connections = 11\n"
        "commit_interval = \"700ms\"\nsegment_deadline = \"9s\"\n");
    const auto options = engine_options(settings, clock_, {.ingest = 100, .readback = 12});
    EXPECT_EQ(options.lanes.upload_threads_per_vm, 5U);
    EXPECT_EQ(options.lanes.total_connections, 11U);
    EXPECT_EQ(options.codec.mode, *pipeline::parse_compression("zstd"));
    EXPECT_EQ(options.codec.zstd_level, 7);
    EXPECT_EQ(options.verify, pipeline::VerifyMode::sampled);
    EXPECT_EQ(options.segment_raw_bytes, 16 * mib);
    EXPECT_EQ(options.commit_interval_ns, 700 * ns_per_ms);
    EXPECT_EQ(options.seal_after_ns, 9 * ns_per_s);
    EXPECT_EQ(options.segment_slabs, 12U);
    EXPECT_EQ(options.ingest_slabs_low, 25U);
    EXPECT_EQ(options.chain_bytes_max, 20 * mib);
    EXPECT_EQ(compute_workers(settings), 3U);
    EXPECT_EQ(engine_options(parsed("[pipeline]\nverify = \"off\"\n"), clock_, {}).verify,
              pipeline::VerifyMode::off);
    EXPECT_EQ(engine_options(parsed(""), clock_, {}).verify, pipeline::VerifyMode::full);
}

TEST(ResyncWindow, OpensAtItsHourOfTheLocalDayAndIsOpenUntilItsEnd) {
    constexpr std::int64_t minute = 60'000'000, day = 1440 * minute;
    const auto opens = [](std::string_view window, std::int64_t at, std::int32_t offset = 0) {
        return raw(window_opens(window, WallMicros{20'000 * day + at}, offset)) - 20'000 * day;
    };
    EXPECT_EQ(opens("", 600 * minute), 600 * minute);
    EXPECT_EQ(opens("08:00-08:00", 600 * minute), 600 * minute);
    EXPECT_EQ(opens("08:00-18:00", 480 * minute), 480 * minute);
    EXPECT_EQ(opens("08:00-18:00", 1080 * minute - 1), 1080 * minute - 1);
    EXPECT_EQ(opens("08:00-18:00", 1080 * minute), day + 480 * minute);
    EXPECT_EQ(opens("08:00-18:00", 479 * minute + 7), 480 * minute);
    EXPECT_EQ(opens("22:00-06:30", 389 * minute), 389 * minute);
    EXPECT_EQ(opens("22:00-06:30", 390 * minute), 1320 * minute);
    EXPECT_EQ(opens("22:00-06:30", 1439 * minute), 1439 * minute);
    EXPECT_EQ(opens("22:00-24:00", 1439 * minute), 1439 * minute);
    EXPECT_EQ(opens("22:00-24:00", 0), 1320 * minute);
    EXPECT_EQ(opens("08:00-18:00", 420 * minute, 60), 420 * minute) << "08:00 of a zone east";
    EXPECT_EQ(opens("08:00-18:00", 480 * minute, -60), 540 * minute);
}

TEST(PointPolicies, AreTheSettingsAndWhatIsDifferentForAMachine) {
    const auto machine = parse_id<MachineId>("6ba7b810-9dad-11d1-80b4-00c04fd430c8");
    ASSERT_TRUE(machine);
    const auto policies =
        point_policies(parsed("[points]\ninterval = \"7s\"\napp_interval = \"2h\"\n"
                              "[[policy]]\nmachine = \"6ba7b810-9dad-11d1-80b4-00c04fd430c8\"\n"
                              "app_interval = \"0s\"\n"));
    EXPECT_EQ(policies.fallback, (wire::Policy{7'000, 7'200'000}));
    ASSERT_EQ(policies.by_machine.size(), 1U);
    EXPECT_EQ(policies.by_machine.at(*machine), (wire::Policy{7'000, 0}));
}

TEST_F(EngineOptionsTest, TheScheduleFollowsTheClocksWithinAMinute) {
    set_wall(WallMicros{raw(change) - 30'000'000});
    const auto settings =
        parsed("[[egress.schedule]]\nfrom = \"08:00\"\nto = \"18:00\"\nlimit = \"8Mbps\"\n");
    BandwidthSchedule schedule(settings, clock_);
    EXPECT_EQ(schedule.set(settings).utc_offset_minutes, 60);
    EXPECT_FALSE(schedule.moved());
    clock_.advance(59 * ns_per_s);
    EXPECT_FALSE(schedule.moved()) << "looks once a minute";
    clock_.advance(1 * ns_per_s);
    const auto summer = schedule.moved();
    ASSERT_TRUE(summer);
    EXPECT_EQ(summer->utc_offset_minutes, 120);
    // Monday 08:00 of the new time is 06:00 UTC.
    const WallMicros next_day{raw(change) + 23 * us_per_hour};
    EXPECT_EQ(limit_at_hour(*summer, next_day, 5.99), 0U);
    EXPECT_EQ(limit_at_hour(*summer, next_day, 6), 1'000'000U);
    clock_.advance(3600 * ns_per_s);
    EXPECT_FALSE(schedule.moved()) << "told once";
}

TEST_F(EngineOptionsTest, OtherSettingsAreToldWithTheOffsetOfNow) {
    set_wall(WallMicros{raw(change) - 1});
    BandwidthSchedule schedule(parsed(""), clock_);
    clock_.advance(ns_per_s);
    const auto told = schedule.set(parsed("[egress]\nbandwidth = \"8Mbps\"\n"));
    EXPECT_EQ(told.utc_offset_minutes, 120);
    EXPECT_EQ(told.bytes_per_s, 1'000'000U);
    clock_.advance(60 * ns_per_s);
    EXPECT_FALSE(schedule.moved());
}

}  // namespace
}  // namespace cw::appliance
