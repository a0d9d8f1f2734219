#include "base/log.h"

#include <algorithm>
#include <functional>
#include <regex>

#include <gtest/gtest.h>

namespace cw {
namespace {

std::string logged(const std::function<void()>& body) {
    testing::internal::CaptureStderr();
    body();
    return testing::internal::GetCapturedStderr();
}

TEST(Log, WritesOneLineWithUtcTimeLevelEventAndFields) {
    const std::string line = logged([] {
        log_info("ingest.session.open", {{"machine", MachineId{}},
                                         {"peer", "203.0.113.7:51234"},
                                         {"name", "two words"},
                                         {"bytes", 17},
                                         {"ok", true},
                                         {"seq", Seq{4}}});
    });
    const std::regex form(
        R"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z info ingest\.session\.open )"
        R"(machine=00000000-0000-0000-0000-000000000000 peer=203\.0\.113\.7:51234 )"
        R"(name="two words" bytes=17 ok=true seq=4\n)");
    EXPECT_TRUE(std::regex_match(line, form)) << line;
}

TEST(Log, WritesEveryKindOfField) {
    const std::string line = logged([] {
        log_info("x", {{"less", -3},
                       {"most", UINT64_MAX},
                       {"part", 0.5},
                       {"no", false},
                       {"text", std::string("a b")},
                       {"error", Error{Errc::spool_full, "no \"room\""}}});
    });
    EXPECT_NE(line.find("less=-3 most=18446744073709551615 part=0.500000 no=false text=\"a b\" "),
              std::string::npos)
        << line;
    EXPECT_NE(line.find("SPOOL_FULL"), std::string::npos) << line;
    EXPECT_NE(line.find(R"(no \x22room\x22)"), std::string::npos) << line;
}

TEST(Log, H3_CannotBeForgedByAHostileName) {
    const std::string line = logged([] {
        log_warning("x", {{"name", "a\n2026-01-01T00:00:00.000Z error \"forged\" = \x1b[2J"}});
    });
    EXPECT_EQ(std::ranges::count(line, '\n'), 1);
    EXPECT_EQ(line.find('\x1b'), std::string::npos);
    EXPECT_NE(line.find(R"(name="a\x0a2026)"), std::string::npos) << line;
    EXPECT_NE(line.find(R"(\x22forged\x22)"), std::string::npos) << line;
}

TEST(Log, WhatIsShownToPeopleKeepsItsQuotesToBeCopied) {
    EXPECT_EQ(escape_for_display("--confirm \"start db1\"\n\\"),
              "--confirm \"start db1\"\\x0a\\x5c");
}

TEST(Log, BoundsEveryField) {
    const std::string long_text(100'000, 'x'), hostile_text(100'000, '\n');
    const std::string field = LogField("k", long_text).value();
    EXPECT_LE(field.size(), 1024U);
    EXPECT_TRUE(field.find("…") != std::string::npos);
    EXPECT_LE(LogField("k", hostile_text).value().size(), 1024U);
}

TEST(Log, KeepsQuietBelowItsLevel) {
    set_log_level(LogLevel::error);
    const std::string quiet = logged([] { log_warning("x"); });
    set_log_level(LogLevel::info);
    EXPECT_EQ(quiet, "");
    EXPECT_EQ(parse_log_level("debug").value(), LogLevel::debug);
    EXPECT_EQ(parse_log_level("loud").error().code, Errc::config_invalid);
}

TEST(EscapeForDisplay, LeavesPlainTextAndUnicodeAlone) {
    EXPECT_EQ(escape_for_display("naïve 日本 😀"), "naïve 日本 😀");
    EXPECT_EQ(escape_for_display(""), "");
}

TEST(EscapeForDisplay, ShowsDangerousBytesAsHex) {
    EXPECT_EQ(escape_for_display("a\tb"), R"(a\x09b)");
    EXPECT_EQ(escape_for_display("\\"), R"(\x5c)");
    EXPECT_EQ(escape_for_display("\x7f"), R"(\x7f)");
    EXPECT_EQ(escape_for_display("\u202e"), R"(\xe2\x80\xae)");  // Right-to-left override.
    EXPECT_EQ(escape_for_display("\u0085"), R"(\xc2\x85)");      // C1 control.
    EXPECT_EQ(escape_for_display("\xff"), R"(\xff)");
    EXPECT_EQ(escape_for_display("\xc0\xaf"), R"(\xc0\xaf)");  // Overlong.
    EXPECT_EQ(escape_for_display("\xe0\x80\xaf"), R"(\xe0\x80\xaf)");
    EXPECT_EQ(escape_for_display("\xe0\x9f\xbf"), R"(\xe0\x9f\xbf)");
    EXPECT_EQ(escape_for_display("\xf0\x80\x80\xaf"), R"(\xf0\x80\x80\xaf)");
    EXPECT_EQ(escape_for_display("\xf4\x90\x80\x80"), R"(\xf4\x90\x80\x80)");  // Too large.
    EXPECT_EQ(escape_for_display("\xed\xa0\x80"), R"(\xed\xa0\x80)");          // Surrogate.
    EXPECT_EQ(escape_for_display("\xe2\x82"), R"(\xe2\x82)");                  // Cut short.
    EXPECT_EQ(escape_for_display(std::string_view("\0", 1)), R"(\x00)");
}

TEST(EscapeForDisplay, NeverCutsACharacter) {
    EXPECT_EQ(escape_for_display("ab日本", 4), "ab…");
    EXPECT_EQ(escape_for_display("ab日本", 5), "ab日…");
    EXPECT_EQ(escape_for_display("abcd", 4), "abcd");
}

}  // namespace
}  // namespace cw
