// The barrier of a group: what may go wrong, at every message, and what must hold all the same.
#include "agent/group/admission_gate.h"
#include "tests/agent/group_rig.h"

#include <atomic>
#include <random>
#include <thread>

#include <gtest/gtest.h>

namespace cw::agent::test {
namespace {

GroupId barrier_of(GroupRig& rig, std::size_t machine = 0) {
    EXPECT_FALSE(rig.machine(machine).cuts.empty());
    return rig.machine(machine).cuts.rbegin()->first;
}

// Nobody is held, nobody waits, and every point that was made has its outcome.
void expect_settled(GroupRig& rig, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
        EXPECT_FALSE(rig.machine(i).held()) << i;
        EXPECT_TRUE(rig.member(i).idle()) << i;
        EXPECT_EQ(rig.machine(i).cuts.size(), rig.machine(i).decided.size()) << i;
    }
    EXPECT_FALSE(rig.coordinator().running());
}

Errc error_of(const GroupCoordinator& coordinator) {
    return coordinator.outcome().value().error().code;
}

TEST(GroupPoint, IsMadeWhenEverybodyHeldAtOneMoment) {
    GroupRig rig(4);
    ASSERT_TRUE(rig.coordinator().begin("tag"));
    EXPECT_FALSE(rig.coordinator().begin("another"));
    rig.settle();
    ASSERT_TRUE(rig.coordinator().outcome().value().has_value());
    const GroupId barrier = (*rig.coordinator().outcome())->barrier;
    for (std::size_t i = 0; i < 4; ++i) {
        EXPECT_TRUE(rig.machine(i).decided.at(barrier)) << i;
    }
    expect_settled(rig, 4);
}

TEST(GroupPoint, C16_WithAnyOneMessageLostEndsWholeOrAsPlainPointsAndHoldsNobody) {
    std::uint64_t messages = 1;
    for (std::uint64_t lost = 0; lost < messages; ++lost) {
        GroupRig rig(3);
        rig.lose = {lost};
        ASSERT_TRUE(rig.coordinator().begin(""));
        rig.settle();
        expect_settled(rig, 3);
        const auto& outcome = rig.coordinator().outcome().value();
        EXPECT_FALSE(outcome.has_value()) << lost;
        EXPECT_EQ(outcome.error().code, Errc::group_incomplete);
        // Without the coordinator's own there is no group point.
        EXPECT_FALSE(rig.machine(0).decided.begin()->second) << lost;
        GroupRig whole(3);
        ASSERT_TRUE(whole.coordinator().begin(""));
        whole.settle();
        messages = whole.sent;
        ASSERT_TRUE(rig.coordinator().begin("again"));  // And nothing is in the way of the next.
        rig.settle();
        EXPECT_TRUE(rig.coordinator().outcome().value().has_value()) << lost;
    }
    EXPECT_EQ(messages, 12U);  // Three questions and three answers, two members.
}

TEST(GroupPoint, IsRevokedWhenAMemberDiesBetweenPrepareAndCommit) {
    for (std::size_t delivered = 0; delivered < 10; ++delivered) {
        GroupRig rig(3);
        ASSERT_TRUE(rig.coordinator().begin(""));
        for (std::size_t i = 0; i < delivered; ++i) {
            ASSERT_TRUE(rig.deliver()) << i;
        }
        rig.kill(2);
        rig.settle();
        EXPECT_FALSE(rig.machine(0).held() || rig.machine(1).held());
        ASSERT_FALSE(rig.coordinator().outcome().value().has_value()) << delivered;
        EXPECT_EQ(error_of(rig.coordinator()), Errc::group_incomplete);
        EXPECT_FALSE(rig.machine(0).decided.begin()->second) << delivered;
    }
}

TEST(GroupPoint, CoordinatorThatDiesHoldsNobodyLongerThanItsTime) {
    GroupRig rig(3);
    ASSERT_TRUE(rig.coordinator().begin(""));
    while (rig.under_way() > 1) {
        rig.deliver();
    }
    ASSERT_TRUE(rig.machine(1).held());
    rig.clock.advance(GroupRig::hold_ns);
    EXPECT_TRUE(rig.machine(1).may_write());  // Although its loop has not run.
    rig.member(1).step();
    EXPECT_FALSE(rig.machine(1).held());
    EXPECT_FALSE(rig.machine(1).decided.at(barrier_of(rig, 1)));
}

TEST(GroupPoint, MemberThatCouldNotHoldLongEnoughSpoilsIt) {
    GroupRig rig(2);
    ASSERT_TRUE(rig.coordinator().begin(""));
    rig.deliver();  // PREPARE
    rig.clock.advance(GroupRig::hold_ns - 1);
    rig.deliver();  // READY, in the last moment: RELEASE goes out.
    rig.clock.advance(2);
    ASSERT_TRUE(rig.machine(1).may_write());
    rig.settle();
    EXPECT_EQ(error_of(rig.coordinator()), Errc::group_incomplete);
    EXPECT_FALSE(rig.machine(0).decided.at(barrier_of(rig)));
    EXPECT_FALSE(rig.machine(1).decided.at(barrier_of(rig)));
}

TEST(GroupPoint, MemberWhoseWritersGotThroughSpoilsIt) {
    for (std::size_t leaky = 0; leaky < 2; ++leaky) {
        GroupRig rig(2);
        rig.machine(leaky).leaks = true;
        ASSERT_TRUE(rig.coordinator().begin(""));
        rig.settle();
        EXPECT_EQ(error_of(rig.coordinator()), Errc::group_incomplete);
        EXPECT_FALSE(rig.machine(0).decided.at(barrier_of(rig)));
        EXPECT_FALSE(rig.machine(1).decided.at(barrier_of(rig)));
    }
}

TEST(GroupPoint, MemberThatCannotCutSaysWhy) {
    GroupRig rig(3);
    rig.machine(2).refuses = true;
    ASSERT_TRUE(rig.coordinator().begin(""));
    rig.settle();
    const auto& outcome = rig.coordinator().outcome().value();
    ASSERT_FALSE(outcome.has_value());
    EXPECT_NE(outcome.error().detail.find("machine 2"), std::string::npos);
    EXPECT_NE(outcome.error().detail.find("told to refuse"), std::string::npos);
    rig.machine(2).refuses = false;
    rig.machine(0).refuses = true;
    ASSERT_TRUE(rig.coordinator().begin(""));
    rig.settle();
    EXPECT_NE(rig.coordinator().outcome()->error().detail.find("this machine"), std::string::npos);
}

TEST(GroupPoint, TwoCoordinatorsNeitherMixNorBlockEachOther) {
    std::mt19937_64 dice(7);
    int made = 0;
    for (int round = 0; round < 200; ++round) {
        GroupRig rig(3, true, static_cast<std::uint64_t>(round) + 1);
        ASSERT_TRUE(rig.coordinator(0).begin("a"));
        for (std::uint64_t i = dice() % 12; i > 0 && rig.under_way() > 0; --i) {
            rig.deliver(dice() % rig.under_way());
        }
        ASSERT_TRUE(rig.coordinator(1).begin("b"));
        while (rig.under_way() > 0) {
            rig.deliver(dice() % rig.under_way());
        }
        rig.settle();
        expect_settled(rig, 3);
        for (std::size_t self = 0; self < 2; ++self) {
            const auto& outcome = rig.coordinator(self).outcome().value();
            made += outcome ? 1 : 0;
            for (std::size_t i = 0; outcome && i < 3; ++i) {
                EXPECT_TRUE(rig.machine(i).decided.at(outcome->barrier));
            }
        }
    }
    EXPECT_GT(made, 0);
}

TEST(GroupMember, BelievesNobodyButItsCoordinatorAndNothingOutOfOrder) {
    GroupRig rig(2);
    GroupMember& member = rig.member(1);
    const GroupId barrier{{std::byte{1}}}, other{{std::byte{2}}};
    const auto say = [&](std::uint64_t peer, BarrierType type, const GroupId& id) {
        return member.take(peer, {.type = type, .barrier = id, .hold_ms = 60'000});
    };
    EXPECT_TRUE(say(5, BarrierType::prepare, barrier)->yes);
    EXPECT_FALSE(say(6, BarrierType::prepare, other)->yes);
    EXPECT_FALSE(say(6, BarrierType::release, barrier)->yes);
    EXPECT_FALSE(say(6, BarrierType::commit, barrier)->yes);
    EXPECT_FALSE(say(6, BarrierType::revoke, barrier).has_value());
    EXPECT_FALSE(say(5, BarrierType::release, other)->yes);
    EXPECT_TRUE(rig.machine(1).held());
    EXPECT_FALSE(say(5, BarrierType::commit, barrier)->yes);  // Before RELEASE.
    EXPECT_FALSE(rig.machine(1).held());
    EXPECT_FALSE(rig.machine(1).decided.at(barrier));
    // Nobody holds a machine for longer than it allows.
    EXPECT_TRUE(say(5, BarrierType::prepare, other)->yes);
    rig.clock.advance(GroupRig::hold_ns);
    EXPECT_TRUE(rig.machine(1).may_write());
}

// A writes n, then tells B, which writes n, then tells A, which writes n + 1. With messages of
// barriers as slow as they like, no group point shows B ahead of A or more than one behind.
TEST(GroupPoint, OfMachinesThatPlayPingPongIsOneMoment) {
    std::mt19937_64 dice(20004);
    GroupRig rig(2);
    bool a_moves = true;
    int made = 0, failed = 0;
    for (int turn = 0; turn < 200'000; ++turn) {
        const auto what = dice() % 8;
        if (what < 4) {
            CounterMachine& machine = rig.machine(a_moves ? 0 : 1);
            if (machine.may_write()) {
                machine.counter = a_moves ? machine.counter + 1 : rig.machine(0).counter;
                a_moves = !a_moves;
            }
        } else if (what < 6) {
            rig.deliver();
        } else if (what == 6) {
            rig.clock.advance(static_cast<std::int64_t>(dice() % 150) * ns_per_ms);
            rig.step();
        } else if (!rig.coordinator().running()) {
            if (const auto& outcome = rig.coordinator().outcome()) {
                (*outcome ? made : failed) += 1;
                if (*outcome) {
                    const std::uint64_t a = rig.machine(0).cuts.at((*outcome)->barrier);
                    const std::uint64_t b = rig.machine(1).cuts.at((*outcome)->barrier);
                    ASSERT_TRUE(b <= a && a <= b + 1) << a << " " << b;
                }
            }
            rig.coordinator().begin("");
        }
    }
    EXPECT_GT(made, 1000);
    EXPECT_GT(failed, 100);
}

TEST(AdmissionGate, HoldsWritersUntilItIsOpened) {
    const auto clock = make_system_clock();
    AdmissionGate gate(*clock);
    std::mutex order;
    std::atomic<bool> through = false;
    gate.close(clock->boot() + 3600 * ns_per_s);
    std::thread writer([&] {
        std::unique_lock lock(order);
        gate.pass(lock);
        through = true;
    });
    for (int i = 0; i < 100; ++i) {
        const std::lock_guard lock(order);  // It is not held while its owner waits.
        EXPECT_FALSE(through);
    }
    EXPECT_TRUE(gate.open());
    writer.join();
    EXPECT_TRUE(through);
}

TEST(AdmissionGate, IsOpenedByTheFirstWriterWhenItsTimeIsOver) {
    const auto clock = make_system_clock();
    AdmissionGate gate(*clock);
    std::mutex order;
    gate.close(clock->boot() + 20 * ns_per_ms);
    std::thread([&] {
        std::unique_lock lock(order);
        gate.pass(lock);
    }).join();
    EXPECT_FALSE(gate.open());
    gate.close(clock->boot() + 3600 * ns_per_s);
    EXPECT_TRUE(gate.open());
    gate.close(clock->boot());
    EXPECT_FALSE(gate.open());  // Nobody came, but nobody would have been held.
}

TEST(BarrierMessage, ComesBackAsItWasAndNothingElseIsTaken) {
    const BarrierMessage said{.type = BarrierType::ready,
                              .yes = true,
                              .barrier = {{std::byte{7}}},
                              .hold_ms = 300,
                              .text = std::string(300, 'x')};
    const ByteVector bytes = encode_barrier(said);
    ASSERT_EQ(bytes.size(), barrier_head_bytes + barrier_text_bytes_max);
    for (std::size_t length = 0; length < bytes.size(); ++length) {
        const auto part = decode_barrier(Bytes(bytes).first(length));
        ASSERT_TRUE(part.has_value());
        ASSERT_FALSE(part->has_value());
    }
    const auto back = decode_barrier(bytes).value().value();
    EXPECT_EQ(back.used, bytes.size());
    EXPECT_EQ(back.message.type, said.type);
    EXPECT_TRUE(back.message.yes);
    EXPECT_EQ(back.message.barrier, said.barrier);
    EXPECT_EQ(back.message.hold_ms, 300U);
    EXPECT_EQ(back.message.text, std::string(barrier_text_bytes_max, 'x'));
    for (const std::size_t at : {0U, 4U, 5U, 7U, 27U, 28U}) {
        ByteVector bad = bytes;
        bad[at] = std::byte{0xff};
        EXPECT_EQ(decode_barrier(bad).error().code, Errc::frame_malformed) << at;
    }
}

}  // namespace
}  // namespace cw::agent::test
