// The history of conditions outlasts the process, whatever ends it and whatever becomes of its
// file.
#include "appliance/event_log.h"

#include "appliance/event_line.h"
#include "base/log.h"
#include "tests/fakes/sim_disk.h"

#include <algorithm>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace cw::appliance {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

const std::string directory = "/state", path = directory + "/events";
constexpr WallMicros ever{0};

// A process from its start until it is destroyed, which writes nothing more.
struct Life {
    Life(fakes::SimStorage& storage, Clock& clock)
        : conditions(clock), log(conditions, clock, storage.make_disk(), path) {
        log.open();
    }
    // "+CODE subject" or "-CODE subject".
    std::vector<std::string> told(WallMicros since = ever) {
        std::vector<std::string> out;
        for (const ConditionEvent& event : log.events(since, 100'000)) {
            out.push_back((event.raised ? "+" : "-") + std::string(name_of(event.condition.code)) +
                          " " + event.condition.subject);
        }
        return out;
    }
    Conditions conditions;
    EventLog log;
};

class EventLogTest : public testing::Test {
protected:
    EventLogTest() {
        set_log_level(LogLevel::error);
        EXPECT_TRUE(storage_.make_disk()->create_directories(directory));
    }
    ~EventLogTest() override { set_log_level(LogLevel::info); }

    Life start() { return {storage_, clock_}; }
    // Five conditions that came and went, in a file on the platter.
    void five_lines_each() {
        Life life = start();
        for (int i = 0; i < 5; ++i) {
            life.conditions.raise(Errc::spool_slow, "disk " + std::to_string(i), "detail");
            life.conditions.clear(Errc::spool_slow, "disk " + std::to_string(i));
        }
        life.log.tick();
    }

