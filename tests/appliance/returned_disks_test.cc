// A failback of several disks: the machine has failed back when all of them are back at one point,
// however many runs that takes and wherever one of them dies.
#include "appliance/operator/machine_state.h"
#include "base/random.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace cw::appliance {
namespace {

using enum MachineState;
using testing::HasSubstr;
using testing::Not;

bool nobody_lives(const Job&) {
    return false;
}

class ReturnedDisksTest : public testing::Test {
protected:
    ReturnedDisksTest() {
        record_.state = reprotected;
        record_.point = make_id<PointId>(*random_);
    }
    ReturnedDisks at(const PointId& point) const {
        return {.point = point,
                .point_time = WallMicros{5},
                .disks = {{root_, "root"}, {data_, "data"}}};
    }
    Result<JobId> begin(Verb verb, const PointId& point = {}) {
        Job job;
        job.id = make_id<JobId>(*random_);
        job.verb = verb;
        job.point = point;
        CW_TRY(begin_job(record_, job, nobody_lives));
        return job.id;
    }
    // A run that brings back these disks and then ends, or dies.
    Result<void> failback(const PointId& point, const std::vector<DiskId>& disks) {
        CW_TRY_ASSIGN(const JobId job, begin(Verb::failback, point));
        for (const DiskId& disk : disks) {
            CW_TRY(note_return(record_, job, at(point), disk, DiskReturn::switching));
            CW_TRY(note_return(record_, job, at(point), disk, DiskReturn::back));
        }
        JobEnd end;
        end.point = point;
        end.point_time = WallMicros{5};
        return end_job(record_, job, end);
    }
    static JobEnd failed() {
        JobEnd end;
        end.state = JobState::failed;
        return end;
    }
    std::string commit_refusal() {
        const auto job = begin(Verb::commit);
        EXPECT_FALSE(job);
        return job ? "" : to_string(job.error());
    }
    void reload() {
        const auto back = decode_machine_record(encode_machine_record(record_));
        ASSERT_TRUE(back) << to_string(back.error());
        record_ = *back;
    }

