#include "appliance/admission.h"

#include "pipeline/generation.h"

#include <gtest/gtest.h>

namespace cw::appliance {
namespace {

class AdmissionTest : public ::testing::Test {
protected:
    AdmissionTest() {
        AdmissionPorts ports{};
        for (Door& door : doors_) {
            ports.reactors.push_back(
                {&door.opens, &door.digests, &door.notices, &door.opened, [] {}});
        }
        ports.spool_commands = &commands_;
        ports.streams_opened = &streams_;
        ports.engine_opened = &engine_;
        ports.wake_spool = [] {};
        ports.open_machine = [this](const upload::OpenCommand& command) {
            asked_.push_back(command.open.session);
            for (const pipeline::DiskHello& disk : command.open.disks) {
                generations_.push_back(disk.generation);
            }
        };
        ports.witness = [](const MachineId&) { return vault::ChainWitness{}; };
        ports.ask_digests = [](const ingest::DigestRequest&) {};
        ports.resync_due = [this](const MachineId&, const DiskId& disk) {
            return disk == due_ ? std::optional<std::string>("for a reason") : std::nullopt;
        };
        ports.resync_begun = [this](const MachineId&, const DiskId& disk) {
            begun_.push_back(disk);
        };
        admission_ = std::make_unique<Admission>(std::move(ports));
    }
    void hello(std::size_t reactor, std::uint32_t session) {
        pipeline::OpenMachine open;
        open.machine = machine_;
        open.session = SessionId{session};
        for (const DiskId& disk : {vda_, vdb_}) {
            pipeline::DiskHello& hello = open.disks.emplace_back();
            hello.disk = disk;
            hello.generation = own_;
        }
        ASSERT_TRUE(doors_.at(reactor).opens.try_push(open));
        admission_->step(8);
    }
    // Sessions that the cache was told of, in order; each is answered.
    std::vector<std::uint32_t> told() {
        std::vector<std::uint32_t> out;
        cache::SpoolCommand command;
        while (commands_.try_pop(command)) {
            if (const auto* const open = std::get_if<cache::OpenStreams>(&command)) {
                out.push_back(raw(open->session));
                cache::StreamsOpened answer;
                answer.machine = open->machine;
                answer.session = open->session;
                for (const DiskId& disk : {vda_, vdb_}) {
                    cache::StreamState& state = answer.streams.emplace_back();
                    state.key = {machine_, disk, cached_};
                    state.durable = cached_through_;
                }
                EXPECT_TRUE(streams_.try_push(answer));
            }
        }
        admission_->step(8);
        return out;
    }

    struct Door {
        pipeline::Ring<pipeline::OpenMachine> opens{8};
        pipeline::Ring<ingest::DigestRequest> digests{8};
        pipeline::Ring<ingest::AgentNotice> notices{8};
        pipeline::Ring<pipeline::MachineOpened> opened{8};
    };
    MachineId machine_{{std::byte{1}}};
    std::array<Door, 2> doors_;
    pipeline::Ring<cache::SpoolCommand> commands_{8};
    pipeline::Ring<cache::StreamsOpened> streams_{8};
    pipeline::Ring<pipeline::MachineOpened> engine_{8};
    // What the engine decided, as the reactor hears it.
    pipeline::MachineOpened decide(pipeline::DiskAction action, bool superseded = false) {
        pipeline::MachineOpened decision, heard;
        decision.machine = machine_;
        decision.session = asked_.empty() ? SessionId{} : asked_.back();
        for (const DiskId& disk : {vda_, vdb_}) {
            pipeline::DiskWelcome& welcome = decision.disks.emplace_back();
            welcome.disk = disk;
            welcome.action = disk == due_ ? action : pipeline::DiskAction::continue_;
            welcome.generation = decided_;
            welcome.durable = Seq{70};
            welcome.superseded = disk == due_ && superseded;
        }
        EXPECT_TRUE(engine_.try_push(decision));
        admission_->step(8);
        EXPECT_TRUE(doors_[0].opened.try_pop(heard));
        return heard;
    }

