#include "appliance/descriptors.h"

#include <algorithm>

#include <gtest/gtest.h>
#include <sys/resource.h>

namespace cw::appliance {
namespace {

config::Settings settings_of(std::int64_t connections, std::int64_t reactors) {
    config::Settings settings{};
    settings.egress_total_connections = 64;
    settings.ingest_max_connections = connections;
    settings.ingest_reactors = reactors;
    return settings;
}

// What the reactors may hold at most: those they serve and those they turn away.
std::uint64_t held(std::int64_t connections, std::int64_t reactors) {
    const std::int64_t each = connections / reactors;
    return static_cast<std::uint64_t>(reactors * (each + each / 8 + 16));
}

TEST(Descriptors, A11PeersNeverTakeWhatIsKept) {
    for (const std::int64_t reactors : {1, 2, 7, 64}) {
        const config::Settings settings = settings_of(65536, reactors);
        const std::uint64_t kept = descriptors_kept(settings);
        for (std::uint64_t limit = kept + 1200; limit < 200'000; limit += limit / 7 + 1) {
            const auto fit = connections_within(settings, limit);
            ASSERT_TRUE(fit.has_value()) << limit;
            EXPECT_GE(*fit, reactors);
            EXPECT_LE(held(*fit, reactors) + kept, limit);
        }
    }
}

TEST(Descriptors, AsManyConnectionsAsWereAskedForWhereThereIsRoom) {
    EXPECT_EQ(connections_within(settings_of(512, 1), 1024), 512);
    EXPECT_EQ(connections_within(settings_of(65536, 8), 131072), 65536);
    EXPECT_EQ(connections_within(settings_of(1, 1), RLIM_INFINITY), 1);
}

TEST(Descriptors, MoreUploadsLeaveRoomForFewerPeers) {
    config::Settings settings = settings_of(65536, 1);
    const auto before = connections_within(settings, 4096);
    settings.egress_total_connections += 900;
    const auto after = connections_within(settings, 4096);
    ASSERT_TRUE(before && after);
    EXPECT_NEAR(static_cast<double>(*before - *after), 800, 8);
}

TEST(Descriptors, A11_ALimitThatServesNobodyIsNamedWithOneThatDoes) {
    for (const std::int64_t wanted : {1, 15, 512}) {
        const config::Settings settings = settings_of(wanted, 1);
        const auto refused = connections_within(settings, descriptors_kept(settings) + 16);
        ASSERT_FALSE(refused.has_value());
        EXPECT_EQ(refused.error().code, Errc::config_invalid);
        const std::size_t at = refused.error().detail.find("needs ");
        ASSERT_NE(at, std::string::npos) << refused.error().detail;
        const auto named = std::stoull(refused.error().detail.substr(at + 6));
        EXPECT_TRUE(connections_within(settings, named).has_value());
        EXPECT_FALSE(connections_within(settings, named - 1).has_value());
        EXPECT_GE(*connections_within(settings, named), std::min<std::int64_t>(wanted, 16));
    }
}

TEST(Descriptors, TheSoftLimitIsRaisedToTheHardOne) {
    rlimit before{};
    ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
    rlimit low = before;
    low.rlim_cur = 64;
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &low), 0);
    EXPECT_EQ(raise_descriptor_limit(), before.rlim_max);
    rlimit after{};
    ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &after), 0);
    EXPECT_EQ(after.rlim_cur, before.rlim_max);
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
}

}  // namespace
}  // namespace cw::appliance
