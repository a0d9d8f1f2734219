// Hooks that outlive the agent that started them, and processes that outlive our patience.
#include "agent/scan/freezer.h"

#include <csignal>
#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

namespace cw::agent::test {
namespace {

namespace fs = std::filesystem;
using State = Freezer::State;

class EarlierHookTest : public testing::Test {
protected:
    EarlierHookTest() : directory_(testing::TempDir() + "cw_hook_" + std::to_string(::getpid())) {
        fs::remove_all(directory_);
        fs::create_directories(directory_);
    }
    ~EarlierHookTest() override {
        let_hooks_end();
        freezer_.reset();
        fs::remove_all(directory_);
        ChildProcess::reap_given_up();
    }
    // A hook that notes its beginning and its end, and ends when it is let (or with the test).
    std::vector<std::string> waiting() {
        return {"sh", "-c",
                "echo begun >> " + path("hooks") + "; while [ -e " + directory_ + " ] && [ ! -e " +
                    path("go") + " ]; do sleep 0.02; done; echo ended >> " + path("hooks")};
    }
    void make(Freezer::Options options) { make(std::move(options), *clock_); }
    void make(Freezer::Options options, Clock& clock) {
        freezer_.reset();
        options.marker_path = path("frozen");
        freezer_ = std::make_unique<Freezer>(std::move(options), *disk_, clock);
        if (freezer_->owes_thaw()) {
            freezer_->begin_thaw();
        }
    }
    // An agent that ends while the post-hook of its freeze runs.
    void leave_post_hook() {
        make({.pre = {"true"}, .post = waiting()});
        freezer_->begin_freeze();
        ASSERT_TRUE(reach(State::frozen));
        freezer_->begin_thaw();
        ASSERT_TRUE(reach(State::finishing));
        ASSERT_TRUE(hooks_become("begun "));
    }
    // Steps until the state is `wanted`; bounded.
    bool reach(State wanted) {
        return until([&] { return freezer_->step() == wanted; });
    }
    bool hooks_become(const std::string& wanted) {
        return until([&] { return hooks() == wanted; });
    }
    [[nodiscard]] std::string hooks() const {
        std::ifstream in(path("hooks"));
        std::string all, word;
        while (in >> word) {
            all += word + " ";
        }
        return all;
    }
    bool until(const std::function<bool()>& done) const {
        const Nanos limit = clock_->boot() + 60 * ns_per_s;
        while (clock_->boot() - limit < 0) {
            if (done()) {
                return true;
            }
            ::poll(nullptr, 0, 2);
        }
        return false;
    }
    void let_hooks_end() const { std::ofstream(path("go")).put('1'); }
    void write_marker(const HookMarker& marker) const {
        std::ofstream(path("frozen")) << to_text(marker);
    }
    [[nodiscard]] std::string path(const std::string& name) const {
        return directory_ + "/" + name;
    }

