// Recovery plans are read exactly, go on where they stopped, and replace only what is their own.
#include "appliance/operator/own_files.h"
#include "appliance/operator/plan_run.h"
#include "appliance/operator/plan_states.h"
#include "tests/recovery/world.h"

#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

namespace cw::appliance {
namespace {

using testing::HasSubstr;

class PlanTest : public testing::Test {
protected:
    // A plan of two scripts; the second fails until `mended`.
    std::string plan_text(const std::string& second) {
        return "name = \"p\"\n[[group]]\nname = \"g\"\n"
               "[[group.step]]\nname = \"one\"\nscript = [\"/bin/true\"]\n"
               "[[group.step]]\nname = \"two\"\nscript = [\"" +
               second + "\"]\n";
    }
    Result<PlanRun> run(const std::string& text, bool restart = false,
                        std::function<bool()> cancelled = {}) {
        PlanRuns runs(*world_.store, world_.rig.vault, world_.new_signer());
        CW_TRY_ASSIGN(const Plan plan, parse_plan(text, "plan.toml"));
        MachineRecords machines(*world_.store, world_.rig.vault);
        told_.clear();
        const PlanContext context{
            .clock = *clock_,
            .random = *world_.random,
            .machines = machines,
            .program = program_,
            .config_path = "none",
            .told =
                [&](const PlanStep& step, StepState state, const std::string&) {
                    told_.push_back(step.name + " " + std::string(name_of(state)));
                },
            .places = [&](const PlanStep&) { return places_; },
            .cancelled = std::move(cancelled)};
        return run_plan(plan, runs, context, {}, restart);
    }

    recovery::World world_{9};
    std::unique_ptr<Clock> clock_ = make_system_clock();
    std::vector<std::string> told_;
    std::string program_ = "causeway";
    Result<std::vector<std::string>> places_;
};

TEST_F(PlanTest, WhatAFailedStepSaidStandsOnOneLine) {
    const auto failed =
        run("name = \"p\"\n[[group]]\nname = \"g\"\n[[group.step]]\nname = \"one\"\n"
            "script = [\"/bin/sh\", \"-c\", \"printf 'no room\\\\n\\\\nleft\\\\n'; exit 3\"]\n");
    ASSERT_FALSE(failed);
    EXPECT_THAT(failed.error().detail, testing::EndsWith("ended with 3: no room; left"));
}

TEST_F(PlanTest, AFailedStepNamesItselfAndFinishedOnesAreKept) {
    const auto failed = run(plan_text("/bin/false"));
    ASSERT_FALSE(failed);
    EXPECT_EQ(failed.error().code, Errc::plan_failed);
    EXPECT_THAT(failed.error().detail, HasSubstr("step two of group g"));

    // Another file is another plan: what was begun is not mixed with it.
    const auto other = run(plan_text("/bin/true"));
    ASSERT_FALSE(other);
    EXPECT_EQ(other.error().code, Errc::transition_refused);

    EXPECT_FALSE(run(plan_text("/bin/false")));
    EXPECT_THAT(told_, testing::ElementsAre("two running", "two failed"));

    const auto anew = run(plan_text("/bin/true"), true);
    ASSERT_TRUE(anew) << to_string(anew.error());
    EXPECT_EQ(anew->state, JobState::succeeded);
    EXPECT_THAT(told_, testing::ElementsAre("one running", "one done", "two running", "two done"));
}

TEST(Plan, AMachineHasOneStepThatPlacesAllItsDisks) {
    const auto plan_of = [](const std::string& steps) {
        return parse_plan("name = \"x\"\n[[group]]\nname = \"g\"\n" + steps, "plan.toml");
    };
    const auto step = [](const std::string& name, const std::string& places) {
        return "[[group.step]]\nname = \"" + name +
               "\"\nmachine = \"6ba7b810-9dad-11d1-80b4-00c04fd430c8\"\n" + places + "\n";
    };
    const auto plan = plan_of(step("db", "outputs = { root = \"/r.img\", data = \"/d.img\" }"));
    ASSERT_TRUE(plan) << to_string(plan.error());
    EXPECT_THAT(plan->steps[0].command,
                testing::ElementsAre("failover", "6ba7b810-9dad-11d1-80b4-00c04fd430c8", "--output",
                                     "data=/d.img", "--output", "root=/r.img"));

    const auto twice = plan_of(step("a", "output = \"/a\"") + step("b", "output = \"/b\""));
    ASSERT_FALSE(twice);
    EXPECT_THAT(twice.error().detail, HasSubstr("has a step already"));
    for (const char* places : {"", "output = \"\"", "outputs = {}", "outputs = { root = 7 }",
                               "output = \"/a\"\noutput_dir = \"/d\""}) {
        const auto wrong = plan_of(step("db", places));
        ASSERT_FALSE(wrong) << places;
        EXPECT_EQ(wrong.error().code, Errc::config_invalid);
    }
}

TEST(Plan, AStepSaysWhetherItMayReplaceWhatIsThere) {
    const auto plan_of = [](const std::string& step) {
        return parse_plan(
            "name = \"x\"\n[[group]]\nname = \"g\"\n[[group.step]]\nname = \"s\"\n" + step,
            "plan.toml");
    };
    const std::string machine =
        "machine = \"6ba7b810-9dad-11d1-80b4-00c04fd430c8\"\noutput = \"/dev/vdb\"\n";
    const auto said = [&](const std::string& more) {
        const auto plan = plan_of(machine + more);
        EXPECT_TRUE(plan) << to_string(plan.error());
        return plan && plan->steps[0].force;
    };
    EXPECT_TRUE(said("force = true\n"));
    EXPECT_FALSE(said("force = false\n"));
    EXPECT_FALSE(said(""));
    EXPECT_EQ(plan_of(machine + "force = \"yes\"\n").error().code, Errc::config_invalid);
    EXPECT_EQ(plan_of("script = [\"x\"]\nforce = true\n").error().code, Errc::config_invalid);
}

// A failover of a plan: a script that says how it was called, and may leave a disk.
class PlanFailover : public PlanTest {
protected:
    void SetUp() override {
        std::filesystem::create_directories(directory_);
        program_ = directory_ + "failover";
        disk_ = directory_ + "x.img";
        places_ = std::vector{disk_};
    }
    void TearDown() override { std::filesystem::remove_all(directory_); }

