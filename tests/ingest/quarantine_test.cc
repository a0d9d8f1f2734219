// A quarantined disk stays so over restarts of the server.
#include "ingest/quarantine_file.h"
#include "tests/fakes/sim_disk.h"
#include "tests/ingest/session_rig.h"

#include <gtest/gtest.h>

namespace cw::test {
namespace {

using pipeline::DiskAction;
using wire::FrameType;

constexpr const char* path = "/state/quarantine";

class QuarantineTest : public testing::Test {
protected:
    QuarantineTest() { EXPECT_TRUE(storage.make_disk()->create_directories("/state")); }

    // A process that has just started, as it stands when its door opens.
    struct Process {
        explicit Process(fakes::SimStorage& storage)
            : disk(storage.make_disk()), loaded(file.load(*disk, server.table)) {}
        ServerRig server;
        std::unique_ptr<Disk> disk;
        ingest::QuarantineFile file{path};
        Result<void> loaded;
    };
    // The machine sends two contents under one sequence.
    static void contradict(SessionRig& rig) {
        rig.feed(write_frame(rig.at(1), {{0, 4096, 7}}));
        rig.feed(write_frame(rig.at(1), {{0, 4096, 8}}));
    }
    static wire::Welcome::Disk answer_in(Process& process, std::uint64_t boot,
                                         Generation generation) {
        SessionRig rig(process.server);
        rig.feed(message_frame(FrameType::hello, SessionId{}, plain_hello(1, boot)));
        pipeline::MachineOpened opened = rig.answer(DiskAction::initial, Seq{});
        opened.disks[0].generation = generation;
        rig.session->outbox().open.reset();
        rig.session->on_opened(std::move(opened));
        return rig.answer_of(FrameType::welcome).as<wire::Welcome>().disks.at(0);
    }

    fakes::SimStorage storage{1};
};

TEST_F(QuarantineTest, C5_OutlivesThePowerCutOfTheServerAndIsShownAgain) {
    {
        Process first(storage);
        ASSERT_TRUE(first.loaded);
        SessionRig rig(first.server);
        rig.open(plain_hello());
        contradict(rig);
        ASSERT_TRUE(first.file.store(*first.disk, first.server.table));
    }
    storage.power_cut();
    Process second(storage);
    ASSERT_TRUE(second.loaded) << to_string(second.loaded.error());
    ASSERT_TRUE(second.server.conditions.standing(Errc::seq_conflict));
    const std::string shown = second.server.conditions.list().at(0).detail;
    EXPECT_EQ(shown, "sequence 1 came again with other content");
    const auto refused = answer_in(second, 2, Generation{1});
    EXPECT_EQ(refused.action, wire::DiskAction::reject);
    EXPECT_EQ(refused.reason, "SEQ_CONFLICT: " + shown);
}

TEST_F(QuarantineTest, EndsWithANewGenerationOfTheDiskAndStaysEnded) {
    {
        Process first(storage);
        SessionRig rig(first.server);
        rig.open(plain_hello());
        contradict(rig);
        ASSERT_TRUE(first.file.store(*first.disk, first.server.table));
        EXPECT_EQ(answer_in(first, 2, Generation{2}).action, wire::DiskAction::initial);
        EXPECT_FALSE(first.server.conditions.standing(Errc::seq_conflict));
        ASSERT_TRUE(first.file.store(*first.disk, first.server.table));
    }
    storage.power_cut();
    Process second(storage);
    EXPECT_TRUE(second.server.table.quarantines().empty());
    EXPECT_EQ(answer_in(second, 3, Generation{2}).action, wire::DiskAction::initial);
}

// Leaving the disk out of one HELLO must not wash it clean.
TEST_F(QuarantineTest, StaysWhileTheMachineDoesNotNameTheDisk) {
    Process process(storage);
    SessionRig rig(process.server);
    rig.open(plain_hello(2));
    rig.feed(write_frame(rig.at(1, 1), {{0, 4096, 7}}));
    rig.feed(write_frame(rig.at(1, 1), {{0, 4096, 8}}));
    SessionRig without(process.server);
    without.open(plain_hello(1, 2));
    EXPECT_EQ(process.server.table.quarantines().size(), 1U);
    SessionRig with(process.server);
    with.open(plain_hello(2, 3));
    const auto welcome = with.answer_of(FrameType::welcome).as<wire::Welcome>();
    EXPECT_EQ(welcome.disks.at(0).action, wire::DiskAction::continue_);
    EXPECT_EQ(welcome.disks.at(1).action, wire::DiskAction::reject);
}

TEST_F(QuarantineTest, OfOneMachineIsBounded) {
    Process process(storage);
    for (std::uint32_t i = 0; i < 1000; ++i) {
        DiskId disk = id_of<DiskId>(9);
        disk.bytes[0] = static_cast<std::byte>(i & 0xff);
        disk.bytes[1] = static_cast<std::byte>(i >> 8);
        process.server.table.quarantine({id_of<MachineId>(1), disk, Generation{1}, "why"});
    }
    process.server.table.quarantine({id_of<MachineId>(2), id_of<DiskId>(1), Generation{1}, "why"});
    EXPECT_EQ(process.server.table.quarantines().size(), wire::disks_max + 1);
    // What is no longer refused is no longer shown, either.
    EXPECT_EQ(process.server.conditions.list().size(), wire::disks_max + 1);
}

TEST_F(QuarantineTest, IsWrittenOnlyWhenItChanged) {
    Process process(storage);
    ASSERT_TRUE(process.file.store(*process.disk, process.server.table));
    EXPECT_FALSE(read_file(*process.disk, path, mib));
    process.server.table.quarantine({id_of<MachineId>(1), id_of<DiskId>(2), Generation{3}, "why"});
    ASSERT_TRUE(process.file.store(*process.disk, process.server.table));
    ASSERT_TRUE(process.disk->remove(path));
    ASSERT_TRUE(process.file.store(*process.disk, process.server.table));
    EXPECT_FALSE(read_file(*process.disk, path, mib));
}

TEST_F(QuarantineTest, ADamagedFileIsRefusedWithTheLine) {
    const std::string id = to_string(id_of<MachineId>(1));
    for (const std::string& line :
         {std::string("nonsense"), id + " " + id + " x why", id + " " + id + " 1",
          id + "+" + id + " 1 why", id + " " + id.substr(1) + "z 1 why"}) {
        ASSERT_TRUE(write_file_atomically(*storage.make_disk(), path, as_bytes(line + "\n")));
        Process process(storage);
        ASSERT_FALSE(process.loaded) << line;
        EXPECT_EQ(process.loaded.error().code, Errc::config_invalid);
        EXPECT_NE(process.loaded.error().detail.find(line), std::string::npos);
    }
}

}  // namespace
}  // namespace cw::test
