// The state machine of operators' verbs: every pair of state and verb, jobs that die, and the
// stored form against hostile bytes.
#include "appliance/operator/machine_state.h"

#include "base/random.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace cw::appliance {
namespace {

using enum MachineState;
using testing::HasSubstr;

constexpr std::array states{protected_,   failing_over, failed_over,  committed,
                            reprotecting, reprotected,  failing_back, failed_back};
constexpr std::array verbs{Verb::failover, Verb::commit, Verb::reprotect,
                           Verb::failback, Verb::drill,  Verb::undo};

bool nobody_lives(const Job&) {
    return false;
}
bool all_live(const Job&) {
    return true;
}

class MachineStateTest : public testing::Test {
protected:
    Job job(Verb verb) {
        Job out;
        out.id = make_id<JobId>(*random_);
        out.verb = verb;
        out.holder.host_name = "host";
        return out;
    }
    // Begins and ends a job of `verb`, as its program would. A failback brings back the one disk.
    Result<void> run(Verb verb, const JobEnd& end = {}) {
        const Job one = job(verb);
        CW_TRY(begin_job(record_, one, nobody_lives));
        if (verb == Verb::failback) {
            const DiskId disk = make_id<DiskId>(*random_);
            const ReturnedDisks wanted{.point = end.point, .disks = {{disk, "disk"}}};
            CW_TRY(note_return(record_, one.id, wanted, disk, DiskReturn::back));
        }
        return end_job(record_, one.id, end);
    }
    JobEnd with_point() {
        JobEnd end;
        end.point = make_id<PointId>(*random_);
        end.point_time = WallMicros{++time_};
        return end;
    }

    std::unique_ptr<Random> random_ = make_seeded_random(7);
    std::int64_t time_ = 1000;
    MachineRecord record_;
};

TEST_F(MachineStateTest, ARoundFromProtectedToProtectedIsAllowed) {
    const std::array round{
        std::pair(Verb::failover, failed_over), std::pair(Verb::commit, committed),
        std::pair(Verb::reprotect, reprotected), std::pair(Verb::failback, failed_back),
        std::pair(Verb::commit, protected_)};
    for (const auto& [verb, after] : round) {
        ASSERT_TRUE(run(verb, with_point())) << name_of(verb);
        EXPECT_EQ(record_.state, after);
    }
    EXPECT_TRUE(record_.point.is_nil());
}

TEST_F(MachineStateTest, AMachineMayStayWhereItWasReprotected) {
    for (const Verb verb : {Verb::failover, Verb::commit, Verb::reprotect, Verb::commit}) {
        ASSERT_TRUE(run(verb, with_point())) << name_of(verb);
    }
    EXPECT_EQ(record_.state, protected_);
    EXPECT_TRUE(run(Verb::failover, with_point()));
}

TEST_F(MachineStateTest, EveryOtherPairIsRefusedWithReasonAndWhatIsAllowed) {
    std::size_t refused = 0;
    for (const MachineState state : states) {
        for (const Verb verb : verbs) {
            if (transition_of(state, verb)) {
                continue;
            }
            record_ = {};
            record_.state = state;
            record_.before = state;
            const Result<void> begun = begin_job(record_, job(verb), nobody_lives);
            ASSERT_FALSE(begun) << name_of(state) << " " << name_of(verb);
            EXPECT_EQ(begun.error().code, Errc::transition_refused);
            EXPECT_THAT(begun.error().detail, HasSubstr("allowed now: "));
            EXPECT_THAT(begun.error().detail, HasSubstr(std::string(name_of(state))));
            EXPECT_TRUE(record_.jobs.empty());
            ++refused;
        }
    }
    EXPECT_GT(refused, 20u);
}

TEST_F(MachineStateTest, AnotherPointMayBeChosenOnlyBeforeTheCommit) {
    const JobEnd first = with_point(), second = with_point();
    ASSERT_TRUE(run(Verb::failover, first));
    ASSERT_TRUE(run(Verb::failover, second));
    EXPECT_EQ(record_.point, second.point);
    ASSERT_TRUE(run(Verb::commit));
    EXPECT_EQ(record_.point, second.point);
    const auto third = run(Verb::failover, with_point());
    ASSERT_FALSE(third);
    EXPECT_THAT(third.error().detail, HasSubstr("reprotect"));
}

TEST_F(MachineStateTest, AFailedFailoverLeavesStateAndPointAsTheyWere) {
    const JobEnd first = with_point();
    ASSERT_TRUE(run(Verb::failover, first));
    JobEnd failed = with_point();
    failed.state = JobState::failed;
    failed.error = raw(Errc::io_error);
    ASSERT_TRUE(run(Verb::failover, failed));
    EXPECT_EQ(record_.state, failed_over);
    EXPECT_EQ(record_.point, first.point);
    EXPECT_EQ(record_.jobs.back().state, JobState::failed);
}

TEST_F(MachineStateTest, ALivingJobKeepsOthersOutAndADeadOneDoesNot) {
    const Job first = job(Verb::failover);
    ASSERT_TRUE(begin_job(record_, first, all_live));
    EXPECT_EQ(record_.state, failing_over);
    const auto second = begin_job(record_, job(Verb::failover), all_live);
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code, Errc::transition_refused);
    EXPECT_THAT(second.error().detail, HasSubstr(to_string(first.id)));