    const DiskId vda_{{std::byte{2}}}, vdb_{{std::byte{3}}};
    DiskId due_{};
    Generation own_{3}, cached_{3}, decided_{4};
    Seq cached_through_{};
    std::vector<Generation> generations_;  // Of HELLO's disks, as the engine is told.
    std::vector<DiskId> begun_;
    std::vector<SessionId> asked_;
    std::unique_ptr<Admission> admission_;
};

// Its reactor was slow between numbering the session and saying so. Taken, it would make the cache
// drop everything of the live session without a word.
TEST_F(AdmissionTest, IgnoresAHelloThatComesAfterItsSuccessors) {
    hello(1, 8);
    EXPECT_EQ(told(), std::vector<std::uint32_t>{8});
    hello(0, 7);
    EXPECT_TRUE(told().empty());
    EXPECT_EQ(asked_, std::vector<SessionId>{SessionId{8}});
    hello(0, 9);
    EXPECT_EQ(told(), std::vector<std::uint32_t>{9});
}

TEST_F(AdmissionTest, AnOrderedResyncTakesTheDisksHistoryAwayAndSaysWhy) {
    due_ = vdb_;
    hello(0, 1);
    told();
    EXPECT_EQ(generations_, (std::vector<Generation>{Generation{3}, Generation{}}));
    const auto heard = decide(pipeline::DiskAction::resync);
    ASSERT_EQ(heard.disks.size(), 2U);
    EXPECT_EQ(heard.disks[0].reason, "");
    EXPECT_EQ(heard.disks[1].reason, "for a reason");
    EXPECT_EQ(begun_, std::vector<DiskId>{vdb_});
}

// Else it would be taken for the state of before the one that took the machine over.
TEST_F(AdmissionTest, AnOrderedResyncLeavesTheDiskItsOrigin) {
    due_ = vdb_;
    own_ = cached_ = pipeline::first_of_next_origin(Generation{3});
    hello(0, 1);
    told();
    EXPECT_EQ(generations_, (std::vector<Generation>{own_, pipeline::without_history(own_)}));
}

TEST_F(AdmissionTest, AnOrderedResyncStandsUntilTheAgentIsTold) {
    due_ = vda_;
    hello(0, 1);
    told();
    decide(pipeline::DiskAction::reject);
    EXPECT_TRUE(begun_.empty());
}

// What the cache holds is of the agent that took the machine over, and may be nowhere else yet.
TEST_F(AdmissionTest, AnAgentThatIsRefusedForItsStateMakesTheCacheForgetNothing) {
    due_ = vda_;
    hello(0, 1);
    told();
    EXPECT_TRUE(decide(pipeline::DiskAction::reject, true).disks[0].superseded);
    cache::SpoolCommand command;
    EXPECT_FALSE(commands_.try_pop(command));
}

// Its agent said something impossible, or has a disk too many: what came before is still to be
// published, and of a disk that is not taken no history begins.
TEST_F(AdmissionTest, ARejectedDiskLeavesTheCacheAsItIs) {
    due_ = vda_;
    hello(0, 1);
    told();
    decide(pipeline::DiskAction::reject);
    cache::SpoolCommand command;
    ASSERT_TRUE(commands_.try_pop(command));
    const auto& settled = std::get<cache::SettleStreams>(command).streams;
    ASSERT_EQ(settled.size(), 1U);
    EXPECT_EQ(settled[0].key.disk, vdb_);
    ASSERT_TRUE(commands_.try_pop(command));
    const auto& forgotten = std::get<cache::ForgetStreams>(command).keys;
    ASSERT_EQ(forgotten.size(), 1U);
    EXPECT_EQ(forgotten[0].disk, vdb_);
}

// It is damaged: the agent may send what it still has under the sequences that the cache knows.
TEST_F(AdmissionTest, WhatAnAgentIsToldThatTheCacheLacksIsTakenOnceMore) {
    due_ = vda_;
    decided_ = cached_;
    cached_through_ = Seq{74};
    hello(0, 1);
    told();
    decide(pipeline::DiskAction::catch_up);
    cache::SpoolCommand command;
    ASSERT_TRUE(commands_.try_pop(command));
    const auto& settled = std::get<cache::SettleStreams>(command).streams;
    ASSERT_EQ(settled.size(), 2U);
    EXPECT_EQ(settled[0].sent_again_after, Seq{70});
    EXPECT_FALSE(settled[1].sent_again_after.has_value()) << "it goes on where it was";

    cached_through_ = Seq{};  // All it has lies above a hole that the vault knows to be none.
    due_ = vda_;
    hello(0, 2);
    told();
    decide(pipeline::DiskAction::catch_up);
    ASSERT_TRUE(commands_.try_pop(command));
    EXPECT_EQ(std::get<cache::SettleStreams>(command).streams[0].sent_again_after, Seq{70});
}

TEST_F(AdmissionTest, ARefusalOfAnOlderSessionTakesNothingFromTheNewerOne) {
    due_ = vda_;
    decided_ = cached_;
    hello(0, 1);
    told();
    hello(0, 2);
    told();
    pipeline::MachineOpened refusal;
    refusal.machine = machine_;
    refusal.session = SessionId{1};
    refusal.refused = Error{Errc::stale_session, "a newer session of the machine said HELLO"};
    ASSERT_TRUE(engine_.try_push(refusal));
    admission_->step(8);
    ASSERT_TRUE(doors_[0].opened.try_pop(refusal));
    decide(pipeline::DiskAction::catch_up);
    cache::SpoolCommand command;
    ASSERT_TRUE(commands_.try_pop(command));
    EXPECT_EQ(std::get<cache::SettleStreams>(command).streams[0].sent_again_after, Seq{70});
}

// The new history must lie beyond the agent's: here only the vault might know how far that is.
TEST_F(AdmissionTest, AHistoryThatTheCacheHasNotSeenIsLeftAlone) {
    due_ = vda_;
    cached_ = Generation{2};
    hello(0, 1);
    told();
    EXPECT_EQ(generations_, (std::vector<Generation>{Generation{3}, Generation{3}}));
}

TEST_F(AdmissionTest, CountsSessionsAroundTheEndOf32Bits) {
    hello(0, 0xffffffff);
    hello(1, 1);
    hello(0, 0xfffffffe);
    EXPECT_EQ(told(), (std::vector<std::uint32_t>{0xffffffff, 1}));
    EXPECT_EQ(asked_, std::vector<SessionId>{SessionId{1}});
}

}  // namespace
}  // namespace cw::appliance
