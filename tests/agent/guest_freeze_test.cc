// Freezing a guest through its agent: always thawed, never frozen late.
#include "agent/qemu/guest_freeze.h"

#include "tests/agent/fake_monitor.h"

#include <algorithm>
#include <atomic>

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

// The system's clock, which can be made to stand still and to skip.
class StoppableClock final : public Clock {
public:
    explicit StoppableClock(Clock& real) : real_(real) {}
    Nanos boot() override { return (stopped_ ? *stopped_ : real_.boot()) + skipped_; }
    WallMicros wall() override { return real_.wall(); }
    void stop() { stopped_ = real_.boot(); }
    void skip(std::int64_t ns) { skipped_ += ns; }

private:
    Clock& real_;
    std::optional<Nanos> stopped_;
    std::int64_t skipped_ = 0;
};

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

// The agent stood still while the answer came: the helper has thawed the guest by then.
TEST_F(Guest, WhoseAnswerIsSeenTooLateIsNotCalledFrozen) {
    FakeMonitor guest(options_.socket, "", [](const std::string& line) {
        return std::string(asks(line, "guest-ping") ? nothing : "{\"return\": 1, \"id\": $ID}\n");
    });
    options_.freeze_ns = 60 * ns_per_s;
    StoppableClock clock(*clock_);
    GuestFreeze freeze(options_, clock);
    freeze.begin();
    ASSERT_TRUE(reach(freeze, GuestFreeze::State::freezing));
    ASSERT_TRUE(comes(guest, "guest-fsfreeze-freeze"));
    pollfd answered{freeze.fd(), POLLIN, 0};
    ASSERT_EQ(::poll(&answered, 1, 30'000), 1);
    clock.skip(61 * ns_per_s);
    EXPECT_EQ(freeze.step(), GuestFreeze::State::thawing);
    ASSERT_TRUE(freeze.error());
    EXPECT_EQ(freeze.error()->code, Errc::guest_unfrozen);
    EXPECT_TRUE(comes(guest, "guest-fsfreeze-thaw"));
}

// The same in between the answer and the thaw, in which the cut was made.
TEST_F(Guest, ThatWasFrozenForTooLongBeforeItsThawIsNotCalledFrozen) {
    FakeMonitor guest(options_.socket, "", [](const std::string& line) {
        return std::string(asks(line, "guest-ping") ? nothing : "{\"return\": 1, \"id\": $ID}\n");
    });
    StoppableClock clock(*clock_);
    GuestFreeze freeze(options_, clock);
    freeze.begin();
    ASSERT_TRUE(reach(freeze, GuestFreeze::State::frozen));
    clock.skip(options_.hold_ns);
    freeze.thaw();
    ASSERT_TRUE(reach(freeze, GuestFreeze::State::idle));
    ASSERT_TRUE(freeze.error());
    EXPECT_EQ(freeze.error()->code, Errc::guest_unfrozen);
}

// The helper's own limit counts, whatever a clock says that stood still with the agent.
TEST_F(Guest, ThatTheHelperHasThawedIsNotCalledFrozen) {
    FakeMonitor guest(options_.socket, "", [](const std::string& line) {
        return std::string(asks(line, "guest-ping") ? nothing : "{\"return\": 1, \"id\": $ID}\n");
    });
    options_.freeze_ns = options_.hold_ns = 200 * ns_per_ms;
    StoppableClock clock(*clock_);
    clock.stop();
    GuestFreeze freeze(options_, clock);
    freeze.begin();
    ASSERT_TRUE(reach(freeze, GuestFreeze::State::frozen));
    ASSERT_TRUE(comes(guest, "guest-fsfreeze-thaw"));
    freeze.thaw();
    ASSERT_TRUE(reach(freeze, GuestFreeze::State::idle));
    ASSERT_TRUE(freeze.error());
    EXPECT_EQ(freeze.error()->code, Errc::guest_unfrozen);
}

TEST_F(Guest, WhoseThawFindsLessThanWasFrozenIsNotCalledFrozen) {
    for (const char* const thawed : {"0", "1"}) {
        FakeMonitor guest(options_.socket, "", [&](const std::string& line) {
            return asks(line, "guest-ping") ? std::string(nothing)
                   : asks(line, "guest-fsfreeze-freeze")
                       ? std::string("{\"return\": 2, \"id\": $ID}\n")
                       : "{\"return\": " + std::string(thawed) + ", \"id\": $ID}\n";
        });
        GuestFreeze freeze(options_, *clock_);
        freeze.begin();
        ASSERT_TRUE(reach(freeze, GuestFreeze::State::frozen));
        freeze.thaw();
        ASSERT_TRUE(reach(freeze, GuestFreeze::State::idle));
        ASSERT_TRUE(freeze.error()) << thawed;
        EXPECT_EQ(freeze.error()->code, Errc::guest_unfrozen);
    }
}

// The channel is lost with the thaw in it: whether the guest has read that nobody knows.
TEST_F(Guest, WhoseChannelIsLostIsThawedOverANewOne) {
    std::atomic<int> lost = 2;
    FakeMonitor guest(options_.socket, "", [&](const std::string& line) {
        return asks(line, "guest-ping")                          ? std::string(nothing)
               : asks(line, "guest-fsfreeze-thaw") && lost-- > 0 ? "hang up"
                                                                 : "{\"return\": 1, \"id\": $ID}\n";
    });
    options_.retry_ns = 20 * ns_per_ms;
    GuestFreeze freeze(options_, *clock_);
    freeze.begin();
    ASSERT_TRUE(reach(freeze, GuestFreeze::State::frozen));
    freeze.thaw();
    ASSERT_TRUE(reach(freeze, GuestFreeze::State::idle));
    EXPECT_EQ(count(guest, "guest-fsfreeze-thaw"), 3);
    ASSERT_TRUE(freeze.error());
    EXPECT_EQ(freeze.error()->code, Errc::guest_unfrozen);
    freeze.begin();
    EXPECT_TRUE(reach(freeze, GuestFreeze::State::frozen));
}

TEST_F(Guest, ThatIsOwedAThawIsSentOneAtTheEnd) {
    FakeMonitor guest(options_.socket, "", [&](const std::string& line) {
        return asks(line, "guest-ping")            ? std::string(nothing)
               : asks(line, "guest-fsfreeze-thaw") ? "hang up"
                                                   : "{\"return\": 1, \"id\": $ID}\n";
    });
    options_.retry_ns = 600 * ns_per_s;
    {
        GuestFreeze freeze(options_, *clock_);
        freeze.begin();
        ASSERT_TRUE(reach(freeze, GuestFreeze::State::frozen));
        freeze.thaw();
        const Nanos limit = clock_->boot() + 30 * ns_per_s;
        while (freeze.fd() >= 0 && clock_->boot() - limit < 0) {
            freeze.step();
            ::poll(nullptr, 0, 5);
        }
        ASSERT_EQ(count(guest, "guest-fsfreeze-thaw"), 1);
    }
    const Nanos limit = clock_->boot() + 30 * ns_per_s;
    while (count(guest, "guest-fsfreeze-thaw") < 2 && clock_->boot() - limit < 0) {
        ::poll(nullptr, 0, 5);
    }
    EXPECT_EQ(count(guest, "guest-fsfreeze-thaw"), 2);
}

// Whoever asks for the next freeze would wait for nobody knows how long.
TEST_F(Guest, WhoseThawIsNotAnsweredIsAHindranceUntilItIs) {
    std::atomic<bool> answers = false;
    FakeMonitor guest(options_.socket, "", [&](const std::string& line) {
        return asks(line, "guest-ping")                        ? std::string(nothing)
               : asks(line, "guest-fsfreeze-thaw") && !answers ? ""
                                                               : "{\"return\": 1, \"id\": $ID}\n";
    });
    StoppableClock clock(*clock_);
    options_.retry_ns = 20 * ns_per_ms;
    GuestFreeze freeze(options_, clock);
    freeze.begin();
    ASSERT_TRUE(reach(freeze, GuestFreeze::State::frozen));
    EXPECT_FALSE(freeze.hindrance());
    freeze.thaw();
    freeze.step();
    EXPECT_FALSE(freeze.hindrance());  // That takes a moment.
    clock.skip(SourceFreeze::proof_limit_ns);
    ASSERT_TRUE(freeze.hindrance());
    EXPECT_EQ(freeze.hindrance()->code, Errc::guest_unfrozen);
    EXPECT_NE(freeze.hindrance()->detail.find("has not answered the thaw"), std::string::npos);
    clock.skip(options_.freeze_ns);  // It is given up, and sent again.
    freeze.step();
    ASSERT_TRUE(freeze.hindrance());
    EXPECT_NE(freeze.hindrance()->detail.find("did not answer in time"), std::string::npos);
    answers = true;
    ASSERT_TRUE(reach(freeze, GuestFreeze::State::idle));
    EXPECT_FALSE(freeze.hindrance());
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
