#include "agent/scan/scan_source.h"
#include "tests/agent/harness.h"

#include <chrono>
#include <cstdio>
#include <fstream>

namespace cw::agent::test {
namespace {

bool exists(const std::string& path) {
    return std::filesystem::exists(path);
}

class Scan : public testing::Test {
protected:
    void make(Freezer::Options freeze) {
        clock_ = make_system_clock();
        freeze.marker_path = h_.directory + "/frozen";
        freezer_ = std::make_unique<Freezer>(freeze, *h_.disk, *clock_);
        std::vector<ScanSource::Disk> disks;
        disks.push_back({h_.captures[0].get(), h_.directory + "/none", h_.directory + "/clone",
                         DigestTable::open(*h_.disk, *h_.random, h_.directory + "/digests",
                                           h_.options.disk_bytes, true)
                             .value()});
        scan_ = std::make_unique<ScanSource>(ScanSource::Options{.try_clones = false},
                                             *h_.replicator, *freezer_, std::move(disks));
        ASSERT_TRUE(h_.run_until_protected());
    }
    // Runs one scan to its outcome, and its post-hook to its end.
    Result<PointId> scan() {
        auto outcome = scan_only();
        const auto give_up = std::chrono::steady_clock::now() + std::chrono::minutes(1);
        while (freezer_->state() != Freezer::State::idle &&
               std::chrono::steady_clock::now() < give_up) {
            scan_->step();
            ::usleep(200);
        }
        EXPECT_EQ(freezer_->state(), Freezer::State::idle);
        return outcome;
    }
    Result<PointId> scan_only() {
        const auto give_up = std::chrono::steady_clock::now() + std::chrono::minutes(1);
        while (!scan_->begin("t") && std::chrono::steady_clock::now() < give_up) {
            scan_->step();  // The post-hook of the one before.
            ::usleep(200);
        }
        while (scan_->running() && std::chrono::steady_clock::now() < give_up) {
            scan_->step();
            h_.steps(1);
            if (freezing()) {
                ::usleep(200);  // A real child process runs meanwhile.
            }
        }
        EXPECT_FALSE(scan_->running());
        const auto outcome = scan_->outcome().value();
        if (outcome) {
            h_.at_point.emplace(*outcome, std::vector<ByteVector>{h_.images[0]->copy()});
            EXPECT_TRUE(h_.run_until([&] {
                return h_.replicator->points().find(*outcome)->phase == PointPhase::committed;
            }));
        }
        return outcome;
    }
    bool freezing() { return freezer_->can_freeze(); }
    void change(std::uint64_t at, std::uint8_t fill) {  // As somebody else does: not through us.
        const ByteVector data(3000 / 512 * 512, std::byte{fill});
        ASSERT_TRUE(h_.images[0]->write(at, data));
    }
    Harness h_;
    std::unique_ptr<Clock> clock_;
    std::unique_ptr<Freezer> freezer_;
    std::unique_ptr<ScanSource> scan_;
};

TEST_F(Scan, SendsOnlyDifferencesAndMakesAFilesystemPointOfAFrozenView) {
    const std::string log = h_.directory + "/hooks";
    make({.pre = {"sh", "-c", "echo pre >> " + log}, .post = {"sh", "-c", "echo post >> " + log}});
    ASSERT_TRUE(scan().has_value());
    const std::uint64_t before = h_.server.write_bytes;
    change(mib, 1);
    change(9 * mib, 2);
    ASSERT_TRUE(scan().has_value());
    EXPECT_EQ(h_.server.write_bytes - before, 2 * map_block_bytes);
    EXPECT_EQ(h_.server.points.back().point.kind, pipeline::PointKind::filesystem);
    EXPECT_EQ(h_.check_points(), 2U);
    h_.expect_no_violations();
    std::ifstream in(log);
    const std::string text((std::istreambuf_iterator<char>(in)), {});
    EXPECT_EQ(text, "pre\npost\npre\npost\n");
    EXPECT_FALSE(exists(h_.directory + "/frozen"));
}

// It stood still when it was read: what the post-hook says afterwards changes nothing of that.
TEST_F(Scan, WaitsForNoPostHookAndIsNotSpoiledByOne) {
    const std::string go = h_.directory + "/go";
    make({.pre = {"true"},
          // It ends with the test's directory too.
          .post = {"sh", "-c",
                   "while [ -e " + h_.directory + " ] && [ ! -e " + go +
                       " ]; do sleep 0.02; done; exit 3"},
          .limit_ns = 600 * ns_per_s});
    change(mib, 1);
    ASSERT_TRUE(scan_only().has_value());
    EXPECT_EQ(h_.server.points.back().point.kind, pipeline::PointKind::filesystem);
    EXPECT_EQ(freezer_->state(), Freezer::State::finishing);
    EXPECT_FALSE(scan_->begin("another, whose pre-hook would come before that post-hook"));
    std::ofstream(go).put('1');
    EXPECT_TRUE(scan().has_value());
    ASSERT_TRUE(freezer_->post_error());
    EXPECT_EQ(freezer_->post_error()->code, Errc::hook_failed);
    EXPECT_EQ(h_.check_points(), 2U);
    h_.expect_no_violations();
}

TEST_F(Scan, OfAnAgentThatStopsInItsPreHookHasItsPostHookRunAllTheSame) {
    const std::string began = h_.directory + "/began", mark = h_.directory + "/post";
    make({.pre = {"sh", "-c",
                  "touch " + began + "; while [ -e " + h_.directory + " ]; do sleep 0.02; done"},
          .post = {"touch", mark},
          .limit_ns = 600 * ns_per_s});
    const auto give_up = std::chrono::steady_clock::now() + std::chrono::minutes(1);
    const auto waiting = [&] { return std::chrono::steady_clock::now() < give_up; };
    while (!scan_->begin("t") && waiting()) {
        h_.steps(1);
    }
    while (!exists(began) && waiting()) {
        scan_->step();
        ::usleep(200);
    }
    ASSERT_EQ(freezer_->state(), Freezer::State::freezing);
    scan_.reset();
    freezer_.reset();
    while (!exists(mark) && waiting()) {
        ::usleep(200);
    }
    EXPECT_TRUE(exists(mark));
    EXPECT_TRUE(exists(h_.directory + "/frozen"));
}

TEST_F(Scan, OfSomethingUnfrozenMakesNoPointAndSaysSo) {
    make({});
    change(mib, 1);
    const auto outcome = scan();
    ASSERT_FALSE(outcome.has_value());
    EXPECT_EQ(outcome.error().code, Errc::source_unfrozen);
    EXPECT_TRUE(h_.server.points.empty());
    h_.steps(100);
    EXPECT_EQ(h_.server.write_bytes, map_block_bytes);  // The difference is sent all the same.
}

TEST_F(Scan, C9_ADiskThatGrewMakesNoPointAndSaysSo) {
    const std::string mark = h_.directory + "/post";
    make({.pre = {"true"}, .post = {"touch", mark}});
    h_.images[0]->grown_by = mib;
    const auto outcome = scan();
    ASSERT_FALSE(outcome.has_value());
    EXPECT_EQ(outcome.error().code, Errc::size_mismatch);
    EXPECT_TRUE(exists(mark));
    EXPECT_TRUE(h_.server.points.empty());
    h_.images[0]->grown_by = 0;
    EXPECT_TRUE(scan().has_value());
}

TEST_F(Scan, OfADiskThatVanishesMakesNoPointThawsAndGoesOnWhenItIsBack) {
    const std::string mark = h_.directory + "/post";
    make({.pre = {"true"}, .post = {"touch", mark}});
    change(9 * mib, 1);
    h_.images[0]->reads_left = 2;  // Of the four that a scan of it takes.
    const auto outcome = scan();
    ASSERT_FALSE(outcome.has_value());
    EXPECT_EQ(outcome.error().code, Errc::source_gone);
    EXPECT_TRUE(exists(mark));
    EXPECT_TRUE(h_.server.points.empty());
    h_.images[0]->reads_left = UINT64_MAX;
    EXPECT_TRUE(scan().has_value());
    EXPECT_EQ(h_.check_points(), 1U);
    h_.expect_no_violations();
}

TEST(BlockImage, ThatBecameShorterOrIsNoDiskIsGone) {
    const std::string path = testing::TempDir() + "cw_gone_" + std::to_string(::getpid());
    std::ofstream(path) << std::string(mib, 'x');
    const auto image = open_image(path, ImageAccess::read_only);
    ASSERT_TRUE(image.has_value());
    ByteVector bytes(64 * kib);
    EXPECT_TRUE((*image)->read(mib - bytes.size(), bytes).has_value());
    std::filesystem::resize_file(path, 4096);
    const auto read = (*image)->read(mib - bytes.size(), bytes);
    std::filesystem::remove(path);
    ASSERT_FALSE(read.has_value());
    EXPECT_EQ(read.error().code, Errc::source_gone);
    const auto other = open_image("/dev/null", ImageAccess::read_only);
    ASSERT_FALSE(other.has_value());
    EXPECT_EQ(other.error().code, Errc::source_gone);
}

TEST_F(Scan, FailingPreHookMakesNoPointButThePostHookRuns) {
    const std::string mark = h_.directory + "/post";
    make({.pre = {"false"}, .post = {"touch", mark}});
    const auto outcome = scan();
    ASSERT_FALSE(outcome.has_value());
    EXPECT_EQ(outcome.error().code, Errc::hook_failed);
    EXPECT_TRUE(exists(mark));
}

TEST_F(Scan, PreHookThatHangsIsKilledAndThePostHookRuns) {
    const std::string mark = h_.directory + "/post";
    // The limit is for each of the two; touch has to be quick enough for it on any machine.
    make({.pre = {"sleep", "600"}, .post = {"touch", mark}, .limit_ns = 5 * ns_per_s});
    const auto outcome = scan();
    ASSERT_FALSE(outcome.has_value());
    EXPECT_EQ(outcome.error().code, Errc::hook_failed);
    EXPECT_TRUE(exists(mark));
}

TEST_F(Scan, AgentKilledWhileFrozenRunsThePostHookAtTheNextStart) {
    const std::string mark = h_.directory + "/post";
    make({.pre = {"true"}, .post = {"touch", mark}});
    ASSERT_TRUE(scan_->begin(""));
    scan_.reset();
    freezer_.reset();  // As after kill -9: nothing was thawed.
    ASSERT_TRUE(exists(h_.directory + "/frozen"));
    std::filesystem::remove(mark);
    make({.pre = {"true"}, .post = {"touch", mark}});
    const auto give_up = std::chrono::steady_clock::now() + std::chrono::minutes(1);
    while (scan_->running() && std::chrono::steady_clock::now() < give_up) {
        scan_->step();
        ::usleep(1000);
    }
    EXPECT_TRUE(exists(mark));
    EXPECT_FALSE(exists(h_.directory + "/frozen"));
}

TEST(Command, IsSplitWithoutAShell) {
    EXPECT_EQ(split_command("a 'b c' \"d\\\"e\" f\\ g $(h)").value(),
              (std::vector<std::string>{"a", "b c", "d\"e", "f g", "$(h)"}));
    EXPECT_FALSE(split_command("a 'b").has_value());
    EXPECT_FALSE(split_command("  ").has_value());
}

}  // namespace
}  // namespace cw::agent::test
