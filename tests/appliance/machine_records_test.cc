// Records in the vault: conditions, lost answers, forgery; and jobs told from dead ones.
#include "appliance/operator/machine_records.h"

#include "appliance/operator/jobs.h"
#include "appliance/operator/record_json.h"
#include "tests/recovery/world.h"

#include <csignal>
#include <tuple>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sys/wait.h>
#include <unistd.h>

namespace cw::appliance {
namespace {

using fakes::BlobFault;
using fakes::BlobOp;

class MachineRecordsTest : public testing::Test {
protected:
    MachineRecords records() {
        return MachineRecords(*world_.store, world_.rig.vault, world_.new_signer());
    }
    Result<JobRun> begin(MachineRecords& in, Verb verb) {
        return JobRun::begin(in, world_.clock, *world_.random,
                             {.machine = world_.machine, .verb = verb});
    }

    recovery::World world_{5};
};

TEST_F(MachineRecordsTest, AJobAndItsStateAreSeenByWhoeverReadsTheVault) {
    MachineRecords mine = records();
    auto run = begin(mine, Verb::failover);
    ASSERT_TRUE(run) << to_string(run.error());
    run->note("writing", 5, 10);

    const auto other_store = world_.factory->make();
    MachineRecords theirs(*other_store, world_.rig.vault);
    auto seen = theirs.load(world_.machine);
    ASSERT_TRUE(seen) << to_string(seen.error());
    EXPECT_EQ(seen->state, MachineState::failing_over);
    ASSERT_NE(seen->find(run->id()), nullptr);
    EXPECT_EQ(seen->find(run->id())->step, "writing");
    EXPECT_TRUE(job_alive(*seen->find(run->id()), this_holder(), world_.clock.wall()));

    JobEnd end;
    end.point = make_id<PointId>(*world_.random);
    ASSERT_TRUE(run->end(end));
    seen = theirs.load(world_.machine);
    ASSERT_TRUE(seen);
    EXPECT_EQ(seen->state, MachineState::failed_over);
}

TEST_F(MachineRecordsTest, AFilesLastMarkTakesThePlaceOfItsFirst) {
    MachineRecords mine = records();
    auto run = begin(mine, Verb::failover);
    ASSERT_TRUE(run);
    const FileMark unnamed{.device = 1, .inode = 2, .time_ns = 77, .named = false};
    const FileMark another{.device = 1, .inode = 22, .time_ns = 5};
    const FileMark named{.device = 1, .inode = 2, .time_ns = 88};
    for (const FileMark& mark : {unnamed, another, named}) {
        run->note_whole(mark);
    }
    run->note_whole(std::nullopt);
    EXPECT_EQ(mine.load(world_.machine)->jobs.back().whole, (std::vector{another, named}));
}

TEST_F(MachineRecordsTest, MoreFilesThanHaveRoomAreSomebodys) {
    MachineRecords mine = records();
    auto run = begin(mine, Verb::failover);
    ASSERT_TRUE(run);
    for (std::uint64_t inode = 0; inode < marks_max + 2; ++inode) {
        run->note_whole(FileMark{.device = 1, .inode = inode});
    }
    const MachineRecord record = *mine.load(world_.machine);
    ASSERT_EQ(record.jobs.back().whole.size(), marks_max);
    EXPECT_EQ(record.jobs.back().whole.back().inode, marks_max - 1);
}

TEST_F(MachineRecordsTest, AJobTellsTheAdviceOfItsError) {
    MachineRecords mine = records();
    auto run = begin(mine, Verb::failover);
    ASSERT_TRUE(run);
    EXPECT_FALSE(run->failed({Errc::io_error, "the cable", "plug it in"}).error().detail.empty());
    const MachineRecord record = *mine.load(world_.machine);
    const auto json = job_json(record.jobs.back(), record, world_.machine, world_.clock.wall());
    EXPECT_EQ(json["error"], to_string(Error{Errc::io_error, "the cable", "plug it in"}));
}

TEST_F(MachineRecordsTest, E10_TheSecondOfTwoFailoversIsRefusedWhileTheFirstLives) {
    MachineRecords mine = records(), theirs = records();
    auto first = begin(mine, Verb::failover);
    ASSERT_TRUE(first);
    const auto second = begin(theirs, Verb::failover);
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code, Errc::transition_refused);
}

TEST_F(MachineRecordsTest, AChangeWhoseAnswerWasLostIsMadeOnce) {
    MachineRecords mine = records();
    world_.memory.script(BlobOp::put, BlobFault::lost_reply, 3);
    auto run = begin(mine, Verb::failover);
    ASSERT_TRUE(run) << to_string(run.error());
    const auto record = mine.load(world_.machine);
    ASSERT_TRUE(record);
    EXPECT_EQ(record->jobs.size(), 1u);
    EXPECT_EQ(record->before, MachineState::protected_);
}

TEST_F(MachineRecordsTest, AChangeThatAnotherMadeMeanwhileIsNotOverwritten) {
    MachineRecords mine = records(), theirs = records();
    unsigned rounds = 0;
    const auto mine_stored = mine.update(world_.machine, [&](MachineRecord& record) {
        if (rounds++ == 0) {
            const auto between = theirs.update(world_.machine, [](MachineRecord& other) {
                other.manifest = 77;
                return Result<void>{};
            });
            EXPECT_TRUE(between);
        }
        record.proven_at = WallMicros{5};
        return Result<void>{};
    });
    ASSERT_TRUE(mine_stored);
    EXPECT_EQ(rounds, 2u);
    EXPECT_EQ(mine_stored->manifest, 77u);
    EXPECT_EQ(mine_stored->revision, 2u);
}

TEST_F(MachineRecordsTest, AForgedOrForeignRecordIsRefused) {
    MachineRecords mine = records();
    ASSERT_TRUE(begin(mine, Verb::drill));
    const blob::BlobName name = machine_record_blob(world_.machine);
    const std::size_t bits = world_.memory.bytes(name)->size() * 8;
    for (std::size_t bit = 0; bit < bits; bit += 97) {
        ASSERT_TRUE(world_.memory.flip_bit(name, bit));
        const auto damaged = mine.load(world_.machine);
        ASSERT_FALSE(damaged) << "bit " << bit;
        ASSERT_TRUE(world_.memory.flip_bit(name, bit));
    }
    ASSERT_TRUE(mine.load(world_.machine));

    const auto other = make_id<MachineId>(*world_.random);
    world_.rig.store_object(machine_record_blob(other), *world_.memory.bytes(name));
    const auto foreign = mine.load(other);
    ASSERT_FALSE(foreign);
    EXPECT_EQ(foreign.error().code, Errc::object_corrupt);
    // It names itself and the way on: nobody needs it to recover.
    EXPECT_NE(foreign.error().detail.find(to_string(machine_record_blob(other))),
              std::string::npos);
    EXPECT_NE(foreign.error().next.find("causeway export"), std::string::npos);
}

// Its parent has not asked yet how it ended.
TEST_F(MachineRecordsTest, AJobOfAZombieIsNotAlive) {
    int ends[2];
    ASSERT_EQ(::pipe(ends), 0);
    const pid_t child = ::fork();
    if (child == 0) {
        const std::uint64_t started = this_holder().started;
        std::ignore = ::write(ends[1], &started, sizeof started);
        ::_exit(0);
    }
    ASSERT_GT(child, 0);
    Job job;
    job.holder = this_holder();
    job.holder.pid = static_cast<std::uint64_t>(child);
    EXPECT_EQ(::read(ends[0], &job.holder.started, sizeof job.holder.started),
              static_cast<ssize_t>(sizeof job.holder.started));
    siginfo_t ended{};
    ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(child), &ended, WEXITED | WNOWAIT), 0);
    EXPECT_NE(job.holder.started, 0U);
    EXPECT_FALSE(job_alive(job, this_holder(), WallMicros{}));
    ::waitpid(child, nullptr, 0);
    ::close(ends[0]);
    ::close(ends[1]);
}

TEST_F(MachineRecordsTest, AJobOfADeadProcessIsNotAlive) {
    Job job;
    job.holder = this_holder();
    EXPECT_TRUE(job_alive(job, this_holder(), WallMicros{}));
    job.holder.started += 1;  // The number was given to another process since.
    EXPECT_FALSE(job_alive(job, this_holder(), WallMicros{}));
    job.holder.host = {};  // Elsewhere: by what it last told.
    job.updated = WallMicros{1'000'000'000};
    EXPECT_TRUE(job_alive(job, this_holder(), job.updated));
    EXPECT_FALSE(
        job_alive(job, this_holder(), WallMicros{raw(job.updated) + job_silence_max_us + 1}));
}

}  // namespace
}  // namespace cw::appliance
