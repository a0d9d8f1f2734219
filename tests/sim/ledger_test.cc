#include "tests/sim/ledger.h"

#include "tests/sim/track_record.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>

#include <gtest/gtest.h>
#include <unistd.h>

namespace cw::sim {
namespace {

// Why it failed; nothing if it did not.
template <typename T>
std::optional<Errc> code_of(const Result<T>& result) {
    return result ? std::nullopt : std::optional(result.error().code);
}

std::string schedules_line(const std::string& commit, std::uint64_t from, std::uint64_t to,
                           const std::string& findings = "") {
    return R"({"commit":")" + commit + R"(","counts":{"fault.kill":2},"findings":[)" + findings +
           R"(],"from":)" + std::to_string(from) + R"(,"schedules":)" +
           std::to_string(to - from + 1) + R"(,"seconds":1.5,"to":)" + std::to_string(to) +
           R"(,"violations":)" + (findings.empty() ? "0" : "1") + "}";
}

class LedgerTest : public ::testing::Test {
protected:
    void SetUp() override {
        std::string name = testing::TempDir() + "causeway-ledger.XXXXXX";
        ASSERT_NE(::mkdtemp(name.data()), nullptr);
        directory_ = name;
        path_ = directory_ + "/ledger.jsonl";
    }
    void TearDown() override { std::filesystem::remove_all(directory_); }

    void write(const std::string& text) const { std::ofstream(path_) << text; }
    [[nodiscard]] std::string text() const {
        std::ostringstream out;
        out << std::ifstream(path_).rdbuf();
        return out.str();
    }
    // What the reading of one line of this text meets.
    [[nodiscard]] std::string refusal_of(const std::string& line) const {
        write(schedules_line("1a2b3c4", 1, 10) + "\n" + line + "\n");
        const auto ledger = read_ledger(path_);
        if (ledger) {
            return "none";
        }
        EXPECT_EQ(ledger.error().code, Errc::record_corrupt);
        const std::string place = path_ + ":2: ";
        EXPECT_TRUE(ledger.error().detail.starts_with(place)) << ledger.error().detail;
        return ledger.error().detail.substr(place.size());
    }

