#include "appliance/operator/failback_hint.h"

#include "base/random.h"

#include <gtest/gtest.h>

namespace cw::appliance {
namespace {

// A failover to write 100 of history 1, protected there as history 2, its bitmap taken at write 50.
class FailbackHints : public testing::Test {
protected:
    void SetUp() override {
        const auto random = make_seeded_random(7);
        origin_ = {.machine = make_id<MachineId>(*random),
                   .disk = make_id<DiskId>(*random),
                   .size_bytes = 64 * mib,
                   .since = make_id<PointId>(*random),
                   .since_time = WallMicros{1'700'000'000'000'000},
                   .since_mark = {Generation{1}, Seq{100}},
                   .until = {Generation{2}, Seq{50}}};
        use_ = {.machine = origin_.machine,
                .disk = origin_.disk,
                .size_bytes = origin_.size_bytes,
                .point = origin_.until,
                .since_is_there = true,
                .target_written = WallMicros{raw(origin_.since_time) - 1'000'000},
                .earlier_point = WallMicros{raw(origin_.since_time) - 60'000'000},
                .target_trusted = true};
    }
    // The reason not to believe it; empty: it is believed.
    std::string doubt() {
        const auto judged = judge_hint(origin_, use_);
        EXPECT_TRUE(judged) << to_string(judged.error());
        return judged ? judged->value_or("") : "refused";
    }

    HintOrigin origin_;
    HintUse use_;
};

TEST_F(FailbackHints, AreReadAsTheyWereWritten) {
    const std::vector<recovery::ByteRange> ranges{{0, 65536}, {1310720, 131072}};
    const auto file = parse_failback_hint(print_hint(origin_, ranges), "hint");
    ASSERT_TRUE(file) << to_string(file.error());
    ASSERT_TRUE(file->origin);
    EXPECT_EQ(file->origin->machine, origin_.machine);
    EXPECT_EQ(file->origin->disk, origin_.disk);
    EXPECT_EQ(file->origin->size_bytes, origin_.size_bytes);
    EXPECT_EQ(file->origin->since, origin_.since);
    EXPECT_EQ(file->origin->since_time, origin_.since_time);
    EXPECT_EQ(file->origin->since_mark, origin_.since_mark);
    EXPECT_EQ(file->origin->until, origin_.until);
    ASSERT_EQ(file->ranges.size(), 2U);
    EXPECT_EQ(file->ranges[1].offset, 1310720U);
    EXPECT_EQ(file->ranges[1].length, 131072U);
}

TEST_F(FailbackHints, ThatWereCutAnywhereAreRefused) {
    const std::string text = print_hint(origin_, {{0, 65536}});
    for (std::size_t length = 1; length + 1 < text.size(); ++length) {  // The last is the newline.
        EXPECT_FALSE(parse_failback_hint(text.substr(0, length), "hint")) << length;
    }
}

TEST_F(FailbackHints, OfWrongTypesAreRefused) {
    for (const char* text :
         {R"({})", R"({"format":"causeway-changes/2"})", R"({"format":1})",
          R"({"format":"causeway-changes/1","machine":7})", R"([{"offset":0,"length":1}])"}) {
        EXPECT_EQ(parse_failback_hint(text, "hint").error().code, Errc::usage) << text;
    }
}

TEST_F(FailbackHints, MadeByHandSayNotSinceWhen) {
    const auto lines = parse_failback_hint("0 65536\n131072 512\n", "hint");
    ASSERT_TRUE(lines);
    EXPECT_FALSE(lines->origin);
    EXPECT_EQ(lines->ranges.size(), 2U);
    const auto map = parse_failback_hint(
        R"([{"offset":0,"length":65536,"type":1},{"offset":65536,"length":512,"type":0}])", "hint");
    ASSERT_TRUE(map);
    EXPECT_FALSE(map->origin);
    EXPECT_EQ(map->ranges.size(), 1U);
}

TEST_F(FailbackHints, AreBelievedForPointsFromTheFailoverToTheirOwnMoment) {
    EXPECT_EQ(doubt(), "");
    use_.point = {Generation{2}, Seq{1}};
    EXPECT_EQ(doubt(), "");
    use_.point = origin_.since_mark;
    EXPECT_EQ(doubt(), "");
}

TEST_F(FailbackHints, AreNotBelievedForOtherPoints) {
    use_.point = {Generation{2}, Seq{51}};
    EXPECT_NE(doubt().find("after the hint was taken"), std::string::npos);
    use_.point = {Generation{3}, Seq{1}};
    EXPECT_NE(doubt().find("after the hint was taken"), std::string::npos);
    use_.point = {Generation{1}, Seq{99}};
    EXPECT_NE(doubt().find("not of the machine"), std::string::npos);
    use_.point = {Generation{1}, Seq{101}};
    EXPECT_NE(doubt().find("not of the machine"), std::string::npos);
}

TEST_F(FailbackHints, AreNotBelievedWhenTheirPointIsGone) {
    use_.since_is_there = false;
    EXPECT_NE(doubt().find("no longer in the vault"), std::string::npos);
}

TEST_F(FailbackHints, AreNotBelievedUnlessSomebodyVouchesForTheOldDisk) {
    use_.target_trusted =
        false;  // All that can be seen speaks for it, and a copy would look alike.
    EXPECT_NE(doubt().find("only you can know"), std::string::npos);
    use_.target_written = origin_.since_time;  // Within what two clocks may differ.
    EXPECT_NE(doubt().find("written after"), std::string::npos);
    use_.target_written.reset();
    EXPECT_NE(doubt().find("device"), std::string::npos);
    use_.target_trusted = true;
    EXPECT_EQ(doubt(), "");
    use_.point = {Generation{2}, Seq{51}};  // What nobody can vouch for.
    EXPECT_NE(doubt(), "");
}

TEST_F(FailbackHints, TellOfAnOlderCopyOfTheOldDisk) {
    use_.target_trusted = false;
    use_.target_written = WallMicros{raw(*use_.earlier_point) - 1'000'000};
    EXPECT_NE(doubt().find("older copy"), std::string::npos);
    use_.earlier_point.reset();
    EXPECT_NE(doubt().find("no earlier point"), std::string::npos);
}

TEST_F(FailbackHints, OfAnotherMachineDiskOrSizeAreRefused) {
    const HintUse good = use_;
    const auto random = make_seeded_random(8);
    use_.machine = make_id<MachineId>(*random);
    EXPECT_EQ(judge_hint(origin_, use_).error().code, Errc::usage);
    use_ = good;
    use_.disk = make_id<DiskId>(*random);
    EXPECT_EQ(judge_hint(origin_, use_).error().code, Errc::usage);
    use_ = good;
    use_.size_bytes += mib;
    EXPECT_EQ(judge_hint(origin_, use_).error().code, Errc::usage);
}

}  // namespace
}  // namespace cw::appliance