    const std::string directory_;
    std::unique_ptr<Clock> clock_ = make_system_clock();
    std::unique_ptr<Disk> disk_ = make_posix_disk();
    std::unique_ptr<Freezer> freezer_;
};

// Two hooks at once: the pre-hook of the next point makes still what the old post-hook lets go.
TEST_F(EarlierHookTest, IsWaitedForBeforeAnotherOneBegins) {
    ASSERT_NO_FATAL_FAILURE(leave_post_hook());
    make({.pre = {"true"}, .post = waiting(), .limit_ns = 600 * ns_per_s});
    ASSERT_EQ(freezer_->step(), State::finishing);
    ASSERT_TRUE(freezer_->earlier_hook());
    EXPECT_EQ(freezer_->earlier_hook()->kind(), HookKind::post);
    EXPECT_EQ(freezer_->step(), State::finishing);  // A freeze begins only when it is idle.
    EXPECT_TRUE(freezer_->earlier_hook());
    let_hooks_end();
    ASSERT_TRUE(reach(State::idle));
    EXPECT_FALSE(freezer_->earlier_hook());
    EXPECT_EQ(hooks(), "begun ended begun ended ");
    EXPECT_FALSE(fs::exists(path("frozen")));
}

TEST_F(EarlierHookTest, IsKilledWhenItsTimeIsOverWhichIsCountedFromItsStart) {
    ASSERT_NO_FATAL_FAILURE(leave_post_hook());
    ManualClock later;  // Ten minutes from now.
    later.advance((clock_->boot() - later.boot()) + 600 * ns_per_s);
    make({.pre = {"true"}, .post = {"true"}, .limit_ns = 660 * ns_per_s}, later);
    EXPECT_EQ(freezer_->step(), State::finishing);
    EXPECT_EQ(freezer_->step(), State::finishing);
    make({.pre = {"true"}, .post = {"true"}, .limit_ns = 540 * ns_per_s}, later);
    ASSERT_TRUE(reach(State::idle));
    EXPECT_EQ(hooks(), "begun ");  // It was not let end.
    EXPECT_FALSE(freezer_->post_error());
    EXPECT_FALSE(fs::exists(path("frozen")));
}

// An agent that ends while it waits for one owes what it owed before.
TEST_F(EarlierHookTest, IsWaitedForByTheThirdAgentToo) {
    ASSERT_NO_FATAL_FAILURE(leave_post_hook());
    make({.pre = {"true"}, .post = waiting(), .limit_ns = 600 * ns_per_s});
    ASSERT_EQ(freezer_->step(), State::finishing);
    const int pid = freezer_->earlier_hook()->pid();
    make({.pre = {"true"}, .post = waiting(), .limit_ns = 600 * ns_per_s});
    ASSERT_EQ(freezer_->step(), State::finishing);
    ASSERT_TRUE(freezer_->earlier_hook());
    EXPECT_EQ(freezer_->earlier_hook()->pid(), pid);
    let_hooks_end();
    ASSERT_TRUE(reach(State::idle));
    EXPECT_EQ(hooks(), "begun ended begun ended ");
}

// As an agent does it that lives when its pre-hook is not wanted any more.
TEST_F(EarlierHookTest, ThatIsAPreHookIsKilledAtOnce) {
    auto hook = ChildProcess::start({"sleep", "600"}, *clock_, 600 * ns_per_s);
    ASSERT_TRUE(hook);
    const auto mark = mark_of(hook->pid());
    ASSERT_TRUE(mark);
    write_marker({.hook = HookMarker::Hook{HookKind::pre, *mark}});
    make({.pre = {"true"}, .limit_ns = 600 * ns_per_s});
    ASSERT_TRUE(reach(State::idle));
    EXPECT_FALSE(still_runs(*mark));
}

// Its number may be another's by now, who must not be killed for it.
TEST_F(EarlierHookTest, IsNotTakenForAnotherProcessOfTheSameNumber) {
    auto other = ChildProcess::start({"sleep", "600"}, *clock_, 600 * ns_per_s);
    ASSERT_TRUE(other);
    const auto mark = mark_of(other->pid());
    ASSERT_TRUE(mark && still_runs(*mark));
    ProcessMark later = *mark, of_other_boot = *mark;
    --later.start_ticks;
    of_other_boot.boot = "00000000-0000-4000-8000-000000000000";
    for (const ProcessMark& wrong : {later, of_other_boot}) {
        write_marker({.hook = HookMarker::Hook{HookKind::pre, wrong}});
        make({.pre = {"true"}});
        EXPECT_FALSE(freezer_->earlier_hook());
        ASSERT_TRUE(reach(State::idle));
        EXPECT_TRUE(still_runs(*mark));
    }
}

TEST(HookMarkerText, TellsMountAndHookAndReadsWhatEarlierAgentsWrote) {
    const ProcessMark process{123, 456, "b-o-o-t"};
    for (const std::string mount : {"", "/mnt", "/mnt/a b\nhook c"}) {
        const HookMarker both{.mount = mount, .hook = HookMarker::Hook{HookKind::post, process}};
        const HookMarker read = parse_marker(to_text(both));
        EXPECT_EQ(read.mount, mount);
        ASSERT_TRUE(read.hook);
        EXPECT_EQ(read.hook->kind, HookKind::post);
        EXPECT_EQ(read.hook->process, process);
        EXPECT_EQ(parse_marker(to_text({.mount = mount})).mount, mount);
    }
    EXPECT_TRUE(parse_marker("frozen\n").mount.empty());
    EXPECT_EQ(parse_marker("frozen /mnt").mount, "/mnt");
    for (const char* broken : {"", "frozen", "frozen\nhook", "frozen\nhook post-hook",
                               "frozen\nhook post-hook x y z", "frozen\nhook post-hook 1 2 boot",
                               "frozen\nhook post-hook -5 2 boot", "frozen\nhook other 7 2 b"}) {
        EXPECT_FALSE(parse_marker(broken).hook) << broken;
    }
}

TEST(ProcessMarkOf, TellsWhenAProcessBeganAndADeadOneDoesNotRun) {
    const auto clock = make_system_clock();
    const auto own = mark_of(::getpid());
    ASSERT_TRUE(own);
    EXPECT_TRUE(still_runs(*own));
    EXPECT_EQ(parse_mark(to_string(*own)), own);
    const Nanos now = clock->boot();
    EXPECT_GE(now - started_at(*own, now), 0);
    EXPECT_LT(now - started_at(*own, now), 3600 * ns_per_s);
    const pid_t pid = ::fork();
    if (pid == 0) {
        ::pause();
        ::_exit(0);
    }
    const auto child = mark_of(pid);
    ASSERT_TRUE(child && still_runs(*child));
    ::kill(pid, SIGKILL);
    siginfo_t info{};
    ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT), 0);
    EXPECT_FALSE(still_runs(*child));  // Dead, and nobody has waited for it yet.
    ::waitpid(pid, nullptr, 0);
    EXPECT_FALSE(still_runs(*child));
    EXPECT_FALSE(mark_of(pid));
}

