// The guard as a process: what it lets go of, and what it leaves alone.
#include "agent/nbd/nbd_guard.h"

#include <csignal>
#include <filesystem>

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

namespace cw::agent::test {
namespace {

constexpr int patience_ms = 120'000;  // It takes less than a second where there is nothing else.

struct Pair {
    Pair() {
        std::array<int, 2> ends{};
        EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
        ours = Fd(ends[0]);
        client = Fd(ends[1]);
    }
    void ask() const { EXPECT_EQ(::send(client.get(), "x", 1, MSG_NOSIGNAL), 1); }
    Fd ours, client;
};

bool is_cut(const Fd& client, int wait_ms) {
    pollfd ready{client.get(), POLLRDHUP, 0};
    return ::poll(&ready, 1, wait_ms) == 1;
}

class Guard : public testing::Test {
protected:
    Guard() : path_(testing::TempDir() + "cw_guard_" + std::to_string(::getpid())) {
        std::filesystem::remove(path_);
        listener_ = Fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
        address_.sun_family = AF_UNIX;
        path_.copy(address_.sun_path, sizeof address_.sun_path - 1);
        EXPECT_EQ(::bind(listener_.get(), address(), sizeof address_), 0);
        EXPECT_EQ(::listen(listener_.get(), 16), 0);
        guard_ = std::make_unique<NbdGuard>(CAUSEWAY_AGENT, listener_.get());
    }
    ~Guard() override { std::filesystem::remove(path_); }
    const sockaddr* address() const { return reinterpret_cast<const sockaddr*>(&address_); }

    const std::string path_;
    sockaddr_un address_{};
    Fd listener_;
    std::unique_ptr<NbdGuard> guard_;
};

TEST_F(Guard, CutsWhoWaitsForAnAgentThatStandsStillAndNobodyElse) {
    const Pair unread, taken, idle;
    guard_->watch(0, idle.ours.get());
    guard_->watch(1, unread.ours.get());
    guard_->watch(2, taken.ours.get());
    unread.ask();
    ++guard_->turns(2);  // As when it stopped between the request and the reply.
    EXPECT_TRUE(is_cut(unread.client, patience_ms));
    EXPECT_TRUE(is_cut(taken.client, patience_ms));
    EXPECT_FALSE(is_cut(idle.client, 0));
    idle.ask();
    EXPECT_TRUE(is_cut(idle.client, patience_ms));
}

TEST_F(Guard, LeavesAForgottenConnectionAlone) {
    const Pair forgotten, other;
    guard_->watch(0, forgotten.ours.get());
    guard_->forget(0);
    forgotten.ask();
    guard_->watch(1, other.ours.get());
    other.ask();
    EXPECT_TRUE(is_cut(other.client, patience_ms));
    EXPECT_FALSE(is_cut(forgotten.client, 0));
}

TEST_F(Guard, RefusesWhoConnectsMeanwhile) {
    const Fd client(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    ASSERT_EQ(::connect(client.get(), address(), sizeof address_), 0);
    EXPECT_TRUE(is_cut(client, patience_ms));
}

TEST_F(Guard, ThatWasKilledIsStartedAgainAndKnowsAll) {
    const Pair pair;
    guard_->watch(3, pair.ours.get());
    const int before = guard_->pid();
    ASSERT_EQ(::kill(before, SIGKILL), 0);
    for (int i = 0; i < patience_ms && guard_->pid() == before; ++i) {
        guard_->beat();
        ::usleep(1000);  // The kernel is burying it.
    }
    ASSERT_NE(guard_->pid(), before);
    for (int i = 0; i < 100 && guard_->pid() < 0; ++i) {
        guard_->beat();
    }
    ASSERT_GT(guard_->pid(), 0);
    pair.ask();
    EXPECT_TRUE(is_cut(pair.client, patience_ms));
}

TEST(StandStill, NeedsSeveralLooksWithoutAnyMove) {
    StandStill still;
    const auto looks = [&](int count, std::uint64_t beat, std::uint64_t turns, bool owed) {
        bool cut = false;
        for (int i = 0; i < count; ++i) {
            cut = still.look(beat, turns, owed) || cut;
        }
        return cut;
    };
    EXPECT_FALSE(looks(guard_looks, 1, 0, true));
    EXPECT_FALSE(looks(guard_looks, 2, 0, true));  // The agent's beat went on,
    EXPECT_FALSE(looks(guard_looks, 2, 1, true));  // the connection went on;
    EXPECT_TRUE(looks(1, 2, 1, true));             // now nothing did.
    EXPECT_FALSE(looks(1, 2, 2, true));
    EXPECT_FALSE(looks(1000, 2, 2, false));        // Nobody waits, for as long as they like.
    EXPECT_TRUE(looks(1, 2, 2, true));             // Who asks one that stands still is cut,
    EXPECT_FALSE(looks(guard_looks, 3, 2, true));  // unless it has moved meanwhile.
}

}  // namespace
}  // namespace cw::agent::test
