// Settings: what a person writes is either taken exactly or refused with line and key.
#include "config/settings.h"

#include <array>
#include <fstream>
#include <sstream>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

namespace cw::config {
namespace {

std::string refusal(std::string_view toml) {
    const auto settings = parse_settings(toml, "f.toml");
    EXPECT_FALSE(settings.has_value());
    if (settings) {
        return {};
    }
    EXPECT_EQ(settings.error().code, Errc::config_invalid);
    return settings.error().detail;
}

// As `--config <(…)` gives it: read as empty, whatever stands in it would be valid.
TEST(Settings, StandInAPipeAsInAFile) {
    const auto disk = make_posix_disk();
    const auto load_through_pipe = [&](std::string_view toml) {
        std::array<int, 2> ends{};
        EXPECT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
        EXPECT_EQ(::write(ends[1], toml.data(), toml.size()), static_cast<ssize_t>(toml.size()));
        ::close(ends[1]);
        auto settings = load_settings(*disk, "/proc/self/fd/" + std::to_string(ends[0]));
        ::close(ends[0]);
        return settings;
    };
    const auto settings = load_through_pipe("[server]\nname = \"from a pipe\"\n");
    ASSERT_TRUE(settings) << to_string(settings.error());
    EXPECT_EQ(settings->server_name, "from a pipe");
    const auto garbage = load_through_pipe("garbage [[[");
    ASSERT_FALSE(garbage);
    EXPECT_EQ(garbage.error().code, Errc::config_invalid);
}

TEST(Settings, EveryDefaultLiesWithinItsOwnRange) {
    const Settings settings = default_settings();
    EXPECT_EQ(settings.egress_upload_threads_per_vm, 4);
    EXPECT_EQ(settings.ingest_listen, ":9443");
    EXPECT_EQ(settings.points_interval_ms, 300'000U);
    EXPECT_EQ(settings.egress_bandwidth, 0U);
}

TEST(Settings, TakesEachKindAsWritten) {
    const auto settings = parse_settings(
        "[egress]\nupload_threads_per_vm = 32\nbandwidth = \"100Mbps\"\n"
        "[cache]\nsize = \"1GiB\"\nio_uring = false\n"
        "[points]\ninterval = \"5s\"\n[pipeline]\ncompression = \"lz4\"\nzstd_level = -5\n",
        "f.toml");
    ASSERT_TRUE(settings.has_value()) << settings.error().detail;
    EXPECT_EQ(settings->egress_upload_threads_per_vm, 32);
    EXPECT_EQ(settings->egress_bandwidth, 12'500'000U);
    EXPECT_EQ(settings->cache_size, gib);
    EXPECT_FALSE(settings->cache_io_uring);
    EXPECT_EQ(settings->points_interval_ms, 5'000U);
    EXPECT_EQ(settings->pipeline_compression, "lz4");
    EXPECT_EQ(settings->pipeline_zstd_level, -5);
}

TEST(Settings, G6_AnErrorNamesLineColumnAndKey) {
    EXPECT_EQ(refusal("[egress]\nupload_threads_per_vm = 33\n"),
              "f.toml:2:25: egress.upload_threads_per_vm: 33 is outside 1 … 32");
    EXPECT_EQ(refusal("[cache]\nsize = \"12 parsecs\"\n").substr(0, 23), "f.toml:2:8: cache.size:");
    EXPECT_EQ(refusal("[pipeline]\ncompression = \"gzip\"\n"),
              "f.toml:2:15: pipeline.compression: must be one of auto|lz4|zstd|off");
}

TEST(Settings, AnUnknownKeyIsRefusedWithTheNearestName) {
    EXPECT_NE(refusal("[egress]\nbandwith = \"1Gbps\"\n").find("no such setting"),
              std::string::npos);
    EXPECT_NE(refusal("[cache]\nsizes = \"1GiB\"\n").find("did you mean size?"), std::string::npos);
    EXPECT_NE(refusal("listen = \":9443\"\n").find("stand in a [section]"), std::string::npos);
}

TEST(Settings, GarbageIsRefusedWithItsPlace) {
    EXPECT_EQ(refusal("[egress\n").substr(0, 9), "f.toml:1:");
    EXPECT_FALSE(parse_settings(std::string("\0\x01\x02", 3), "f.toml").has_value());
}

TEST(Settings, CacheThresholdsMustDescend) {
    EXPECT_NE(refusal("[cache]\nwarn_free = 10\n").find("must be below"), std::string::npos);
}

TEST(Settings, OnlyFixedSettingsNeedARestart) {
    const Settings running = default_settings();
    Settings wanted = running;
    wanted.egress_upload_threads_per_vm = 8;
    EXPECT_TRUE(fixed_differences(running, wanted).empty());
    wanted.cache_path = "/elsewhere";
    EXPECT_EQ(fixed_differences(running, wanted), std::vector<std::string>{"cache.path"});
}

TEST(Settings, G7_AReloadThatWouldChangeAFixedSettingChangesNothing) {
    const Settings running = default_settings();
    Settings wanted = running;
    wanted.log_level = "debug";
    EXPECT_TRUE(check_reload(running, wanted));
    wanted.security_key_file = "/elsewhere";
    wanted.ingest_listen = ":1";
    const auto refused = check_reload(running, wanted);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Errc::needs_restart);
    EXPECT_EQ(refused.error().detail, "ingest.listen, security.key_file; nothing was changed");
}

TEST(Settings, AddressesUrlsPathsAndHoursAreCheckedWhereTheyAreWritten) {
    const std::pair<const char*, const char*> wrong[] = {
        {"ingest", "listen = \"9443\""},
        {"ingest", "listen = \"\""},
        {"ingest", "listen = \"h:65536\""},
        {"ingest", "listen = \"a b:1\""},
        {"control", "listen = \"[::1:8443\""},
        {"server", "state_dir = \"state\""},
        {"server", "state_dir = \"\""},
        {"server", "name = \"a\\nb\""},
        {"server", "name = \"\u202egnp.exe\""},
        {"cache", "path = \"../cache\""},
        {"cache", "path = \"/a\\u0000b\""},
        {"vault", "url = \"dir://relative\""},
        {"vault", "url = \"ftp://h/x\""},
        {"vault", "url = \"https:///x\""},
        {"vault", "url = \"https://user@h/x\""},
        {"vault", "url = \"https://h/x?sig=abc\""},
        {"vault", "url = \"https://h\\r\\nX: y/\""},
        {"vault", "proxy = \"h:3128\""},
        {"vault", "proxy = \"http://h:3128/path\""},
        {"vault", "identity_endpoint = \"localhost\""},
        {"vault", "key_file = \"key\""},
        {"resync", "window = \"22-06\""},
        {"resync", "window = \"22:00-25:00\""},
        {"security", "kek_file = \"\""},
        {"security", "revoked_file = \"revoked\""},
    };
    for (const auto& [section, line] : wrong) {
        const std::string text = refusal("[" + std::string(section) + "]\n" + line + "\n");
        EXPECT_EQ(text.substr(0, 9), "f.toml:2:") << line << ": " << text;
        EXPECT_NE(text.find(std::string(section) + "."), std::string::npos) << text;
        EXPECT_EQ(text.find_first_of("\r\n"), std::string::npos) << text;
    }
    const char* const right[] = {
        "[ingest]\nlisten = \"[::]:0\"\n",
        "[control]\nlisten = \"127.0.0.1:8443\"\n",
        "[vault]\nurl = \"https://acc.blob.core.windows.net/site\"\nproxy = \"http://p:3128\"\n",
        "[vault]\nurl = \"http://127.0.0.1:10000/devstoreaccount1/site\"\n",
        "[vault]\nurl = \"dir:///srv/vault\"\nproxy = \"\"\n",
        "[resync]\nwindow = \"22:00-06:00\"\n",
    };
    for (const char* text : right) {
        EXPECT_TRUE(parse_settings(text, "f.toml")) << text;
    }
}

TEST(Settings, TenKilobytesOfNameAreRefused) {
    EXPECT_NE(refusal("[server]\nname = \"" + std::string(10'000, 'n') + "\"\n").find("128"),
              std::string::npos);
}

TEST(Settings, ExplainShowsEveryRowAndMarksDefaults) {
    Settings settings = default_settings();
    settings.egress_upload_threads_per_vm = 9;
    const std::string text = explain_settings(settings);
    EXPECT_NE(text.find("egress.upload_threads_per_vm = 9\n"), std::string::npos);
    for (const SettingRow& row : setting_rows()) {
        EXPECT_NE(text.find(std::string(row.section) + "." + std::string(row.key) + " = "),
                  std::string::npos);
    }
}

TEST(Settings, TheManualInDocsIsCurrent) {
    std::ifstream file(CAUSEWAY_SOURCE_DIR "/docs/settings.md");
    std::stringstream text;
    text << file.rdbuf();
    EXPECT_EQ(text.str(), settings_manual()) << "run: causeway config manual > docs/settings.md";
}

TEST(Bandwidth, AWindowIsTakenAsWritten) {
    const auto settings = parse_settings(
        "[[egress.schedule]]\ndays = [\"fri\", \"mon\"]\nfrom = \"22:00\"\nto = \"06:30\"\nlimit = "
        "\"8Mbps\"\n",
        "f.toml");
    ASSERT_TRUE(settings.has_value()) << settings.error().detail;
    const BandwidthWindow wanted{
        .days = 0x11, .from_minute = 1320, .to_minute = 390, .bytes_per_second = 1'000'000};
    EXPECT_EQ(settings->egress_schedule, std::vector{wanted});
}

TEST(Targets, AreTakenAsWritten) {
    const auto settings = parse_settings(
        "[[target]]\nmachine = \"6ba7b810-9dad-11d1-80b4-00c04fd430c8\"\ndisk = \"vda\"\n"
        "path = \"/dev/vg/web1\"\nsize = \"8GiB\"\nidentity = \"device x\"\n"
        "[[target]]\nmachine = \"6ba7b810-9dad-11d1-80b4-00c04fd430c8\"\ndisk = \"vdb.img\"\n"
        "path = \"/srv/b.img\"\nwork = \"/srv/work\"\n",
        "f.toml");
    ASSERT_TRUE(settings.has_value()) << settings.error().detail;
    ASSERT_EQ(settings->targets.size(), 2U);
    EXPECT_EQ(settings->targets[0].disk, "vda");
    EXPECT_EQ(settings->targets[0].path, "/dev/vg/web1");
    EXPECT_EQ(settings->targets[0].size_bytes, 8 * gib);
    EXPECT_EQ(settings->targets[0].identity, "device x");
    EXPECT_EQ(settings->targets[1].work, "/srv/work");
    EXPECT_EQ(fixed_differences(default_settings(), *settings), std::vector<std::string>{"target"});
}

TEST(Targets, WhatCouldNameAWrongDiskIsRefused) {
    const std::string machine = "machine = \"6ba7b810-9dad-11d1-80b4-00c04fd430c8\"\n";
    EXPECT_NE(refusal("[target]\n").find("[[target]]"), std::string::npos);
    EXPECT_NE(refusal("[[target]]\nmachine = \"web1\"\n").find("UUID"), std::string::npos);
    EXPECT_NE(refusal("[[target]]\n" + machine + "disk = \"../x\"\npath = \"/a\"\n").find("disk"),
              std::string::npos);
    EXPECT_NE(refusal("[[target]]\n" + machine + "disk = \"a\"\npath = \"a\"\n").find("absolute"),
              std::string::npos);
    EXPECT_NE(refusal("[[target]]\n" + machine + "disk = \"a\"\npath = \"/a\"\nsise = 1\n")
                  .find("'sise'"),
              std::string::npos);
}

TEST(Units, RefusesWhatItCannotMeanExactly) {
    EXPECT_FALSE(parse_bytes("64 mib").has_value());
    EXPECT_FALSE(parse_bytes("99999999999TiB").has_value());
    EXPECT_FALSE(parse_duration_ms("5").has_value());
    EXPECT_FALSE(parse_rate("100Kbps").has_value());
    EXPECT_EQ(*parse_rate("512Kbps"), 64'000U);
    EXPECT_EQ(*parse_duration_ms("15d"), 1'296'000'000U);
    EXPECT_EQ(format_bytes(1536 * mib), "1.5 GiB");
}

TEST(Policies, AreInForceForTheirMachineOnly) {
    const auto machine = parse_id<MachineId>("6ba7b810-9dad-11d1-80b4-00c04fd430c8");
    const auto other = parse_id<MachineId>("6ba7b810-9dad-11d1-80b4-00c04fd430c9");
    ASSERT_TRUE(machine && other);
    const auto settings = parse_settings(
        "[points]\ninterval = \"1min\"\nretention = \"10d\"\nrpo_alarm = \"20min\"\n"
        "[[policy]]\nmachine = \"6ba7b810-9dad-11d1-80b4-00c04fd430c8\"\nretention = \"365d\"\n"
        "interval = \"10s\"\napp_interval = \"0s\"\n",
        "f.toml");
    ASSERT_TRUE(settings.has_value()) << settings.error().detail;
    EXPECT_EQ(retention_ms_of(*settings, *machine), 365ULL * 86'400'000);
    EXPECT_EQ(retention_ms_of(*settings, *other), 10ULL * 86'400'000);
    EXPECT_EQ(rpo_alarm_ms_of(*settings, *machine), 20ULL * 60'000);
    EXPECT_EQ(points_interval_ms_of(*settings, *machine), 10'000U);
    EXPECT_EQ(points_interval_ms_of(*settings, *other), 60'000U);
    EXPECT_EQ(app_interval_ms_of(*settings, *machine), 0U);
    EXPECT_EQ(app_interval_ms_of(*settings, *other), 3'600'000U);
    EXPECT_NE(explain_settings(*settings).find("policy = 6ba7b810"), std::string::npos);
    EXPECT_TRUE(check_reload(default_settings(), *settings)) << "policies are live";
}

TEST(Policies, WhatCannotBeMeantIsRefused) {
    const std::string machine = "machine = \"6ba7b810-9dad-11d1-80b4-00c04fd430c8\"\n";
    EXPECT_NE(refusal("[policy]\n").find("[[policy]]"), std::string::npos);
    EXPECT_NE(refusal("[[policy]]\nretention = \"1d\"\n").find("UUID"), std::string::npos);
    EXPECT_NE(refusal("[[policy]]\n" + machine + "retention = \"11y\"\n").find("f.toml:1"),
              std::string::npos);
    EXPECT_NE(refusal("[[policy]]\n" + machine + "retention = \"99999d\"\n").find("outside"),
              std::string::npos);
    EXPECT_NE(refusal("[[policy]]\n" + machine + "interval = \"1s\"\n").find("outside"),
              std::string::npos);
    EXPECT_NE(refusal("[[policy]]\n" + machine + "keep = \"1d\"\n").find("'keep'"),
              std::string::npos);
    EXPECT_NE(refusal("[[policy]]\n" + machine + "[[policy]]\n" + machine).find("two"),
              std::string::npos);
}

}  // namespace
}  // namespace cw::config
