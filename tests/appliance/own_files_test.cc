// What an unfinished failover has left may be replaced; nothing else may.
#include "appliance/operator/own_files.h"

#include <filesystem>
#include <fstream>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

namespace cw::appliance {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class OwnFiles : public testing::Test {
protected:
    OwnFiles() {
        std::string pattern = testing::TempDir() + "cw_own_XXXXXX";
        scratch_ = mkdtemp(pattern.data());
        file_ = scratch_ + "/disk.img";
        std::ofstream(file_) << "whole";
        Job job;
        job.verb = Verb::failover;
        job.state = JobState::interrupted;
        job.whole = {FileMark{.device = 1, .inode = 2, .time_ns = 3}, *mark_of(file_)};
        record_.jobs.push_back(job);
    }
    ~OwnFiles() override { std::filesystem::remove_all(scratch_); }

    std::set<std::string> left() const {
        std::set<std::string> paths;
        for (const auto& [path, mark] :
             own_files(record_, run_, {file_, scratch_ + "/none", scratch_})) {
            EXPECT_EQ(mark, mark_of(path));
            paths.insert(path);
        }
        return paths;
    }

    std::string scratch_, file_, run_;
    MachineRecord record_;
};

TEST_F(OwnFiles, AreThoseThatAKilledOrFailedFailoverNoted) {
    EXPECT_THAT(left(), ElementsAre(file_));
    record_.jobs[0].state = JobState::failed;
    EXPECT_THAT(left(), ElementsAre(file_));
    record_.jobs.emplace_back().verb = Verb::drill;
    EXPECT_THAT(left(), ElementsAre(file_));
}

TEST_F(OwnFiles, AreNotThoseOfOneThatRunsOrEndedWellOrOfAnotherVerb) {
    for (const JobState state : {JobState::running, JobState::succeeded, JobState::waiting}) {
        record_.jobs[0].state = state;
        EXPECT_THAT(left(), IsEmpty()) << name_of(state);
    }
    record_.jobs[0].state = JobState::interrupted;
    record_.jobs[0].verb = Verb::failback;
    EXPECT_THAT(left(), IsEmpty());
}

// The program was killed between the name and the mark that stands for the named file.
TEST_F(OwnFiles, AreAlsoThoseThatWereAboutToGetTheirName) {
    const std::string partial = file_ + ".partial";
    std::ofstream(partial) << "another";
    record_.jobs[0].whole = {*mark_before_name(partial)};
    EXPECT_THAT(left(), IsEmpty());
    std::filesystem::rename(partial, file_);
    EXPECT_THAT(left(), ElementsAre(file_));
    std::ofstream(file_, std::ios::app) << "written to";
    std::filesystem::last_write_time(file_, std::filesystem::file_time_type::clock::now());
    EXPECT_THAT(left(), IsEmpty());
}

TEST_F(OwnFiles, OfARunOfAPlanAreAlsoThoseOfItsFailoversThatEndedWell) {
    Job& job = record_.jobs[0];
    job.state = JobState::succeeded;
    job.plan_run = "r1";
    run_ = "r1";
    EXPECT_THAT(left(), ElementsAre(file_));
    run_ = "r2";
    EXPECT_THAT(left(), IsEmpty());
    run_ = "";
    EXPECT_THAT(left(), IsEmpty());
}

TEST_F(OwnFiles, AreNotThoseThatAnybodyTouched) {
    std::filesystem::rename(file_, file_ + ".away");
    std::filesystem::copy(file_ + ".away", file_);  // The same bytes, another file.
    EXPECT_THAT(left(), IsEmpty());
    std::filesystem::rename(file_ + ".away", file_);  // Its own, and touched by that.
    EXPECT_THAT(left(), IsEmpty());
    std::filesystem::remove(file_);
    EXPECT_THAT(left(), IsEmpty());
}

TEST_F(OwnFiles, AreNotLinksToThem) {
    const std::string link = scratch_ + "/link";
    std::filesystem::create_symlink(file_, link);
    EXPECT_THAT(own_files(record_, "", {link}), IsEmpty());
}

TEST_F(OwnFiles, StayNotedWhenTheFailoverFails) {
    Job& job = record_.jobs[0];
    job.state = JobState::running;
    job.id = JobId{{std::byte{1}}};
    record_.state = MachineState::failing_over;
    JobEnd failed;
    failed.state = JobState::failed;
    ASSERT_TRUE(end_job(record_, job.id, failed));
    EXPECT_THAT(left(), ElementsAre(file_));
}

}  // namespace
}  // namespace cw::appliance