    // What it was called with; empty: it was not.
    std::string failover(const std::string& does, const std::string& more = "") {
        ::unlink((directory_ + "said").c_str());
        std::ofstream(program_) << "#!/bin/sh\necho \"$@\" >" << directory_ << "said\n"
                                << does << "\n";
        std::filesystem::permissions(program_, std::filesystem::perms::owner_all);
        ended_ =
            run("name = \"p\"\n[[group]]\nname = \"g\"\n[[group.step]]\nname = \"m\"\n"
                "machine = \"6ba7b810-9dad-11d1-80b4-00c04fd430c8\"\noutput = \"" +
                    disk_ + "\"\n" + more,
                false, cancelled_);
        std::string said;
        std::getline(std::ifstream(directory_ + "said"), said);
        return said;
    }
    // As the verb would: a job of the machine that has finished the disk, and has ended so.
    void note_disk(JobState state, const std::string& plan_run = "") {
        MachineRecords records(*world_.store, world_.rig.vault, world_.new_signer());
        const auto machine = parse_id<MachineId>("6ba7b810-9dad-11d1-80b4-00c04fd430c8");
        auto job =
            JobRun::begin(records, *clock_, *world_.random,
                          {.machine = *machine, .verb = Verb::failover, .plan_run = plan_run});
        ASSERT_TRUE(job) << to_string(job.error());
        job->note_whole(mark_of(disk_));
        JobEnd end;
        end.state = state;
        ASSERT_TRUE(job->end(end));
    }
    static std::string word_after(const std::string& word, const std::string& said) {
        std::istringstream words(said.substr(said.find(word) + word.size()));
        std::string next;
        words >> next;
        return next;
    }
    std::string held() {
        std::string text;
        std::getline(std::ifstream(disk_), text);
        return text;
    }

