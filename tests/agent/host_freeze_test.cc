// Writers of this host that are made still for a cut: what is known of it, and when.
#include "agent/scan/host_freeze.h"

#include "agent/full_disk.h"

#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

namespace cw::agent::test {
namespace {

namespace fs = std::filesystem;
using State = SourceFreeze::State;

class Host : public testing::Test {
protected:
    Host() : directory_(testing::TempDir() + "cw_host_" + std::to_string(::getpid())) {
        fs::remove_all(directory_);
        fs::create_directories(directory_);
    }
    ~Host() override {
        let_hook_end();
        freeze_.reset();
        freezer_.reset();
        fs::remove_all(directory_);
    }
    void make(std::vector<std::string> post) {
        freeze_.reset();
        freezer_ = std::make_unique<Freezer>(Freezer::Options{.pre = {"true"},
                                                              .post = std::move(post),
                                                              .limit_ns = 600 * ns_per_s,
                                                              .marker_path = path("frozen")},
                                             *disk_, *clock_);
        freeze_ = std::make_unique<HostFreeze>(*freezer_);
    }
    // Steps until the state is `wanted`; bounded.
    bool reach(State wanted) {
        const Nanos limit = clock_->boot() + 60 * ns_per_s;
        while (freeze_->step() != wanted && clock_->boot() - limit < 0) {
            ::poll(nullptr, 0, 2);
        }
        return freeze_->state() == wanted;
    }
    void freeze_and_thaw() {
        freeze_->begin();
        ASSERT_TRUE(reach(State::frozen));
        EXPECT_TRUE(freeze_->holding());
        freeze_->thaw();
        freeze_->step();
    }
    // A post-hook that ends when it is let, with `status`, and leaves a mark; with the test's
    // directory it ends too.
    std::vector<std::string> waiting(int status) {
        return {"sh", "-c",
                "touch " + path("begun") + "; while [ -e " + directory_ + " ] && [ ! -e " +
                    path("go") + " ]; do sleep 0.02; done; touch " + path("done") + "; exit " +
                    std::to_string(status)};
    }
    void let_hook_end() const { std::ofstream(path("go")).put('1'); }
    [[nodiscard]] std::string path(const std::string& name) const {
        return directory_ + "/" + name;
    }
    [[nodiscard]] bool has(const std::string& name) const { return fs::exists(path(name)); }
    bool comes(const std::string& name) {
        const Nanos limit = clock_->boot() + 60 * ns_per_s;
        while (!has(name) && clock_->boot() - limit < 0) {
            ::poll(nullptr, 0, 2);
        }
        return has(name);
    }