    std::string directory_, path_;
};

TEST_F(LedgerTest, ARunBehindALineThatWasBrokenOffIsCounted) {
    const std::string first = schedules_line("1a2b3c4", 1, 10);
    const std::string torn = schedules_line("1a2b3c4", 11, 20);
    for (std::size_t length = 1; length < torn.size(); ++length) {
        write(first + "\n" + torn.substr(0, length));
        ASSERT_TRUE(append_to_ledger(path_, schedules_line("1a2b3c4", 11, 30)));
        ASSERT_TRUE(append_to_ledger(path_, schedules_line("1a2b3c4", 31, 40)));
        testing::internal::CaptureStderr();
        const auto ledger = read_ledger(path_);
        const std::string said = testing::internal::GetCapturedStderr();
        ASSERT_TRUE(ledger) << length << ": " << ledger.error().detail;
        EXPECT_EQ(ledger->schedules, 40U) << length;
        EXPECT_EQ(ledger->last_seed, 40U) << length;
        EXPECT_EQ(ledger->broken_off, 1U) << length;
        EXPECT_TRUE(said.starts_with(path_ + ":2: broken off after " + std::to_string(length)))
            << said;
    }
}

TEST_F(LedgerTest, ALineWithoutItsBreakIsWholeAndStaysSo) {
    write(schedules_line("1a2b3c4", 1, 10));
    EXPECT_EQ(read_ledger(path_)->schedules, 10U);
    ASSERT_TRUE(append_to_ledger(path_, schedules_line("1a2b3c4", 11, 20)));
    const auto ledger = read_ledger(path_);
    ASSERT_TRUE(ledger);
    EXPECT_EQ(ledger->schedules, 20U);
    EXPECT_EQ(ledger->broken_off, 0U);
}

TEST_F(LedgerTest, LinesFollowEachOtherWithoutAGap) {
    ASSERT_TRUE(append_to_ledger(path_, "{}"));
    ASSERT_TRUE(append_to_ledger(path_, "[]"));
    EXPECT_EQ(text(), "{}\n[]\n");
}

TEST_F(LedgerTest, TheReportSaysHowManyLinesWereLeftOut) {
    const auto record = TrackRecord::read(track_record_path());
    ASSERT_TRUE(record) << record.error().detail;
    Ledger ledger;
    testing::internal::CaptureStdout();
    print_fault_report(ledger, *record);
    EXPECT_EQ(testing::internal::GetCapturedStdout().find("broken off"), std::string::npos);
    ledger.broken_off = 3;
    testing::internal::CaptureStdout();
    print_fault_report(ledger, *record);
    EXPECT_NE(testing::internal::GetCapturedStdout().find(
                  "| lines of the ledger that were broken off, and are left out here | 3 |"),
              std::string::npos);
}

TEST_F(LedgerTest, WhatNoLineMaySayIsAnError) {
    EXPECT_EQ(refusal_of(schedules_line("1a2b3c4", 11, 20)), "none");
    EXPECT_NE(refusal_of(R"({"commit":"1a2b3c4","kind":"dreams"})").find("\"dreams\""),
              std::string::npos);
    EXPECT_NE(refusal_of(schedules_line("1a2b3c4 with clones", 11, 20)).find("is no commit"),
              std::string::npos);
    EXPECT_NE(refusal_of(R"({"commit":"1a2b3c4"})").find("'from'"), std::string::npos);
    EXPECT_NE(refusal_of(R"({"commit":"1a2b3c4","kind":7})"), "none");
    EXPECT_NE(refusal_of(R"({"commit":"1a2b3c4","kind":"fuzz","target":"x"})"), "none");
    EXPECT_NE(refusal_of("[1]"), "none");
    EXPECT_NE(refusal_of("noise"), "none");
    EXPECT_NE(refusal_of(R"({"commit":"1a2b3c4"}})"), "none");
}

TEST_F(LedgerTest, SchedulesOfACommitAddUpWhateverRanBetween) {
    write(schedules_line("1a2b3c4", 1, 10) + "\n" + schedules_line("2b3c4d5", 11, 15) + "\n" +
          schedules_line("1a2b3c4", 16, 35) + "\n");
    const auto ledger = read_ledger(path_);
    ASSERT_TRUE(ledger);
    EXPECT_EQ(ledger->newest_commit, "1a2b3c4");
    EXPECT_EQ(ledger->commits.at("1a2b3c4").schedules, 30U);
    EXPECT_EQ(ledger->commits.at("2b3c4d5").schedules, 5U);
}

TEST_F(LedgerTest, SchedulesSinceTheLastViolationAreCounted) {
    write(schedules_line("1a2b3c4", 1, 10) + "\n" +
          schedules_line("1a2b3c4", 11, 20, "\"seed 12 (points)\"") + "\n" +
          schedules_line("2b3c4d5", 21, 25) + "\n" + schedules_line("1a2b3c4", 26, 27) + "\n");
    const auto ledger = read_ledger(path_);
    ASSERT_TRUE(ledger);
    EXPECT_EQ(ledger->schedules, 27U);
    EXPECT_EQ(ledger->since_violation, 7U);
}

TEST_F(LedgerTest, ATreeThatIsNoCommitIsNeverTheNewest) {
    write(schedules_line("1a2b3c4", 1, 10) + "\n" + schedules_line("1a2b3c4-dirty", 11, 15) + "\n" +
          schedules_line("unknown", 16, 35) + "\n");
    const auto ledger = read_ledger(path_);
    ASSERT_TRUE(ledger);
    EXPECT_EQ(ledger->newest_commit, "1a2b3c4");
    EXPECT_EQ(ledger->commits.at("1a2b3c4").schedules, 10U);
    EXPECT_EQ(ledger->schedules, 35U);
}

TEST_F(LedgerTest, OneThatIsNotThereIsNewOnlyWhereItsDirectoryIs) {
    EXPECT_EQ(code_of(read_ledger(path_)), Errc::io_error);
    ASSERT_TRUE(read_ledger(path_, Missing::new_ledger));
    EXPECT_EQ(read_ledger(path_, Missing::new_ledger)->schedules, 0U);
    const std::string nowhere = directory_ + "/nope/ledger.jsonl";
    for (const Missing missing : {Missing::error, Missing::new_ledger}) {
        EXPECT_EQ(code_of(read_ledger(nowhere, missing)), Errc::io_error);
        EXPECT_EQ(code_of(read_ledger(directory_, missing)), Errc::io_error);
    }
    EXPECT_EQ(code_of(probe_ledger(nowhere)), Errc::io_error);
    EXPECT_EQ(code_of(append_to_ledger(nowhere, "{}")), Errc::io_error);
    EXPECT_FALSE(std::filesystem::exists(directory_ + "/nope"));
}

TEST_F(LedgerTest, AFullDiskIsToldAndNotTakenForALine) {
    EXPECT_EQ(code_of(append_to_ledger("/dev/full", "{}")), Errc::io_error);
}

TEST_F(LedgerTest, TheReportSaysOfEachViolationWhatMendedIt) {
    const auto record = TrackRecord::read(track_record_path());
    ASSERT_TRUE(record) << record.error().detail;
    write(schedules_line("afb17f4", 1, 10000, "\"seed 2841 (convergence)\"") + "\n" +
          schedules_line("afb17f4-dirty", 1, 10000, "\"seed 6070 (assertion)\"") + "\n" +
          schedules_line("1a2b3c4", 1, 10000, "\"seed 2841 (points)\"") + "\n");
    const auto ledger = read_ledger(path_);
    ASSERT_TRUE(ledger) << ledger.error().detail;
    testing::internal::CaptureStdout();
    print_fault_report(*ledger, *record);
    const std::string said = testing::internal::GetCapturedStdout();
    for (const char* row :
         {"| afb17f4 | 1–10000 | 1; seed 2841 (convergence, mended in 881bd0f, e2d0872) |",
          "| afb17f4-dirty | 1–10000 | 1; seed 6070 (assertion, mended in 5c7432b) |",
          "| 1a2b3c4 | 1–10000 | 1; seed 2841 (points, **not in the track record**) |"}) {
        EXPECT_NE(said.find(row), std::string::npos) << row;
    }
}

}  // namespace
}  // namespace cw::sim