// What is not written down yet must not have begun.
TEST_F(EarlierHookTest, ThatIsHeldBeginsOnlyWhenItIsReleased) {
    {
        auto held = ChildProcess::start_held({"touch", path("never")}, *clock_, 60 * ns_per_s);
        ASSERT_TRUE(held);
        EXPECT_TRUE(mark_of(held->pid()));
        EXPECT_FALSE(held->poll());
    }
    EXPECT_FALSE(fs::exists(path("never")));
    auto held = ChildProcess::start_held({"touch", path("made")}, *clock_, 60 * ns_per_s);
    ASSERT_TRUE(held);
    held->release();
    std::optional<Result<void>> ended;
    ASSERT_TRUE(until([&] { return (ended = held->poll()).has_value(); }));
    EXPECT_TRUE(*ended);
    EXPECT_TRUE(fs::exists(path("made")));
    auto missing = ChildProcess::start_held({path("nothing")}, *clock_, 60 * ns_per_s);
    ASSERT_TRUE(missing);
    missing->release();
    ASSERT_TRUE(until([&] { return (ended = missing->poll()).has_value(); }));
    ASSERT_FALSE(*ended);
    EXPECT_EQ(ended->error().code, Errc::hook_failed);
    EXPECT_NE(ended->error().detail.find("No such file"), std::string::npos)
        << ended->error().detail;
}

// One that SIGKILL does not end at once (it waits for a disk that hangs) dies some day all the
// same.
TEST_F(EarlierHookTest, ThatWasGivenUpLeavesTheListOfProcessesWhenItHasDied) {
    ManualClock clock;
    auto child = ChildProcess::start({"sleep", "600"}, clock, ns_per_s);
    ASSERT_TRUE(child);
    const int pid = child->pid();
    clock.advance(60 * ns_per_s);  // As if its kill had been of no use for so long.
    const auto ended = child->poll();
    ASSERT_TRUE(ended && !*ended);
    EXPECT_NE(ended->error().detail.find("cannot be killed"), std::string::npos);
    EXPECT_TRUE(until([&] {
        ChildProcess::reap_given_up();
        return ::kill(pid, 0) != 0;  // A dead one that nobody waits for is there still.
    }));
}

}  // namespace
}  // namespace cw::agent::test