    std::unique_ptr<Random> random_ = make_seeded_random(11);
    MachineRecord record_;
    const DiskId root_ = make_id<DiskId>(*random_), data_ = make_id<DiskId>(*random_);
    const PointId one_ = make_id<PointId>(*random_), two_ = make_id<PointId>(*random_);
};

TEST_F(ReturnedDisksTest, E9_OneDiskOfTwoIsNoMachineThatHasFailedBack) {
    const PointId failed_over_to = record_.point;
    ASSERT_TRUE(failback(one_, {root_}));
    reload();
    EXPECT_EQ(record_.state, failing_back);
    EXPECT_EQ(record_.point, failed_over_to);
    const std::string refusal = commit_refusal();
    EXPECT_THAT(refusal, HasSubstr("TRANSITION_REFUSED"));
    EXPECT_THAT(refusal, HasSubstr("1 of 2 disks are back at point " + to_string(one_)));
    EXPECT_THAT(refusal, HasSubstr("missing: data (" + to_string(data_) + ")"));
    EXPECT_THAT(refusal, HasSubstr("causeway failback MACHINE --disk DISK --target PATH"));
    EXPECT_FALSE(begin(Verb::reprotect));
    EXPECT_TRUE(begin(Verb::drill));
    ASSERT_TRUE(failback(one_, {data_}));
    EXPECT_EQ(record_.state, failed_back);
    EXPECT_EQ(record_.point, one_);
    const auto commit = begin(Verb::commit);
    ASSERT_TRUE(commit);
    ASSERT_TRUE(end_job(record_, *commit, {}));
    EXPECT_EQ(record_.state, protected_);
    EXPECT_TRUE(record_.returned.point.is_nil());
}

TEST_F(ReturnedDisksTest, ADiskWhoseSwitchHadBegunIsNotBack) {
    const auto job = begin(Verb::failback, one_);
    ASSERT_TRUE(job);
    ASSERT_TRUE(note_return(record_, *job, at(one_), root_, DiskReturn::switching));
    reload();  // And the program died.
    EXPECT_THAT(commit_refusal(), HasSubstr("0 of 2"));
    EXPECT_THAT(half_text(record_.returned), HasSubstr("whose switch had begun"));
    EXPECT_FALSE(note_return(record_, *job, at(one_), root_, DiskReturn::back));
    ASSERT_TRUE(failback(one_, {data_}));
    EXPECT_EQ(record_.state, failing_back);
    ASSERT_TRUE(failback(one_, {root_}));
    EXPECT_EQ(record_.state, failed_back);
}

TEST_F(ReturnedDisksTest, TheRestComesBackAtTheSamePoint) {
    ASSERT_TRUE(failback(one_, {root_}));
    const auto other = failback(two_, {data_});
    ASSERT_FALSE(other);
    EXPECT_EQ(other.error().code, Errc::transition_refused);
    EXPECT_THAT(other.error().detail, HasSubstr("--cancel"));
    EXPECT_EQ(record_.returned.point, one_);
}

TEST_F(ReturnedDisksTest, AFailureBeforeAnySwitchUndoesTheState) {
    const auto job = begin(Verb::failback, one_);
    ASSERT_TRUE(job);
    EXPECT_EQ(record_.state, failing_back);
    ASSERT_TRUE(end_job(record_, *job, failed()));
    EXPECT_EQ(record_.state, reprotected);
    ASSERT_TRUE(begin(Verb::failback, one_));  // And dies.
    ASSERT_TRUE(begin(Verb::commit));          // It stays where it runs now.
}

TEST_F(ReturnedDisksTest, AFailureAfterASwitchDoesNot) {
    const auto job = begin(Verb::failback, one_);
    ASSERT_TRUE(job);
    ASSERT_TRUE(note_return(record_, *job, at(one_), root_, DiskReturn::back));
    ASSERT_TRUE(end_job(record_, *job, failed()));
    EXPECT_EQ(record_.state, failing_back);
    EXPECT_THAT(commit_refusal(), HasSubstr("missing: data"));
}

TEST_F(ReturnedDisksTest, WhoDiesAfterTheLastDiskHasFailedBack) {
    const auto job = begin(Verb::failback, one_);
    ASSERT_TRUE(job);
    for (const DiskId& disk : {root_, data_}) {
        ASSERT_TRUE(note_return(record_, *job, at(one_), disk, DiskReturn::back));
    }
    ASSERT_TRUE(begin(Verb::commit));
    EXPECT_EQ(record_.before, failed_back);
    EXPECT_EQ(record_.point, one_);
}

TEST_F(ReturnedDisksTest, AnotherPointForAllBeginsAnewAndCountsNoneOfTheFirst) {
    ASSERT_TRUE(failback(one_, {root_, data_}));
    ASSERT_EQ(record_.state, failed_back);
    ASSERT_TRUE(failback(two_, {root_}));
    EXPECT_EQ(record_.state, failing_back);
    EXPECT_THAT(commit_refusal(), HasSubstr("1 of 2 disks are back at point " + to_string(two_)));
    ASSERT_TRUE(failback(two_, {data_}));
    EXPECT_EQ(record_.state, failed_back);
    EXPECT_EQ(record_.point, two_);
}

TEST_F(ReturnedDisksTest, GivenUpItIsWhereItWasBeforeTheFirstDisk) {
    ASSERT_TRUE(failback(one_, {root_, data_}));
    ASSERT_TRUE(failback(two_, {root_}));
    const auto job = begin(Verb::failback);
    ASSERT_TRUE(job);
    JobEnd end;
    end.given_up = true;
    ASSERT_TRUE(end_job(record_, *job, end));
    EXPECT_EQ(record_.state, reprotected);  // Not failed-back: the disks are of two points.
    EXPECT_TRUE(record_.returned.point.is_nil());
    EXPECT_TRUE(failback(two_, {root_, data_}));
    EXPECT_EQ(record_.state, failed_back);
}

TEST_F(ReturnedDisksTest, AMachineThatWasNeverFailedOverHasNoStateToMove) {
    record_ = {};
    ASSERT_TRUE(failback(one_, {root_}));
    EXPECT_EQ(record_.state, protected_);
    EXPECT_TRUE(record_.returned.point.is_nil());
    EXPECT_TRUE(begin(Verb::failover));
}

TEST_F(ReturnedDisksTest, TheStoredFormHasThemAndDamagedOnesAreRefused) {
    ASSERT_TRUE(failback(one_, {root_}));
    const ByteVector bytes = encode_machine_record(record_);
    const auto back = decode_machine_record(bytes);
    ASSERT_TRUE(back);
    EXPECT_EQ(encode_machine_record(*back), bytes);
    for (std::size_t n = 0; n < bytes.size(); ++n) {
        EXPECT_FALSE(decode_machine_record(Bytes(bytes).first(n))) << n;
    }
}

}  // namespace
}  // namespace cw::appliance
