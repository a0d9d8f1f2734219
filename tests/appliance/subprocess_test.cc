// A program's children: they end, with all that they have started, and say how they ended.
#include "appliance/operator/subprocess.h"

#include <algorithm>
#include <csignal>
#include <fstream>
#include <string>
#include <vector>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

namespace cw::appliance {
namespace {

using testing::HasSubstr;

class SubprocessTest : public testing::Test {
protected:
    std::unique_ptr<Clock> clock_ = make_system_clock();
};

TEST_F(SubprocessTest, AChildThatHangsIsEndedWithItsChildren) {
    const Nanos began = clock_->boot();
    const auto hung = run_command({"/bin/sh", "-c", "echo started; sleep 600 & wait"}, *clock_,
                                  {.timeout_ns = ns_per_s});
    ASSERT_FALSE(hung);
    EXPECT_THAT(hung.error().detail, HasSubstr("started"));
    EXPECT_LT(clock_->boot() - began, 60 * ns_per_s);
    const auto missing = run_command({"no-such-program-anywhere"}, *clock_, {});
    ASSERT_FALSE(missing);
    EXPECT_EQ(missing.error().code, Errc::not_found);
}

TEST_F(SubprocessTest, ATimeBelowASecondIsToldAsItIs) {
    const auto hung =
        run_command({"/bin/sh", "-c", "sleep 600"}, *clock_, {.timeout_ns = ns_per_ms});
    ASSERT_FALSE(hung);
    EXPECT_THAT(hung.error().detail, HasSubstr("did not end within 1 ms"));
}

TEST_F(SubprocessTest, WhatAChildSaidStandsOnOneLine) {
    const auto hung = run_command({"/bin/sh", "-c", "printf 'no room\\r\\n\\nleft\\n'; sleep 600"},
                                  *clock_, {.timeout_ns = ns_per_s});
    ASSERT_FALSE(hung);
    EXPECT_THAT(hung.error().detail, testing::EndsWith("its last words: no room; left"));
    EXPECT_EQ(one_line("\n\na\n"), "a");
    EXPECT_EQ(last_words("begin\nmiddle\nend\n", 11), "middle; end");
}

// Where a child writes pids: of this process's own, since other tests may run beside it.
std::string pids_file() {
    return testing::TempDir() + "child_pids." + std::to_string(::getpid());
}

// The pids that a child has written, one per line.
std::vector<pid_t> pids_in(const std::string& path) {
    std::vector<pid_t> pids;
    std::ifstream in(path);
    for (pid_t pid = 0; in >> pid;) {
        pids.push_back(pid);
    }
    return pids;
}

bool runs(pid_t pid) {
    std::ifstream in("/proc/" + std::to_string(pid) + "/stat");
    std::string line;
    std::getline(in, line);
    const std::size_t name_end = line.rfind(") ");
    return name_end != std::string::npos && line[name_end + 2] != 'Z';
}

// Whom a runner had started when it was killed: the program writes their pids to $0.
std::vector<pid_t> of_a_killed_runner(const std::string& script) {
    const std::string file = pids_file();
    ::unlink(file.c_str());
    const pid_t runner = ::fork();
    if (runner == 0) {
        const auto child = Subprocess::start({"/bin/sh", "-c", script, file}, false);
        while (::access(file.c_str(), F_OK) != 0) {
            ::poll(nullptr, 0, 1);
        }
        ::kill(::getpid(), SIGKILL);
    }
    int status = 0;
    EXPECT_EQ(::waitpid(runner, &status, 0), runner);
    EXPECT_TRUE(WIFSIGNALED(status));
    const auto pids = pids_in(file);
    ::unlink(file.c_str());
    return pids;
}

bool ends(pid_t pid, Clock& clock) {
    const Nanos deadline = clock.boot() + 60 * ns_per_s;
    while (runs(pid) && clock.boot() - deadline < 0) {
        ::poll(nullptr, 0, 5);
    }
    return !runs(pid);
}

TEST_F(SubprocessTest, AKilledRunnerTakesItsChildAndWhatThatStartedWithIt) {
    const auto pids = of_a_killed_runner(
        "sleep 600 & printf '%s\n' $$ $! > \"$0.new\"; mv \"$0.new\" \"$0\"; wait");
    ASSERT_EQ(pids.size(), 2U);
    for (const pid_t pid : pids) {
        EXPECT_TRUE(ends(pid, *clock_)) << pid;
        ::kill(pid, SIGKILL);
    }
}

TEST_F(SubprocessTest, AKilledRunnerTakesProcessGroupsOfTheirOwnWithIt) {
    const auto pids = of_a_killed_runner(
        "timeout 600 sh -c 'sleep 600 & printf \"%s\\n\" $$ $! > \"$0.new\"; mv \"$0.new\" \"$0\"; "
        "wait' \"$0\"");
    ASSERT_EQ(pids.size(), 2U);
    for (const pid_t pid : pids) {
        EXPECT_TRUE(ends(pid, *clock_)) << pid;
        ::kill(pid, SIGKILL);
    }
}

// Of a child that runs `script`, which starts something: whether both are gone once it was ended.
bool goes_when_ended(std::vector<std::string> before, const std::string& script, Clock& clock) {
    const std::string file = pids_file();
    ::unlink(file.c_str());
    for (const std::string& word : {std::string("/bin/sh"), std::string("-c"),
                                    script + " & printf '%s\n' $$ $! > \"$0.new\"; mv \"$0.new\" "
                                             "\"$0\"; wait; wait",
                                    file}) {
        before.push_back(word);
    }
    auto child = Subprocess::start(before, false);
    EXPECT_TRUE(child);
    const Nanos deadline = clock.boot() + 60 * ns_per_s;
    while (::access(file.c_str(), F_OK) != 0 && clock.boot() - deadline < 0) {
        ::poll(nullptr, 0, 1);
    }
    child->end();
    const auto pids = pids_in(file);
    EXPECT_EQ(pids.size(), 2U);
    ::unlink(file.c_str());
    bool all = true;
    for (const pid_t pid : pids) {
        all = ends(pid, clock) && all;
        ::kill(pid, SIGKILL);
    }
    return all;
}

const std::vector<std::string> in_a_group_of_its_own{"timeout", "600"};

TEST_F(SubprocessTest, AnEndedChildHearsOfItInAProcessGroupOfItsOwn) {
    const Nanos began = clock_->boot();
    EXPECT_TRUE(goes_when_ended(in_a_group_of_its_own, "sleep 600", *clock_));
    EXPECT_LT(clock_->boot() - began, 10 * ns_per_s);  // Not by SIGKILL.
}

TEST_F(SubprocessTest, AnEndedChildThatWouldNotIsKilledInAProcessGroupOfItsOwn) {
    EXPECT_TRUE(goes_when_ended(in_a_group_of_its_own, "trap '' TERM; sleep 600", *clock_));
}

TEST_F(SubprocessTest, AnEndedChildLeavesNobodyBehindWhoWouldNotEnd) {
    EXPECT_TRUE(goes_when_ended({}, "(trap '' TERM; exec sleep 600)", *clock_));
}

// It is asked for a word when the guard, and with it all that could kill it, is gone: one that was
// killed may look alive for a while, and says nothing.
TEST_F(SubprocessTest, AKilledRunnerLeavesADaemonOfItsChildAlone) {
    const std::string question = pids_file() + ".question", answer = pids_file() + ".answer";
    ASSERT_EQ(::mkfifo(question.c_str(), 0600), 0);
    const Fd asking(::open(question.c_str(), O_RDWR | O_CLOEXEC));
    ASSERT_TRUE(asking.valid());
    const auto pids = of_a_killed_runner(
        "sleep 600 & setsid sh -c 'printf \"%s\\n\" $$ $1 $2 > \"$0.new\"; mv \"$0.new\" \"$0\"; "
        "read word < \"$0.question\"; echo \"$word\" > \"$0.answer\"' \"$0\" $! $PPID & wait");
    ASSERT_EQ(pids.size(), 3U);
    EXPECT_TRUE(ends(pids[1], *clock_));
    EXPECT_TRUE(ends(pids[2], *clock_)) << "the guard";
    ASSERT_EQ(::write(asking.get(), "word\n", 5), 5);
    EXPECT_TRUE(ends(pids[0], *clock_));
    std::string word;
    EXPECT_TRUE(std::ifstream(answer) >> word) << "the daemon was killed";
    EXPECT_EQ(word, "word");
    ::kill(pids[0], SIGKILL);
    ::unlink(question.c_str());
    ::unlink(answer.c_str());
}

TEST_F(SubprocessTest, AChildHasNoDescriptorOfOursAndNoSignalOfOursBlockedOrIgnored) {
    const int ours = ::open("/dev/null", O_RDONLY);  // Without O_CLOEXEC.
    ASSERT_GE(ours, 0);
    const auto before = ::signal(SIGHUP, SIG_IGN);
    const auto said = run_command(
        {"/bin/sh", "-c", "ls /proc/self/fd | wc -l; grep -E '^Sig(Blk|Ign)' /proc/self/status"},
        *clock_, {});
    ::signal(SIGHUP, before);
    ::close(ours);
    ASSERT_TRUE(said) << to_string(said.error());
    // 0, 1, 2 and the directory that is listed.
    EXPECT_THAT(said->output, testing::StartsWith("4\n"));
    EXPECT_THAT(said->output, HasSubstr("SigBlk:\t0000000000000000"));
    EXPECT_THAT(said->output, HasSubstr("SigIgn:\t0000000000000000"));
}

TEST_F(SubprocessTest, AChildOfARunnerWithoutStandardStreamsRunsAndIsHeard) {
    for (const int last : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
        for (const bool capture : {false, true}) {
            const pid_t runner = ::fork();
            if (runner == 0) {
                for (int fd = 0; fd <= last; ++fd) {
                    ::close(fd);
                }
                auto child = Subprocess::start({"/bin/sh", "-c", "echo word; exit 3"}, capture);
                while (child && !child->poll(ns_per_s)) {
                }
                const bool heard = child && (!capture || child->output() == "word\n");
                ::_exit(heard ? child->exit_code() : 1);
            }
            int status = 0;
            ASSERT_EQ(::waitpid(runner, &status, 0), runner);
            EXPECT_EQ(WIFEXITED(status) ? WEXITSTATUS(status) : -1, 3) << last << capture;
        }
    }
}

TEST_F(SubprocessTest, AChildsEndByASignalIsTold) {
    const auto killed = run_command({"/bin/sh", "-c", "kill -9 $$"}, *clock_, {});
    ASSERT_TRUE(killed) << to_string(killed.error());
    EXPECT_EQ(killed->exit_code, 128 + SIGKILL);
}

TEST_F(SubprocessTest, AChildsOutputIsBoundedAndItsCodeKept) {
    const auto much =
        run_command({"/bin/sh", "-c", "head -c 2000000 /dev/zero; echo end; exit 7"}, *clock_, {});
    ASSERT_TRUE(much) << to_string(much.error());
    EXPECT_EQ(much->exit_code, 7);
    EXPECT_LE(much->output.size(), output_bytes_max);
    EXPECT_THAT(much->output.substr(much->output.size() - 4), "end\n");
}

}  // namespace
}  // namespace cw::appliance