    const std::string directory_ =
        testing::TempDir() + "plan_failover." + std::to_string(::getpid()) + "/";
    std::string disk_;
    std::function<bool()> cancelled_;
    Result<PlanRun> ended_ = fail(Errc::not_found, "");
};

TEST_F(PlanFailover, WhatOneRefusedIsNotReplacedByTheNextEither) {
    EXPECT_THAT(failover("exit 3"), testing::Not(HasSubstr("--force")));
    EXPECT_THAT(told_, testing::ElementsAre("m running", "m failed"));
    EXPECT_THAT(failover("exit 1"), testing::Not(HasSubstr("--force")));
}

TEST_F(PlanFailover, ADiskThatAnEarlierTryBroughtBackIsReplaced) {
    EXPECT_THAT(failover("echo half >" + disk_ + "; exit 1"), testing::Not(HasSubstr("--force")));
    note_disk(JobState::failed);
    EXPECT_THAT(failover("exit 0"), testing::Not(HasSubstr("--force")));
    EXPECT_TRUE(ended_);
}

// The runner was killed between the end of the failover and its own note of it.
TEST_F(PlanFailover, AlsoOneWhoseFailoverEndedWellBeforeTheStepDid) {
    const std::string said = failover("echo whole >" + disk_ + "; exit 1");
    note_disk(JobState::succeeded, word_after("--plan-run", said));
    EXPECT_NE(failover("exit 0"), "");
    EXPECT_TRUE(ended_) << to_string(ended_.error());
}

TEST_F(PlanFailover, WhatNoFailoverHasNotedStays) {
    failover("echo theirs >" + disk_ + "; exit 1");
    EXPECT_EQ(failover("exit 0"), "");
    ASSERT_FALSE(ended_);
    EXPECT_THAT(ended_.error().detail, HasSubstr("FILE_EXISTS"));
    EXPECT_EQ(held(), "theirs");
}

TEST_F(PlanFailover, WhatSomebodyElseBroughtBackMeanwhileStays) {
    failover("echo theirs >" + disk_ + "; exit 1");
    note_disk(JobState::succeeded, "another");
    EXPECT_EQ(failover("exit 0"), "");
    ASSERT_FALSE(ended_);
    EXPECT_EQ(held(), "theirs");
}

TEST_F(PlanFailover, WhatIsThereIsReplacedByAStepThatSaysSo) {
    std::ofstream(disk_) << "spare";
    EXPECT_THAT(failover("exit 1", "force = true\n"), testing::EndsWith(" --force"));
    EXPECT_THAT(failover("exit 0", "force = true\n"), testing::EndsWith(" --force"));
    EXPECT_TRUE(ended_);
}

TEST_F(PlanFailover, WhatWasThereBeforeItsFirstTryStays) {
    std::ofstream(disk_) << "precious";
    for (int i = 0; i < 2; ++i) {
        EXPECT_EQ(failover("exit 0"), "");
        ASSERT_FALSE(ended_);
        EXPECT_THAT(ended_.error().detail, HasSubstr("FILE_EXISTS"));
    }
    EXPECT_EQ(held(), "precious");
    ::unlink(disk_.c_str());
    EXPECT_THAT(failover("exit 0"), testing::Not(HasSubstr("--force")));
    EXPECT_TRUE(ended_);
}

// As by a machine that was started from it, or a disk that somebody brought back by hand.
TEST_F(PlanFailover, WhatWasTouchedAfterTheTryThatBroughtItBackStays) {
    failover("echo mine >" + disk_ + "; exit 1");
    note_disk(JobState::failed);
    std::filesystem::permissions(disk_, std::filesystem::perms::owner_read);
    EXPECT_EQ(failover("exit 0"), "");
    ASSERT_FALSE(ended_);
    EXPECT_EQ(held(), "mine");
}

TEST_F(PlanFailover, WhileItsPlacesAreNotKnownNothingIsBegun) {
    places_ = fail(Errc::not_found, "no keys of this machine");
    EXPECT_EQ(failover("exit 0"), "");
    ASSERT_FALSE(ended_);
    EXPECT_THAT(ended_.error().detail, HasSubstr("no keys of this machine"));
    std::ofstream(disk_) << "precious";
    places_ = std::vector{disk_};
    EXPECT_EQ(failover("exit 0"), "");
    EXPECT_EQ(held(), "precious");
}

// A machine of the plan beside scripts that leave a mark.
class PlanStates : public PlanTest {
protected:
    void SetUp() override {
        std::filesystem::create_directories(directory_);
        std::ofstream(program_ = directory_ + "failover") << "#!/bin/sh\nexit 0\n";
        std::filesystem::permissions(program_, std::filesystem::perms::owner_all);
        places_ = std::vector<std::string>{};
    }
    void TearDown() override { std::filesystem::remove_all(directory_); }