    const Job third = job(Verb::failover);
    ASSERT_TRUE(begin_job(record_, third, nobody_lives));
    EXPECT_EQ(record_.find(first.id)->state, JobState::interrupted);
    EXPECT_EQ(record_.before, protected_);
    const auto late = end_job(record_, first.id, with_point());
    ASSERT_FALSE(late);
    EXPECT_EQ(late.error().code, Errc::transition_refused);
    ASSERT_TRUE(end_job(record_, third.id, with_point()));
    EXPECT_EQ(record_.state, failed_over);
}

// What people are shown is what the next verb will find, not what the dead job had stored.
TEST_F(MachineStateTest, ADeadJobsStateIsNotInForce) {
    const JobEnd first = with_point();
    ASSERT_TRUE(run(Verb::failover, first));
    const Job again = job(Verb::failover);
    ASSERT_TRUE(begin_job(record_, again, all_live));
    ASSERT_EQ(record_.state, failing_over);

    EXPECT_EQ(settled(record_, all_live).state, failing_over);
    const MachineRecord now = settled(record_, nobody_lives);
    EXPECT_EQ(now.state, failed_over);
    EXPECT_EQ(now.point, first.point);
    EXPECT_EQ(now.find(again.id)->state, JobState::interrupted);
    ASSERT_TRUE(begin_job(record_, job(Verb::commit), nobody_lives));  // As it says.
}

TEST_F(MachineStateTest, ALivingDrillDoesNotHoldADeadJobsState) {
    ASSERT_TRUE(begin_job(record_, job(Verb::failover), all_live));
    const Job drill = job(Verb::drill);
    ASSERT_TRUE(begin_job(record_, drill, all_live));
    const auto drill_lives = [&](const Job& one) { return one.id == drill.id; };
    EXPECT_EQ(settled(record_, drill_lives).state, protected_);
    EXPECT_EQ(settled(record_, drill_lives).jobs.back().state, JobState::running);
}

