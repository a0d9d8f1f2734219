#include "appliance/admission.h"

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
        };
        ports.witness = [](const MachineId&) { return vault::ChainWitness{}; };
        ports.ask_digests = [](const ingest::DigestRequest&) {};
        admission_ = std::make_unique<Admission>(std::move(ports));
    }
    void hello(std::size_t reactor, std::uint32_t session) {
        pipeline::OpenMachine open;
        open.machine = machine_;
        open.session = SessionId{session};
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

TEST_F(AdmissionTest, CountsSessionsAroundTheEndOf32Bits) {
    hello(0, 0xffffffff);
    hello(1, 1);
    hello(0, 0xfffffffe);
    EXPECT_EQ(told(), (std::vector<std::uint32_t>{0xffffffff, 1}));
    EXPECT_EQ(asked_, std::vector<SessionId>{SessionId{1}});
}

}  // namespace
}  // namespace cw::appliance
