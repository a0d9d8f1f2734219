#include "pipeline/stage.h"

#include "pipeline/ring.h"

#include <gtest/gtest.h>
#include <poll.h>

namespace cw::pipeline {
namespace {

// Passes numbers from one ring to another, one per call, and counts how often it was asked.
class Relay final : public Stage {
public:
    Relay(Ring<int>& in, Ring<int>& out, Doorbell* ring_after)
        : in_(in), out_(out), bell_(ring_after) {}
    Progress step(std::size_t budget) override {
        steps_.fetch_add(1, std::memory_order_relaxed);
        for (std::size_t i = 0; i < budget; ++i) {
            if (!held_ && !in_.try_pop(value_)) {
                return i > 0 ? Progress::worked : Progress::starved;
            }
            held_ = true;
            if (!out_.try_push(value_)) {
                return Progress::blocked;
            }
            held_ = false;
            if (bell_ != nullptr) {
                bell_->ring();
            }
        }
        return Progress::worked;
    }
    [[nodiscard]] Nanos next_deadline() const override { return deadline_; }
    [[nodiscard]] std::string_view name() const noexcept override { return "relay"; }
    [[nodiscard]] int steps() const noexcept { return steps_.load(std::memory_order_relaxed); }
    void set_deadline(Nanos at) noexcept { deadline_ = at; }

private:
    Ring<int>& in_;
    Ring<int>& out_;
    Doorbell* bell_;
    bool held_ = false;
    int value_ = 0;
    Nanos deadline_{INT64_MAX};
    std::atomic<int> steps_{0};
};

// Waits for the bell as a Runner does. False after ten seconds.
template <typename Ready>
bool wait_until(Doorbell& bell, Ready ready) {
    for (int i = 0; i < 1'000; ++i) {
        bell.prepare();
        if (ready()) {
            bell.cancel();
            return true;
        }
        pollfd wait{.fd = bell.fd(), .events = POLLIN, .revents = 0};
        ::poll(&wait, 1, 10);
        bell.consume();
    }
    return ready();
}

TEST(Doorbell, WakesOnlyWhoAnnouncedToPark) {
    Doorbell bell;
    bell.ring();
    pollfd wait{.fd = bell.fd(), .events = POLLIN, .revents = 0};
    EXPECT_EQ(::poll(&wait, 1, 0), 0);
    bell.prepare();
    bell.ring();
    EXPECT_EQ(::poll(&wait, 1, 0), 1);
    bell.consume();
    EXPECT_EQ(::poll(&wait, 1, 0), 0);
}

TEST(Runner, NeverLosesAWakeUpThroughRingsOfOne) {
    const auto clock = make_system_clock();
    Ring<int> in(1), middle(1), out(1);
    Doorbell home;
    Runner second("second", *clock);
    Relay last(middle, out, &home);
    second.add(last);
    Runner first("first", *clock);
    Relay relay(in, middle, &second.doorbell());
    first.add(relay);
    second.start();
    first.start();
    // One at a time: both runners park between any two items.
    for (int i = 0; i < 2'000; ++i) {
        ASSERT_TRUE(in.try_push(int{i}));
        first.doorbell().ring();
        int got = -1;
        ASSERT_TRUE(wait_until(home, [&] { return got == i || out.try_pop(got); })) << i;
        ASSERT_EQ(got, i);
    }
    first.stop();
    second.stop();
}

TEST(Runner, ParksInsteadOfSpinning) {
    const auto clock = make_system_clock();
    Ring<int> in(4), out(4);
    Doorbell home;
    Relay relay(in, out, &home);
    Runner runner("idle", *clock);
    runner.add(relay);
    runner.start();
    ASSERT_TRUE(in.try_push(1));
    runner.doorbell().ring();
    int got = 0;
    ASSERT_TRUE(wait_until(home, [&] { return out.try_pop(got); }));
    pollfd nothing{.fd = -1, .events = 0, .revents = 0};
    ::poll(&nothing, 1, 50);  // Not to synchronise: the time in which a spinning runner would show.
    runner.stop();
    EXPECT_LT(relay.steps(), 50);
    EXPECT_LT(runner.cpu_seconds(), 0.05);
}

TEST(Runner, ComesBackAtAStagesDeadline) {
    const auto clock = make_system_clock();
    Ring<int> in(1), out(1);
    Relay relay(in, out, nullptr);
    const Nanos start = clock->boot();
    relay.set_deadline(start + 30 * ns_per_ms);
    Runner runner("timer", *clock);
    runner.add(relay);
    runner.start();
    while (relay.steps() < 3 && clock->boot() - start < 10 * ns_per_s) {
        pollfd nothing{.fd = -1, .events = 0, .revents = 0};
        ::poll(&nothing, 1, 1);
    }
    EXPECT_GE(relay.steps(), 3);  // Round, re-check, and the deadline's round.
    EXPECT_GE(runner.last_round() - start, 0);
    runner.stop();
    runner.stop();  // Idempotent.
}

class Finished final : public Stage {
public:
    Progress step(std::size_t) override {
        ++steps;
        return Progress::drained;
    }
    [[nodiscard]] std::string_view name() const noexcept override { return "finished"; }
    int steps = 0;
};

TEST(Runner, EndsByItselfWhenAllStagesHaveDrained) {
    const auto clock = make_system_clock();
    Finished stage;
    Runner runner("drain", *clock);
    runner.add(stage);
    runner.start();
    runner.stop();
    EXPECT_LE(stage.steps, 1);
}

}  // namespace
}  // namespace cw::pipeline
