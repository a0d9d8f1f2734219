// The real program against a model server over real TLS: what operators run.
#include "base/log.h"
#include "base/random.h"
#include "tests/agent/tls_model_server.h"

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

namespace cw::agent::test {
namespace {

namespace fs = std::filesystem;

class Program : public testing::Test {
protected:
    Program() : directory_(testing::TempDir() + "cw_program_" + std::to_string(::getpid())) {
        fs::remove_all(directory_);
        fs::create_directories(directory_);
        server_ = std::make_unique<TlsModelServer>(directory_);
        image_ = directory_ + "/disk.img";
        const auto dice = make_seeded_random(1);
        ByteVector content(8 * mib);
        dice->fill(MutableBytes(content).first(3 * mib));
        std::ofstream(image_, std::ios::binary)
            .write(reinterpret_cast<const char*>(content.data()),
                   static_cast<std::streamsize>(content.size()));
    }
    ~Program() override {
        end(SIGKILL);
        server_.reset();
        fs::remove_all(directory_);
    }
    void start(const std::vector<std::string>& more) {
        const TlsFiles files = server_->client_files();
        std::vector<std::string> words{
            CAUSEWAY_AGENT, "protect",
            "--server",     "127.0.0.1:" + std::to_string(server_->port()),
            "--ca",         files.ca_file,
            "--cert",       files.cert_file,
            "--key",        files.key_file,
            "--state",      state(),
            "--image",      image_};
        words.insert(words.end(), interval_.begin(), interval_.end());
        words.insert(words.end(), more.begin(), more.end());
        std::vector<char*> argv;
        for (auto& word : words) {
            argv.push_back(word.data());
        }
        argv.push_back(nullptr);
        posix_spawn_file_actions_t files_to;
        posix_spawn_file_actions_init(&files_to);
        const std::string log = directory_ + "/log";
        posix_spawn_file_actions_addopen(&files_to, 2, log.c_str(), O_WRONLY | O_CREAT | O_APPEND,
                                         0600);
        ASSERT_EQ(posix_spawn(&pid_, CAUSEWAY_AGENT, &files_to, nullptr, argv.data(), environ), 0);
        posix_spawn_file_actions_destroy(&files_to);
    }
    int end(int signal) {
        if (pid_ <= 0) {
            return -1;
        }
        int status = 0;
        ::kill(pid_, signal);
        ::waitpid(std::exchange(pid_, -1), &status, 0);
        return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    }
    // Runs a command; its exit code.
    int run(const std::string& command) {
        const int status = std::system((command + " >> " + directory_ + "/out 2>&1").c_str());
        return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    }
    int agent(const std::string& words) {
        return run(std::string(CAUSEWAY_AGENT) + " " + words + " --state " + state());
    }
    // A point that includes everything so far; retried while the disks are synchronising.
    bool point() {
        for (int i = 0; i < 200; ++i) {
            if (agent("point --wait committed --timeout 20s --tag t") == 0) {
                return true;
            }
            ::usleep(50'000);
        }
        return false;
    }
    bool status_has(const std::string& text) {
        return run(std::string(CAUSEWAY_AGENT) + " status --json --state " + state() +
                   " | grep -q '" + text + "'") == 0;
    }
    std::string state() const { return directory_ + "/state"; }
    ByteVector image() {
        std::ifstream in(image_, std::ios::binary);
        std::ostringstream text;
        text << in.rdbuf();
        const std::string bytes = text.str();
        return {as_bytes(bytes).begin(), as_bytes(bytes).end()};
    }
    void expect_last_point_is_the_image() {
        const ByteVector now = image();
        server_->with([&](ModelServer& model) {
            ASSERT_FALSE(model.points.empty());
            const auto& cut = model.points.back().point.cuts.at(0);
            EXPECT_TRUE(model.materialise(cut.disk, cut.cut) == now);
            for (const auto& what : model.violations) {
                ADD_FAILURE() << what;
            }
        });
    }
    // What a terminal would obey, or take for a line of its own, in a file of this program's words.
    std::string raw_in(const std::string& name) const {
        std::ifstream in(directory_ + name, std::ios::binary);
        std::ostringstream text;
        text << in.rdbuf();
        const std::string all = text.str();
        if (all.empty()) {
            return name + " is empty";
        }
        for (const std::string_view bad :
             {"\x1b", "\r", "\x07", "\xff", "\xc2\x85", "\u202e", "\n2026-01-01T00:00:00"}) {
            if (all.find(bad) != std::string::npos) {
                return name + " has " + escape_for_display(bad);
            }
        }
        return all.find('\0') == std::string::npos ? "" : name + " has a NUL";
    }
    std::string url() const { return "'nbd+unix:///?socket=" + directory_ + "/nbd'"; }
    const std::string directory_;
    std::string image_;
    std::vector<std::string> interval_{"--interval", "1s"};
    std::unique_ptr<TlsModelServer> server_;
    pid_t pid_ = -1;
};

TEST_F(Program, ProtectsThroughNbdSurvivesKillAndStopsCleanly) {
    if (run("which qemu-io") != 0) {
        GTEST_SKIP() << "qemu-io is not installed";
    }
    start({"--nbd-socket", directory_ + "/nbd"});
    ASSERT_TRUE(point());
    ASSERT_EQ(run("qemu-io -f raw -c 'write -P 0x5a 1M 300k' -c flush " + url()), 0);
    ASSERT_TRUE(point());
    expect_last_point_is_the_image();
    // Written and killed at once: nothing of it may be forgotten.
    ASSERT_EQ(run("qemu-io -f raw -c 'write -P 0x33 5M 700k' " + url()), 0);
    end(SIGKILL);
    start({"--nbd-socket", directory_ + "/nbd"});
    ASSERT_TRUE(point());
    expect_last_point_is_the_image();
    EXPECT_EQ(server_->with(
                  [](ModelServer& model) { return raw(model.disks.begin()->second.generation); }),
              1U);
    EXPECT_EQ(agent("status --json"), 0);
    EXPECT_EQ(end(SIGTERM), 0);
    EXPECT_TRUE(server_->with([](ModelServer& model) { return model.goodbye; }));
    // After a clean stop nothing is read: the one fence has only the agent's own sequences above
    // it.
    const auto seen = [this] {
        return server_->with(
            [](ModelServer& model) { return std::pair(model.begins.size(), model.base_bytes); });
    };
    const auto [begins, base_bytes] = seen();
    start({"--nbd-socket", directory_ + "/nbd"});
    ASSERT_TRUE(point());
    EXPECT_EQ(seen(), std::pair(begins + 1, base_bytes));
    EXPECT_EQ(agent("stop --final --timeout 30s"), 0);
    EXPECT_EQ(server_->with([](ModelServer& model) { return model.points.back().point.kind; }),
              pipeline::PointKind::planned);
}

TEST_F(Program, AnImageWrittenWhileUnprotectedIsComparedAgain) {
    if (run("which qemu-io") != 0) {
        GTEST_SKIP() << "qemu-io is not installed";
    }
    server_->with([](ModelServer& model) { model.know_hashes = true; });
    start({"--nbd-socket", directory_ + "/nbd"});
    ASSERT_TRUE(point());
    EXPECT_EQ(end(SIGTERM), 0);
    ASSERT_EQ(run("qemu-io -f raw -c 'write -P 0x77 2M 64k' " + image_), 0);
    start({"--nbd-socket", directory_ + "/nbd"});
    ASSERT_TRUE(point());
    expect_last_point_is_the_image();
    EXPECT_EQ(server_->with(
                  [](ModelServer& model) { return raw(model.disks.begin()->second.generation); }),
              2U);
}

TEST_F(Program, AnImageWrittenAfterAKillIsComparedAgain) {
    if (run("which qemu-io") != 0) {
        GTEST_SKIP() << "qemu-io is not installed";
    }
    server_->with([](ModelServer& model) { model.know_hashes = true; });
    start({"--nbd-socket", directory_ + "/nbd"});
    ASSERT_TRUE(point());
    ASSERT_EQ(run("qemu-io -f raw -c 'write -P 0x5a 1M 64k' " + url()), 0);
    ASSERT_TRUE(point());
    end(SIGKILL);
    ASSERT_EQ(run("qemu-io -f raw -c 'write -P 0x77 2M 64k' " + image_), 0);
    start({"--nbd-socket", directory_ + "/nbd"});
    ASSERT_TRUE(point());
    expect_last_point_is_the_image();
    EXPECT_EQ(server_->with(
                  [](ModelServer& model) { return raw(model.disks.begin()->second.generation); }),
              2U);
}

TEST_F(Program, ScansWithHooksAndMakesFilesystemPoints) {
    start({"--pre-hook", "true", "--post-hook", "true"});
    ASSERT_TRUE(point());
    ASSERT_EQ(run("dd if=/dev/urandom of=" + image_ + " bs=4k seek=700 count=3 conv=notrunc"), 0);
    ASSERT_TRUE(point());
    expect_last_point_is_the_image();
    EXPECT_EQ(server_->with([](ModelServer& model) { return model.points.back().point.kind; }),
              pipeline::PointKind::filesystem);
    EXPECT_EQ(end(SIGTERM), 0);
}

TEST_F(Program, AScanOfAnImageThatWasReplacedMakesNoPointUntilTheNextStart) {
    start({"--pre-hook", "true", "--post-hook", "true"});
    ASSERT_TRUE(point());
    ASSERT_EQ(run("cp " + image_ + " " + image_ + ".new"), 0);
    ASSERT_EQ(run("dd if=/dev/urandom of=" + image_ + ".new bs=4k seek=700 count=3 conv=notrunc"),
              0);
    ASSERT_EQ(run("mv " + image_ + ".new " + image_), 0);
    EXPECT_NE(agent("point --wait committed --timeout 20s"), 0);
    EXPECT_EQ(run("grep -q SOURCE_GONE " + directory_ + "/log"), 0);
    EXPECT_EQ(end(SIGTERM), 0);
    start({"--pre-hook", "true", "--post-hook", "true"});
    ASSERT_TRUE(point());
    expect_last_point_is_the_image();
}

TEST_F(Program, AnImageThatHasGrownIsComparedInItsNewSizeAndGoesOn) {
    server_->with([](ModelServer& model) { model.know_hashes = true; });
    start({"--pre-hook", "true", "--post-hook", "true"});
    ASSERT_TRUE(point());
    ASSERT_EQ(run("truncate -s +3M " + image_), 0);
    ASSERT_EQ(run("dd if=/dev/urandom of=" + image_ + " bs=1M seek=10 count=1 conv=notrunc"), 0);
    bool anew = false;
    for (int i = 0; i < 1200 && !anew; ++i) {
        ::usleep(50'000);
        anew = server_->with([](ModelServer& model) {
            return !model.disks.empty() && model.disks.begin()->second.size == 11 * mib;
        });
    }
    ASSERT_TRUE(anew);
    ASSERT_TRUE(point());
    expect_last_point_is_the_image();
    EXPECT_EQ(run("grep -q agent.disk.resized " + directory_ + "/log"), 0);
    EXPECT_EQ(end(SIGTERM), 0);
}

TEST_F(Program, AnImageBeneathTheFrontEndThatIsResizedIsComparedInItsNewSize) {
    server_->with([](ModelServer& model) { model.know_hashes = true; });
    start({"--nbd-socket", directory_ + "/nbd"});
    ASSERT_TRUE(point());
    for (const std::uint64_t size : {11 * mib, 6 * mib}) {
        ASSERT_EQ(run("truncate -s " + std::to_string(size) + " " + image_), 0);
        bool anew = false;
        for (int i = 0; i < 1200 && !anew; ++i) {
            ::usleep(50'000);
            anew = server_->with([&](ModelServer& model) {
                return !model.disks.empty() && model.disks.begin()->second.size == size;
            });
        }
        ASSERT_TRUE(anew) << size;
        ASSERT_TRUE(point()) << size;
        expect_last_point_is_the_image();
    }
    EXPECT_NE(agent("resize --disk disk.img --size 8M"), 0);  // For virtual machines.
    EXPECT_EQ(end(SIGTERM), 0);
}

TEST_F(Program, TheServerSaysHowOftenPointsAreMadeAndMayChangeItsMind) {
    interval_.clear();
    server_->with([](ModelServer& model) { model.policy = wire::Policy{3'600'000, 0}; });
    start({"--nbd-socket", directory_ + "/nbd"});
    ASSERT_TRUE(point());
    EXPECT_TRUE(status_has("\"interval_ms\":3600000,"));
    EXPECT_TRUE(status_has("\"app_interval_ms\":0,"));
    const std::size_t before = server_->with([](ModelServer& model) {
        model.say_policy({1'000, 0});
        return model.points.size();
    });
    bool more = false;
    for (int i = 0; i < 1200 && !more; ++i) {
        ::usleep(50'000);
        more = server_->with([&](ModelServer& model) { return model.points.size() > before + 1; });
    }
    EXPECT_TRUE(more);
    EXPECT_TRUE(status_has("\"interval_ms\":1000,"));
}

TEST_F(Program, WhatAPersonToldTheAgentGoesBeforeWhatTheServerSays) {
    interval_ = {"--interval", "1800s", "--app-interval", "900s"};
    server_->with([](ModelServer& model) { model.policy = wire::Policy{1'000, 0}; });
    start({"--nbd-socket", directory_ + "/nbd"});
    ASSERT_TRUE(point());  // What is said after WELCOME came before it.
    EXPECT_EQ(run("grep -q 'agent.policy.*interval_ms=1000' " + directory_ + "/log"), 0);
    EXPECT_TRUE(status_has("\"interval_ms\":1800000,"));
    EXPECT_TRUE(status_has("\"app_interval_ms\":900000,"));
}

TEST_F(Program, AServerThatSaysNothingLeavesTheAgentItsOwnIntervals) {
    interval_.clear();
    start({"--nbd-socket", directory_ + "/nbd"});
    ASSERT_TRUE(point());
    EXPECT_TRUE(status_has("\"interval_ms\":5000,"));
    EXPECT_TRUE(status_has("\"app_interval_ms\":3600000,"));
}

TEST_F(Program, ARefusedCertificateIsCalledThat) {
    const std::string other = directory_ + "/other";
    fs::create_directories(other);
    ASSERT_TRUE(create_ca(other, "other", 3600));
    const auto dice = make_seeded_random(2);
    ASSERT_TRUE(issue_certificate(
        other, {{Role::machine, make_uuid_bytes(*dice)}, "machine", "", 3600}, other + "/machine"));
    for (const char* const name : {"machine.crt", "machine.key"}) {
        fs::copy_file(other + "/" + name, directory_ + "/" + name,
                      fs::copy_options::overwrite_existing);
    }
    start({"--nbd-socket", directory_ + "/nbd"});
    const std::string refused = "grep -q 'agent.session.lost.*TLS_FAILED.*unknown ca' ";
    bool said = false;
    for (int i = 0; i < 1200 && !said; ++i) {
        said = run(refused + directory_ + "/log") == 0;
        ::usleep(50'000);
    }
    EXPECT_TRUE(said);
}

// Nothing is touched, so that the agent that wrote it goes on where it was.
TEST_F(Program, DoesNotStartOnTheStateOfANewerAgent) {
    fs::create_directories(state());
    const std::string file = state() + "/agent.json";
    const std::string newer = R"({"version": 2, "else": "unknown"})";
    std::ofstream(file) << newer;
    start({});
    EXPECT_EQ(end(0), 1);
    EXPECT_EQ(
        run("grep -q 'FORMAT_UNSUPPORTED.*agent.json has format version 2' " + directory_ + "/log"),
        0);
    std::ifstream in(file);
    std::string said;
    std::getline(in, said);
    EXPECT_EQ(said, newer);
}

TEST_F(Program, ExitCodesAreStable) {
    EXPECT_EQ(run(std::string(CAUSEWAY_AGENT) + " --help"), 0);
    EXPECT_EQ(run(CAUSEWAY_AGENT), 2);
    EXPECT_EQ(run(std::string(CAUSEWAY_AGENT) + " protect --nonsense"), 2);
    EXPECT_EQ(agent("status"), 5);  // No agent runs there.
    const TlsFiles files = server_->client_files();
    const std::string protect = std::string(CAUSEWAY_AGENT) +
                                " protect --server 127.0.0.1:" + std::to_string(server_->port()) +
                                " --ca " + files.ca_file + " --cert " + files.cert_file +
                                " --key " + files.key_file + " --state " + state();
    EXPECT_EQ(run(protect + " --image " + directory_ + "/absent"), 4);
    EXPECT_EQ(run(protect + " --image " + image_ + " --interval 0s"), 2);
    // Neither a file system that is frozen without a pause, nor a freeze that always fails.
    const std::string hooked = protect + " --image " + image_ + " --pre-hook true";
    for (const char* const wrong :
         {"--app-interval 1ms", "--app-interval 999ms", "--hook-timeout 0", "--hook-timeout 999ms",
          "--hook-timeout 25h"}) {
        EXPECT_EQ(run("timeout 60 " + hooked + " " + wrong), 2) << wrong;
    }
    EXPECT_EQ(run("grep -q 'app-interval is 0 (only when asked for) or at least 1s' " + directory_ +
                  "/out"),
              0);
    EXPECT_EQ(run("grep -q 'hook-timeout: is between 1s and 24h' " + directory_ + "/out"), 0);
    EXPECT_EQ(run(std::string(CAUSEWAY_AGENT) + " seed export --ca " + files.ca_file + " --cert " +
                  files.cert_file + " --key " + files.key_file + " --state " + state() +
                  " --image " + image_ + " --output " + directory_ + "/seed --hook-timeout 0s"),
              2);
    EXPECT_EQ(run(protect + " --image " + image_ + " --nbd-listen 0.0.0.0:0"), 2);
    start({"--pre-hook", "true"});
    ASSERT_TRUE(point());
    EXPECT_EQ(run(protect + " --image " + image_), 3);  // Two agents on one state directory.
}

// A server is authenticated, and may be somebody else's by now.
TEST_F(Program, ShowsNothingOfWhatItsServerSaysAsItIs) {
    using namespace std::string_literals;
    const std::string weapon =
        "\u202egnp\r\n2026-01-01T00:00:00.000Z error \x1b]0;owned\x07 ../../owned \xff\xc2\x85\0"s;
    server_->with([&](ModelServer& model) { model.welcome_reason = weapon; });
    start({"--nbd-socket", directory_ + "/nbd"});
    ASSERT_TRUE(point());
    EXPECT_TRUE(status_has("gnp"));
    EXPECT_EQ(agent("status"), 0);
    EXPECT_EQ(agent("status --json"), 0);
    server_->with([&](ModelServer& model) {
        model.refuse_with = Errc::authz_denied;
        model.refuse_detail = weapon;
        model.crash();
    });
    for (int i = 0; i < 400 && !status_has("AUTHZ_DENIED.*gnp"); ++i) {
        ::usleep(50'000);
    }
    (void)agent("status");
    (void)agent("status --json");
    EXPECT_EQ(run("grep -q 'AUTHZ_DENIED.*gnp' " + directory_ + "/log"), 0);
    EXPECT_EQ(run("grep -q 'AUTHZ_DENIED.*gnp' " + directory_ + "/out"), 0);
    EXPECT_EQ(raw_in("/log"), "");
    EXPECT_EQ(raw_in("/out"), "");
    for (const auto& entry : fs::recursive_directory_iterator(directory_)) {
        EXPECT_EQ(entry.path().filename().string().find("owned"), std::string::npos);
    }
}

}  // namespace
}  // namespace cw::agent::test