TEST_F(MachineStateTest, ADrillIsInNobodysWayAndProvesTheNewestPointOnly) {
    const Job failover = job(Verb::failover);
    ASSERT_TRUE(begin_job(record_, failover, all_live));
    const Job drill = job(Verb::drill);
    ASSERT_TRUE(begin_job(record_, drill, all_live));
    JobEnd newer = with_point();
    newer.point_time = WallMicros{500'000};
    ASSERT_TRUE(end_job(record_, drill.id, newer));
    EXPECT_EQ(record_.state, failing_over);
    EXPECT_EQ(record_.proven, newer.point);
    ASSERT_TRUE(end_job(record_, failover.id, with_point()));
    ASSERT_TRUE(run(Verb::drill, with_point()));  // Of an older point.
    EXPECT_EQ(record_.proven, newer.point);
    JobEnd nothing_checked = newer;
    nothing_checked.point = {};
    nothing_checked.point_time = WallMicros{900'000};
    ASSERT_TRUE(run(Verb::drill, nothing_checked));
    EXPECT_EQ(record_.proven, newer.point);
    EXPECT_EQ(record_.proven_time, newer.point_time);
}

TEST_F(MachineStateTest, BeginningAndEndingTwiceIsDoingItOnce) {
    const Job one = job(Verb::failover);
    ASSERT_TRUE(begin_job(record_, one, all_live));
    ASSERT_TRUE(begin_job(record_, one, all_live));
    EXPECT_EQ(record_.jobs.size(), 1u);
    const JobEnd end = with_point();
    ASSERT_TRUE(end_job(record_, one.id, end));
    ASSERT_TRUE(end_job(record_, one.id, end));
    EXPECT_EQ(record_.state, failed_over);
}

TEST_F(MachineStateTest, KeepsABoundedNumberOfJobs) {
    for (std::size_t i = 0; i < 3 * jobs_max; ++i) {
        ASSERT_TRUE(run(Verb::drill, with_point()));
    }
    EXPECT_EQ(record_.jobs.size(), jobs_max);
}

TEST_F(MachineStateTest, ForgetsDrillsBeforeOtherJobsAndNeverOneThatRuns) {
    ASSERT_TRUE(run(Verb::failover, with_point()));
    const JobId failover = record_.jobs.back().id;
    for (std::size_t i = 0; i < 2 * jobs_max; ++i) {
        ASSERT_TRUE(run(Verb::drill, with_point()));
    }
    EXPECT_NE(record_.find(failover), nullptr);

    record_.jobs.clear();
    for (std::size_t i = 0; i < jobs_max; ++i) {
        ASSERT_TRUE(begin_job(record_, job(Verb::drill), all_live));
    }
    const auto refused = begin_job(record_, job(Verb::failover), all_live);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Errc::transition_refused);
    EXPECT_EQ(record_.jobs.size(), jobs_max);
    EXPECT_EQ(record_.state, failed_over);
}

TEST_F(MachineStateTest, TextsAreCutBetweenCharacters) {
    EXPECT_EQ(cut_text("äöü", 6), "äöü");
    EXPECT_EQ(cut_text("äöü", 5), "äö");
    EXPECT_EQ(cut_text("äöü", 1), "");
    EXPECT_EQ(cut_text("plain", 3), "pla");
}

TEST_F(MachineStateTest, HowManyTargetsAFailoverMadeThePointIsKnownUntilTheNextOrUntilItIsGivenUp) {
    JobEnd in_place = with_point();
    in_place.targets_made = 2;
    ASSERT_TRUE(run(Verb::failover, in_place));
    record_.jobs.clear();  // Its job may be forgotten.
    ASSERT_TRUE(run(Verb::drill, with_point()));
    EXPECT_EQ(record_.targets_made, 2);
    ASSERT_TRUE(run(Verb::failover, with_point()));
    EXPECT_EQ(record_.targets_made, 0);
    ASSERT_TRUE(run(Verb::failover, in_place));
    ASSERT_TRUE(run(Verb::undo, {}));
    EXPECT_EQ(record_.targets_made, 0);
}

TEST_F(MachineStateTest, TheStoredFormComesBackEqualAndDamagedOnesAreRefused) {
    ASSERT_TRUE(run(Verb::drill, with_point()));
    ASSERT_TRUE(run(Verb::failover, with_point()));
    Job& job = record_.jobs.back();
    job.detail = std::string(2 * job_text_max, 'x');
    job.advice = "do it again";
    job.plan_run = std::string(plan_run_max, 'r');
    job.in_place = true;
    record_.targets_made = 3;
    job.whole = {FileMark{.device = 1, .inode = 2, .time_ns = -3, .named = false},
                 FileMark{.device = 4, .inode = 5, .time_ns = 6}};
    record_.revision = 12;
    const ByteVector bytes = encode_machine_record(record_);
    const auto back = decode_machine_record(bytes);
    ASSERT_TRUE(back);
    EXPECT_EQ(encode_machine_record(*back), bytes);
    EXPECT_EQ(back->jobs.back().detail.size(), job_text_max);
    EXPECT_EQ(back->jobs.back().advice, job.advice);
    EXPECT_EQ(back->jobs.back().plan_run, job.plan_run);
    EXPECT_TRUE(back->jobs.back().in_place);
    EXPECT_EQ(back->targets_made, 3);
    EXPECT_EQ(back->jobs.back().whole, job.whole);
    for (std::size_t n = 0; n < bytes.size(); ++n) {
        EXPECT_FALSE(decode_machine_record(Bytes(bytes).first(n))) << n;
    }
    ByteVector longer = bytes;
    longer.push_back(std::byte{0});
    EXPECT_FALSE(decode_machine_record(longer));
}

TEST_F(MachineStateTest, SurvivesRandomBytes) {
    for (int round = 0; round < 2000; ++round) {
        ByteVector bytes = encode_machine_record(record_);
        bytes.resize(bytes.size() + random_->below(200));
        for (int i = 0; i < 8; ++i) {
            bytes[random_->below(bytes.size())] = static_cast<std::byte>(random_->next_u64());
        }
        const auto decoded = decode_machine_record(bytes);
        if (decoded) {
            EXPECT_LE(decoded->jobs.size(), jobs_max);
        }
    }
}

}  // namespace
}  // namespace cw::appliance
