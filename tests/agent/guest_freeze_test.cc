// Freezing a guest through its agent: always thawed, never frozen late.
#include "agent/qemu/guest_freeze.h"

#include "tests/agent/fake_monitor.h"

#include <algorithm>

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

namespace cw::agent::test {
namespace {

constexpr const char* nothing = "{\"return\": {}, \"id\": $ID}\n";

bool asks(const std::string& line, const char* command) {
    return line.starts_with("{\"execute\":\"" + std::string(command) + "\"");
}

class Guest : public testing::Test {
protected:
    Guest() : clock_(make_system_clock()) {
        options_.socket = testing::TempDir() + "cw_qga_" + std::to_string(::getpid());
    }
    // Steps until the state is `wanted`; bounded.
    bool reach(GuestFreeze& freeze, GuestFreeze::State wanted) {
        const Nanos limit = clock_->boot() + 30 * ns_per_s;
        while (freeze.step() != wanted && clock_->boot() - limit < 0) {
            pollfd waiting{freeze.fd(), POLLIN, 0};
            ::poll(&waiting, freeze.fd() >= 0 ? 1 : 0, 5);
        }
        return freeze.state() == wanted;
    }
    static long count(FakeMonitor& guest, const char* command) {
        const auto lines = guest.lines();
        return std::ranges::count_if(lines, [&](const auto& line) { return asks(line, command); });
    }
    bool comes(FakeMonitor& guest, const char* command) {
        const Nanos limit = clock_->boot() + 30 * ns_per_s;
        while (count(guest, command) == 0 && clock_->boot() - limit < 0) {
            ::poll(nullptr, 0, 5);
        }
        return count(guest, command) > 0;
    }
    std::unique_ptr<Clock> clock_;
    GuestFreeze::Options options_;
};

TEST_F(Guest, IsFrozenForTheCutAndThawedAfterIt) {
    FakeMonitor guest(options_.socket, "", [](const std::string& line) {
        return std::string(asks(line, "guest-ping") ? nothing : "{\"return\": 2, \"id\": $ID}\n");
    });
    GuestFreeze freeze(options_, *clock_);
    freeze.begin();
    ASSERT_TRUE(reach(freeze, GuestFreeze::State::frozen));
    EXPECT_EQ(freeze.summary(), "guest-fsfreeze-freeze: 2 file systems");
    EXPECT_EQ(count(guest, "guest-fsfreeze-thaw"), 0);
    freeze.thaw();
    ASSERT_TRUE(reach(freeze, GuestFreeze::State::idle));
    EXPECT_FALSE(freeze.error());
    EXPECT_EQ(count(guest, "guest-fsfreeze-thaw"), 1);
}

TEST_F(Guest, ThatDoesNotAnswerIsNeverAskedToFreeze) {
    FakeMonitor guest(options_.socket, "", [](const std::string&) { return std::string(); });
    options_.answer_ns = 50 * ns_per_ms;
    GuestFreeze freeze(options_, *clock_);
    freeze.begin();
    ASSERT_TRUE(reach(freeze, GuestFreeze::State::idle));
    ASSERT_TRUE(freeze.error());
    EXPECT_EQ(freeze.error()->code, Errc::guest_unfrozen);
    EXPECT_EQ(count(guest, "guest-fsfreeze-freeze"), 0);
}

TEST_F(Guest, WhoseFreezeTakesTooLongIsThawedAllTheSame) {
    FakeMonitor guest(options_.socket, "", [](const std::string& line) {
        return std::string(asks(line, "guest-fsfreeze-freeze") ? "" : nothing);
    });
    options_.freeze_ns = 200 * ns_per_ms;
    GuestFreeze freeze(options_, *clock_);
    freeze.begin();
    ASSERT_TRUE(reach(freeze, GuestFreeze::State::idle));
    EXPECT_EQ(freeze.error()->code, Errc::guest_unfrozen);
    EXPECT_TRUE(comes(guest, "guest-fsfreeze-thaw"));
}

TEST_F(Guest, OfAnAgentThatDiesIsThawedByTheHelper) {
    FakeMonitor guest(options_.socket, "", [](const std::string& line) {
        return std::string(asks(line, "guest-ping") ? nothing : "{\"return\": 1, \"id\": $ID}\n");
    });
    const pid_t agent = ::fork();
    ASSERT_GE(agent, 0);
    if (agent == 0) {  // Freezes, and is killed before it thaws.
        GuestFreeze freeze(options_, *clock_);
        freeze.begin();
        reach(freeze, GuestFreeze::State::frozen);
        ::raise(SIGKILL);
    }
    ASSERT_EQ(::waitpid(agent, nullptr, 0), agent);
    EXPECT_TRUE(comes(guest, "guest-fsfreeze-thaw"));
}

TEST_F(Guest, ThatRefusesOrIsAbsentLeavesAReason) {
    GuestFreeze nobody(options_, *clock_);
    nobody.begin();
    EXPECT_EQ(nobody.error()->code, Errc::guest_unfrozen);
    FakeMonitor guest(options_.socket, "", [](const std::string& line) {
        return std::string(asks(line, "guest-fsfreeze-freeze")
                               ? "{\"error\": {\"class\": \"GenericError\", \"desc\": \"hook "
                                 "failed\"}, \"id\": $ID}\n"
                               : nothing);
    });
    GuestFreeze freeze(options_, *clock_);
    freeze.begin();
    ASSERT_TRUE(reach(freeze, GuestFreeze::State::idle));
    EXPECT_NE(freeze.error()->detail.find("hook failed"), std::string::npos);
    EXPECT_TRUE(comes(guest, "guest-fsfreeze-thaw"));
}

}  // namespace
}  // namespace cw::agent::test