    fakes::SimStorage storage_{7};
    ManualClock clock_;
};

TEST_F(EventLogTest, KeepsWhatWasToldBeforeAKillOrAPowerCut) {
    for (const bool power : {false, true}) {
        if (storage_.exists(path)) {
            storage_.erase(path);
        }
        {
            Life life = start();
            life.conditions.raise(Errc::spool_full, "cache", "98 % used");
            life.log.tick();
            life.conditions.clear(Errc::spool_full, "cache");
            life.conditions.raise(Errc::clock_skew, "upload", "3600 s");
            life.log.tick();
            life.conditions.raise(Errc::io_error, "cache", "a second before its end");
            power ? storage_.power_cut() : storage_.kill();
        }
        clock_.advance(ns_per_s);
        Life next = start();
        // What stood when it ended is over: the next one judges anew.
        EXPECT_THAT(next.told(), ElementsAre("+SPOOL_FULL cache", "-SPOOL_FULL cache",
                                             "+CLOCK_SKEW upload", "-CLOCK_SKEW upload"));
        EXPECT_EQ(next.log.events(ever, 100).at(0).condition.detail, "98 % used");
        EXPECT_TRUE(next.conditions.list().empty());
        next.log.tick();
        storage_.kill();
        EXPECT_EQ(start().told().size(), 4U);  // And it is noted once.
    }
}

TEST_F(EventLogTest, ShowsWhatIsNotYetWritten) {
    Life life = start();
    life.conditions.raise(Errc::spool_full, "cache", "");
    EXPECT_THAT(life.told(), ElementsAre("+SPOOL_FULL cache"));
    life.log.tick();
    EXPECT_THAT(life.told(), ElementsAre("+SPOOL_FULL cache"));
}

TEST_F(EventLogTest, ShowsSeventyTwoHoursAndWhatWasAskedFor) {
    Life life = start();
    life.conditions.raise(Errc::spool_full, "cache", "");
    clock_.advance(71 * 3600 * ns_per_s);
    const WallMicros later = clock_.wall();
    life.conditions.clear(Errc::spool_full, "cache");
    EXPECT_EQ(life.told().size(), 2U);
    EXPECT_THAT(life.told(later), ElementsAre("-SPOOL_FULL cache"));
    clock_.advance(2 * 3600 * ns_per_s);
    EXPECT_THAT(life.told(), ElementsAre("-SPOOL_FULL cache"));
    EXPECT_EQ(life.log.events(ever, 0).size(), 0U);
    // A clock that runs away hides events, and destroys none.
    clock_.jump_wall(10LL * 365 * 24 * 3600 * 1'000'000);
    EXPECT_THAT(life.told(), IsEmpty());
    clock_.jump_wall(-10LL * 365 * 24 * 3600 * 1'000'000);
    EXPECT_THAT(life.told(), ElementsAre("-SPOOL_FULL cache"));
}

TEST_F(EventLogTest, AStormTakesTwiceTheFileAndTheNewestIsKept) {
    const std::string detail(900, 'x');
    {
        Life life = start();
        for (int round = 0; round < 60; ++round) {
            for (int i = 0; i < 500; ++i) {
                life.conditions.raise(Errc::spool_slow, "storm", detail);
                life.conditions.clear(Errc::spool_slow, "storm");
            }
            life.log.tick();
            ASSERT_LE(storage_.size_of(path), EventLog::file_bytes_max);
        }
        life.conditions.raise(Errc::spool_full, "last", "");
        life.log.tick();
        EXPECT_EQ(life.told().size(), EventLog::kept_max);
        storage_.power_cut();
    }
    EXPECT_LE(storage_.size_of(path + ".1"), EventLog::file_bytes_max);
    const auto told = start().told();
    EXPECT_GT(told.size(), 3000U);
    EXPECT_EQ(told.back(), "-SPOOL_FULL last");
}

TEST_F(EventLogTest, ADiskThatFailsIsToldAndNothingIsLostWhenItIsBack) {
    {
        Life life = start();
        life.conditions.raise(Errc::spool_full, "cache", std::string(800, 'x'));
        life.log.tick();
        for (int i = 0; i < 5; ++i) {  // Each leaves a random part of its lines behind.
            storage_.plan().write_error = 10'000;
            life.conditions.raise(Errc::spool_slow, "try " + std::to_string(i), "");
            life.log.tick();
            EXPECT_TRUE(life.conditions.standing(Errc::io_error));
        }
        storage_.plan().write_error = 0;
        life.log.tick();
        EXPECT_FALSE(life.conditions.standing(Errc::io_error));
        life.log.tick();
        storage_.power_cut();
    }
    Life next = start();
    const auto told = next.told();
    EXPECT_THAT(
        told, testing::IsSupersetOf({"+SPOOL_FULL cache", "+SPOOL_SLOW try 0", "+SPOOL_SLOW try 4",
                                     "+IO_ERROR events", "-IO_ERROR events"}));
    EXPECT_FALSE(next.conditions.standing(Errc::record_corrupt));
}

TEST_F(EventLogTest, ATornEndIsDroppedWithoutAWord) {
    five_lines_each();
    const ByteVector whole = storage_.contents(path);
    for (std::size_t cut = whole.size() - 1; cut > whole.size() - 60; --cut) {
        storage_.erase(path);
        storage_.kill();
        const auto disk = storage_.make_disk();
        ASSERT_TRUE(write_file_atomically(*disk, path, Bytes(whole).first(cut)));
        Life life = start();
        EXPECT_TRUE(life.conditions.list().empty()) << cut;
        EXPECT_GE(life.told().size(), 9U) << cut;
        life.conditions.raise(Errc::spool_full, "after", "");
        life.log.tick();
        storage_.power_cut();
        EXPECT_THAT(start().told(), testing::Contains("+SPOOL_FULL after")) << cut;
    }
}

TEST_F(EventLogTest, DamageIsToldForAMinuteAndTheLinesAroundItAreKept) {
    five_lines_each();
    const std::size_t bytes = storage_.contents(path).size();
    for (std::size_t at = 0; at < bytes - 240; at += 7) {
        storage_.flip_bit(path, at, 2);
        Life life = start();
        ASSERT_TRUE(life.conditions.standing(Errc::record_corrupt)) << at;
        EXPECT_EQ(life.conditions.list().at(0).subject, "events");
        EXPECT_GE(life.told().size(), 8U) << at;  // One end of a line joins two.
        life.log.tick();
        clock_.advance(60 * ns_per_s);
        life.log.tick();
        EXPECT_FALSE(life.conditions.standing(Errc::record_corrupt));
        storage_.kill();
        EXPECT_FALSE(start().conditions.standing(Errc::record_corrupt)) << "it is told once";
        storage_.erase(path);
        five_lines_each();
    }
}

TEST_F(EventLogTest, AnyContentIsSurvived) {
    const auto random = make_seeded_random(3);
    five_lines_each();
    const ByteVector whole = storage_.contents(path);
    for (int round = 0; round < 500; ++round) {
        SCOPED_TRACE("round " + std::to_string(round));
        ByteVector bad = whole;
        for (std::uint64_t i = random->below(4); i < 4; ++i) {
            const auto at = static_cast<std::ptrdiff_t>(random->below(bad.size()));
            ByteVector piece(random->below(100));
            random->fill(piece);
            random->below(2) == 0 ? bad.resize(static_cast<std::size_t>(at) + 1)
                                  : (void)bad.insert(bad.begin() + at, piece.begin(), piece.end());
        }
        const auto disk = storage_.make_disk();
        ASSERT_TRUE(write_file_atomically(*disk, round % 2 == 0 ? path : path + ".1", bad));
        Life life = start();
        life.conditions.raise(Errc::spool_full, "after", "");
        life.log.tick();
        storage_.power_cut();
        EXPECT_THAT(start().told(), testing::Contains("+SPOOL_FULL after"));
    }
}

TEST_F(EventLogTest, AFileThatIsNoneIsSetAsideAndTold) {
    const auto disk = storage_.make_disk();
    const ByteVector huge(2 * EventLog::file_bytes_max + 1, std::byte{'x'});
    ASSERT_TRUE(write_file_atomically(*disk, path, huge));
    Life life = start();
    EXPECT_TRUE(life.conditions.standing(Errc::record_corrupt));
    EXPECT_THAT(life.conditions.list().at(0).detail, HasSubstr(path + ".damaged"));
    life.log.tick();
    EXPECT_LT(storage_.size_of(path), 1000U);
    EXPECT_EQ(storage_.size_of(path + ".damaged"), huge.size());
}

TEST(EventLine, CarriesAnyText) {
    for (const std::string& text :
         {std::string("plain"), std::string(), std::string("a\nb\tc\\d\r\x7f\0e", 12),
          std::string("\xe2\x80\xae rtl"), std::string(255, '\\')}) {
        const ConditionEvent event{.condition = {.code = Errc::fenced,
                                                 .subject = text,
                                                 .detail = text + text,
                                                 .since_boot = {},
                                                 .since_wall = WallMicros{-5},
                                                 .count = 7},
                                   .raised = false,
                                   .at = WallMicros{1'700'000'000'000'000}};
        const std::string line = event_line(event);
        EXPECT_EQ(std::ranges::count(line, '\n'), 1);
        const auto read = parse_event_line(std::string_view(line).substr(0, line.size() - 1));
        ASSERT_TRUE(read);
        EXPECT_EQ(read->condition.subject, text);
        EXPECT_EQ(read->condition.detail, text + text);
        EXPECT_EQ(read->condition.code, Errc::fenced);
        EXPECT_EQ(read->condition.since_wall, WallMicros{-5});
        EXPECT_EQ(read->condition.count, 7U);
        EXPECT_EQ(read->at, event.at);
        EXPECT_FALSE(read->raised);
    }
}

TEST(EventLine, OfALaterVersionIsToldFromDamage) {
    ConditionEvent event{.condition = {.code = Errc{9999},
                                       .subject = "s",
                                       .detail = "d",
                                       .since_boot = {},
                                       .since_wall = {}},
                         .raised = true,
                         .at = {}};
    std::string line = event_line(event);
    line.pop_back();
    EXPECT_EQ(parse_event_line(line).error().code, Errc::format_unsupported);
    line.back() = 'e';
    EXPECT_EQ(parse_event_line(line).error().code, Errc::record_corrupt);
    EXPECT_EQ(parse_event_line("").error().code, Errc::record_corrupt);
}

}  // namespace
}  // namespace cw::appliance
