#include "tests/sim/track_record.h"

#include "tests/sim/ledger.h"

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <optional>

#include <gtest/gtest.h>
#include <unistd.h>

namespace cw::sim {
namespace {

// Why it failed; nothing if it did not.
template <typename T>
std::optional<Errc> code_of(const Result<T>& result) {
    return result ? std::nullopt : std::optional(result.error().code);
}

Result<TrackRecord> record_of(const std::string& text) {
    const std::string path =
        testing::TempDir() + "causeway-record-" + std::to_string(::getpid()) + ".md";
    std::ofstream(path) << text;
    auto record = TrackRecord::read(path);
    std::filesystem::remove(path);
    return record;
}

TEST(TrackRecord, KnowsTheSeedsOfEachFindAndWhatMendedThem) {
    const auto record = record_of(
        "# What was found\n\n### 12, 345 · 1a2b3c4 with clones, 2b3c4d5 · mended in 3c4d5e6, "
        "4d5e6f7\n\nWords that\ngo on.\n\nMore.\n\n### no seed (by reading) · 1a2b3c4 · mended in "
        "5e6f708\nText");
    ASSERT_TRUE(record) << record.error().detail;
    ASSERT_EQ(record->finds().size(), 2U);
    EXPECT_EQ(record->finds()[0].by, "12, 345");
    EXPECT_EQ(record->finds()[0].what, "Words that go on.");
    EXPECT_EQ(record->finds()[1].what, "Text");
    EXPECT_EQ(record->seeds(), (std::set<std::uint64_t>{12, 345}));
    EXPECT_EQ(record->mended_in(345, "2b3c4d5"), "3c4d5e6, 4d5e6f7");
    EXPECT_EQ(record->mended_in(12, "1a2b3c4-dirty"), "3c4d5e6, 4d5e6f7");
    EXPECT_EQ(record->mended_in(12, "5e6f708"), "");
    EXPECT_EQ(record->mended_in(13, "1a2b3c4"), "");
}

TEST(TrackRecord, AFindThatCannotBeUnderstoodIsAnError) {
    const std::string good = "### 1 · 1a2b3c4 · mended in 2b3c4d5\nWords.\n";
    ASSERT_TRUE(record_of(good));
    for (const char* bad :
         {"### twelve · 1a2b3c4 · mended in 2b3c4d5",
          "### 12 and more · 1a2b3c4 · mended in 2b3c4d5", "### 0 · 1a2b3c4 · mended in 2b3c4d5",
          "###  · 1a2b3c4 · mended in 2b3c4d5", "### -1 · 1a2b3c4 · mended in 2b3c4d5",
          "### 12 · yesterday · mended in 2b3c4d5", "### 12 · 1a2b3c4 · mended in no time",
          "### 12 · 1a2b3c4 · open", "### 12 · 1a2b3c4",
          "### 99999999999999999999 · 1a2b3c4 · mended in 2b3c4d5",
          "| 12 | 1a2b3c4 | the oracle |"}) {
        const auto record = record_of(good + bad + "\n");
        ASSERT_FALSE(record) << bad;
        EXPECT_EQ(record.error().code, Errc::record_corrupt);
        EXPECT_NE(record.error().detail.find(".md:3: "), std::string::npos) << bad;
    }
    EXPECT_EQ(code_of(record_of("# What was found\n")), Errc::record_corrupt);
    const std::string untold = "### 2 · 1a2b3c4 · mended in 2b3c4d5\n\n";
    EXPECT_EQ(code_of(record_of(good + untold)), Errc::record_corrupt);
    EXPECT_EQ(code_of(record_of(untold + good)), Errc::record_corrupt);
    EXPECT_EQ(code_of(TrackRecord::read("/nope/record.md")), Errc::io_error);
}

// The files of this tree.
TEST(TrackRecord, HasEachViolationOfTheLedger) {
    const auto record = TrackRecord::read(track_record_path());
    ASSERT_TRUE(record) << record.error().detail;
    const auto ledger = read_ledger(CAUSEWAY_SOURCE_DIR "/tests/sim/ledger.jsonl");
    ASSERT_TRUE(ledger) << ledger.error().detail;
    std::uint64_t findings = 0;
    for (const CampaignRun& run : ledger->campaigns) {
        EXPECT_EQ(run.findings.size(), run.violations) << run.from;
        for (const std::string& finding : run.findings) {
            unsigned long long seed = 0;
            ASSERT_EQ(std::sscanf(finding.c_str(), "seed %llu (", &seed), 1) << finding;
            EXPECT_NE(record->mended_in(seed, run.commit), "") << finding << " at " << run.commit;
            ++findings;
        }
    }
    EXPECT_EQ(findings, ledger->violations);
    EXPECT_GT(findings, 0U);
}

}  // namespace
}  // namespace cw::sim