    // The machine has come to this state by that verb.
    void comes_by(Verb verb) {
        MachineRecords records(*world_.store, world_.rig.vault, world_.new_signer());
        auto job = JobRun::begin(records, *clock_, *world_.random,
                                 {.machine = world_.machine, .verb = verb});
        ASSERT_TRUE(job) << to_string(job.error());
        ASSERT_TRUE(job->end({}));
    }
    std::string step(const std::string& name, const std::string& does) {
        return "[[group.step]]\nname = \"" + name + "\"\n" + does + "\n";
    }
    std::string machine_step(const std::string& name) {
        return step(name, "machine = \"" + to_string(world_.machine) + "\"\noutput = \"/x\"");
    }
    std::string script_step(const std::string& name, const std::string& program) {
        return step(name, "script = [\"" + program + "\"]");
    }
    const std::string begin_ = "name = \"p\"\n[[group]]\nname = \"g\"\n";
    const std::string directory_ =
        testing::TempDir() + "plan_states." + std::to_string(::getpid()) + "/";
};

TEST_F(PlanStates, AStepThatItsMachinesStateForbidsIsToldBeforeAnythingIsBegun) {
    comes_by(Verb::failover);
    comes_by(Verb::commit);
    const auto refused = run(begin_ + script_step("mark", "/bin/true") + machine_step("db"));
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Errc::transition_refused);
    for (const std::string& said :
         {std::string("step db of group g"), "machine " + to_string(world_.machine),
          std::string("the machine is committed"), std::string("allowed now: reprotect, failback"),
          "causeway machines " + to_string(world_.machine), std::string("Nothing was begun")}) {
        EXPECT_THAT(refused.error().detail, HasSubstr(said));
    }
    EXPECT_TRUE(told_.empty());
    const auto stored = PlanRuns(*world_.store, world_.rig.vault).load("p");
    ASSERT_TRUE(stored);
    EXPECT_FALSE(*stored);  // Never run.
}

TEST_F(PlanStates, ARunThatGoesOnIsJudgedByWhatItHasStillToDo) {
    const std::string mended = directory_ + "mended";
    const std::string text = begin_ + machine_step("db") + script_step("fails", mended) +
                             script_step("end", "/bin/true");
    EXPECT_FALSE(run(text));
    EXPECT_THAT(told_, testing::Contains("db done"));
    comes_by(Verb::failover);
    comes_by(Verb::commit);
    std::filesystem::create_symlink("/bin/true", mended);
    const auto done = run(text);
    ASSERT_TRUE(done) << to_string(done.error());
    EXPECT_THAT(told_,
                testing::ElementsAre("fails running", "fails done", "end running", "end done"));
    const auto anew = run(text);
    ASSERT_FALSE(anew);
    EXPECT_THAT(anew.error().detail, HasSubstr("step db"));
    EXPECT_TRUE(told_.empty());
}

TEST_F(PlanStates, AStepIsJudgedInTheStateThatTheStepsBeforeItLeave) {
    const auto plan = parse_plan(begin_ + machine_step("db"), "plan.toml");
    ASSERT_TRUE(plan) << to_string(plan.error());
    const PlanStep& db = plan->steps.front();
    MachineRecords records(*world_.store, world_.rig.vault);
    const auto refused = [&](const std::vector<const PlanStep*>& steps) {
        const auto got = refused_steps(steps, records, *world_.random, clock_->wall());
        EXPECT_TRUE(got);
        return got ? got->size() : 0;
    };
    EXPECT_EQ(refused({&db, &db}), 0u);  // Another point, once it is failed over.
    comes_by(Verb::failover);
    EXPECT_EQ(refused({&db, &db}), 0u);
    comes_by(Verb::commit);
    EXPECT_EQ(refused({&db, &db}), 2u);
    EXPECT_EQ(records.load(world_.machine)->state, MachineState::committed);  // Asked only.
}

TEST_F(PlanTest, AnInterruptedStepIsBegunAgainByTheNextRun) {
    const std::string mended = testing::TempDir() + "plan_mended";
    ::unlink(mended.c_str());
    const std::string text =
        "name = \"p\"\n[[group]]\nname = \"g\"\n"
        "[[group.step]]\nname = \"one\"\nscript = [\"/bin/true\"]\n"
        "[[group.step]]\nname = \"two\"\nscript = [\"/bin/sh\", \"-c\", \"test -e " +
        mended + " || sleep 600\"]\n";
    const auto in_step_two = [&] { return !told_.empty() && told_.back() == "two running"; };
    const auto stopped = run(text, false, in_step_two);
    ASSERT_FALSE(stopped);
    EXPECT_EQ(stopped.error().code, Errc::cancelled);
    EXPECT_THAT(stopped.error().detail, HasSubstr("two"));
    const auto between = run(text, false, [] { return true; });
    ASSERT_FALSE(between);
    EXPECT_EQ(between.error().code, Errc::cancelled);
    EXPECT_TRUE(told_.empty());  // Asked before it began anything.
    PlanRuns runs(*world_.store, world_.rig.vault);
    auto stored = runs.load("p");
    ASSERT_TRUE(stored && *stored);
    EXPECT_EQ((*stored)->state, JobState::interrupted);
    EXPECT_EQ((*stored)->find("one")->state, StepState::done);
    EXPECT_EQ((*stored)->find("two")->state, StepState::running);
    std::ofstream(mended) << "yes";
    const auto done = run(text);
    ASSERT_TRUE(done) << to_string(done.error());
    EXPECT_THAT(told_, testing::ElementsAre("two running", "two done"));
    ::unlink(mended.c_str());
}

TEST(Plan, IsRefusedByNameIfItHasAnError) {
    const std::array<std::pair<const char*, const char*>, 7> wrong{{
        {"name = ", "plan.toml:1"},
        {"nam = \"x\"", "unknown key nam"},
        {"name = \"x\"", "no [[group]]"},
        {"name = \"x\"\n[[group]]\nname = \"g\"\n[[group.step]]\nname = \"s\"\n", "step s"},
        {"name = \"x\"\n[[group]]\nname = \"g\"\n[[group.step]]\nname = \"s\"\nscript = \"ls\"\n",
         "list of texts"},
        {"name = \"x\"\n[[group]]\nname = \"g\"\n[[group.step]]\nname = \"s\"\nmachine = \"m\"\n",
         ""},
        {"name = \"x\"\n[[group]]\nname = \"g\"\n[[group.step]]\nname = \"s\"\nmanual = \"m\"\n"
         "[[group.step]]\nname = \"s\"\nmanual = \"m\"\n",
         "two steps"},
    }};
    for (const auto& [text, what] : wrong) {
        const auto plan = parse_plan(text, "plan.toml");
        ASSERT_FALSE(plan) << text;
        EXPECT_THAT(plan.error().detail, HasSubstr(what));
    }
}

TEST(Plan, ItsRunComesBackEqualAndDamagedOnesAreRefused) {
    PlanRun plan_run;
    plan_run.steps.push_back({.name = "one", .ended = {}, .detail = "ok"});
    const ByteVector bytes = encode_plan_run(plan_run);
    const auto back = decode_plan_run(bytes);
    ASSERT_TRUE(back);
    EXPECT_EQ(encode_plan_run(*back), bytes);
    for (std::size_t n = 0; n < bytes.size(); ++n) {
        EXPECT_FALSE(decode_plan_run(Bytes(bytes).first(n))) << n;
    }
}

}  // namespace
}  // namespace cw::appliance