    const std::string directory_;
    std::unique_ptr<Clock> clock_ = make_system_clock();
    std::unique_ptr<Disk> disk_ = make_posix_disk();
    std::unique_ptr<Freezer> freezer_;
    std::unique_ptr<HostFreeze> freeze_;
};

// Else all that is written behind the cut would wait for the hook, in memory.
TEST_F(Host, IsKnownToHaveBeenStillWhileThePostHookRuns) {
    make(waiting(0));
    ASSERT_NO_FATAL_FAILURE(freeze_and_thaw());
    ASSERT_TRUE(comes("begun"));
    EXPECT_EQ(freeze_->step(), State::finishing);
    EXPECT_FALSE(freeze_->holding());
    const auto proof = freeze_->proof(0);
    ASSERT_TRUE(proof);
    EXPECT_TRUE(*proof);
    EXPECT_TRUE(has("frozen"));  // A killed agent owes it until it has ended.
    let_hook_end();
    ASSERT_TRUE(reach(State::idle));
    EXPECT_FALSE(freezer_->post_error());
    EXPECT_FALSE(has("frozen"));
}

TEST_F(Host, IsCalledStillWhateverThePostHookSays) {
    for (const auto& post : {std::vector<std::string>{"sh", "-c", "exit 3"},
                             std::vector<std::string>{"/nonexistent"}}) {
        make(post);
        ASSERT_NO_FATAL_FAILURE(freeze_and_thaw());
        ASSERT_TRUE(reach(State::idle));
        EXPECT_FALSE(freeze_->error()) << post.front();
        EXPECT_TRUE(*freeze_->proof(0)) << post.front();
        ASSERT_TRUE(freezer_->post_error()) << post.front();
        EXPECT_EQ(freezer_->post_error()->code, Errc::hook_failed);
    }
    make({"true"});
    ASSERT_NO_FATAL_FAILURE(freeze_and_thaw());
    ASSERT_TRUE(reach(State::idle));
    EXPECT_FALSE(freezer_->post_error());
}

TEST_F(Host, OfAFailingPreHookIsKnownNotToBeStillAtOnce) {
    freezer_ = std::make_unique<Freezer>(
        Freezer::Options{.pre = {"false"}, .post = waiting(0), .marker_path = path("frozen")},
        *disk_, *clock_);
    freeze_ = std::make_unique<HostFreeze>(*freezer_);
    freeze_->begin();
    ASSERT_TRUE(reach(State::finishing));
    const auto proof = freeze_->proof(0);
    ASSERT_TRUE(proof && !*proof);
    EXPECT_EQ(proof->error().code, Errc::hook_failed);
    let_hook_end();
    ASSERT_TRUE(reach(State::idle));
}

// A hook that was killed halfway would leave the source as nobody knows.
TEST_F(Host, APostHookThatRunsWhenTheAgentEndsGoesOnAndTheNextOneRunsItAgain) {
    make(waiting(0));
    ASSERT_NO_FATAL_FAILURE(freeze_and_thaw());
    ASSERT_TRUE(comes("begun"));
    freeze_.reset();
    freezer_.reset();
    fs::remove(path("begun"));
    let_hook_end();
    EXPECT_TRUE(comes("done"));
    make(waiting(0));
    ASSERT_TRUE(reach(State::idle));
    EXPECT_TRUE(has("begun"));
    EXPECT_FALSE(has("frozen"));
}

// A thaw that is never confirmed, as of a guest whose agent hangs in a hook of its own.
class NeverThawed final : public SourceFreeze {
public:
    [[nodiscard]] State state() const noexcept override { return State::thawing; }
    void begin() override {}
    State step() override { return State::thawing; }
    void thaw() override {}
    [[nodiscard]] const std::optional<Error>& error() const noexcept override { return error_; }
    [[nodiscard]] Errc unfrozen() const noexcept override { return Errc::guest_unfrozen; }
    [[nodiscard]] std::string summary() const override { return ""; }

private:
    std::optional<Error> error_;
};

TEST(SourceFreeze, WhoseThawIsNotConfirmedInTimeIsNotCalledStill) {
    const NeverThawed freeze;
    EXPECT_FALSE(freeze.proof(0));
    EXPECT_FALSE(freeze.proof(SourceFreeze::proof_limit_ns - 1));
    const auto proof = freeze.proof(SourceFreeze::proof_limit_ns);
    ASSERT_TRUE(proof && !*proof);
    EXPECT_EQ(proof->error().code, Errc::guest_unfrozen);
}

TEST(FullDisk, OfAnAgentIsNamedOnceAndOtherErrorsStay) {
    const Error full = name_full_disk({Errc::disk_full, "write: No space left on device"}, "/s");
    EXPECT_EQ(full.code, Errc::disk_full);
    EXPECT_NE(full.detail.find("that of /s, where"), std::string::npos);
    EXPECT_NE(full.detail.find("No space left on device"), std::string::npos);
    EXPECT_EQ(name_full_disk(full, "/other").detail, full.detail);
    EXPECT_EQ(name_full_disk({Errc::io_error, "x"}, "/s").detail, "x");
}

}  // namespace
}  // namespace cw::agent::test
