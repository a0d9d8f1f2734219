// causeway-restore as a process, on a vault in a directory: vault + key → disk.
#include "egress/blob/directory_store.h"
#include "egress/vault/names.h"
#include "tests/recovery/disk_model.h"

#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>
#include <sys/wait.h>

namespace cw::recovery {
namespace {

namespace fs = std::filesystem;

class RestoreProgram : public testing::Test {
protected:
    RestoreProgram() {
        fs::remove_all(dir_);
        fs::create_directories(dir_);
        const auto disk = make_posix_disk();
        CW_ASSERT(vault::create_kek_file(*disk, dir_ + "/kek", *random_).has_value());
        auto kek = vault::open_kek_file(*disk, dir_ + "/kek", *random_);
        auto factory = blob::make_directory_factory({dir_ + "/vault", true}, *clock_, *random_);
        CW_ASSERT(kek.has_value() && factory.has_value());
        const auto store = (*factory)->make();
        fakes::VaultRig rig(*store, **kek, *random_, machine_);
        fakes::DiskModel model(rig, *random_, make_id<DiskId>(*random_), mib + 512);
        for (int i = 0; i < 12; ++i) {
            model.step();
        }
        latest_ = model.publish_point();
        truth_ = model.truth();
        witness_ = std::to_string(rig.state.newest.number) + ":" + to_hex(rig.state.hash);
        for (const auto& [name, ref] : rig.state.segments) {
            newest_segment_ = to_string(segment_blob(name));
        }
    }
    ~RestoreProgram() override { fs::remove_all(dir_); }

    struct Outcome {
        int code = -1;
        std::string out;
    };
    Outcome run(const std::string& arguments, const std::string& kek = "/kek") {
        return run_on(dir_ + "/vault", "--kek " + dir_ + kek + " " + arguments);
    }
    static Outcome run_on(const std::string& vault, const std::string& arguments) {
        const std::string command =
            std::string(CAUSEWAY_RESTORE) + " --vault '" + vault + "' " + arguments + " 2>&1";
        FILE* const pipe = popen(command.c_str(), "r");
        Outcome outcome;
        std::array<char, 4096> buffer;
        while (std::fgets(buffer.data(), buffer.size(), pipe) != nullptr) {
            outcome.out += buffer.data();
        }
        const int status = pclose(pipe);
        outcome.code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
        return outcome;
    }
    std::string machine() { return " --machine " + to_string(machine_); }
    ByteVector content(const std::string& path) {
        std::ifstream in(path, std::ios::binary);
        const std::string text((std::istreambuf_iterator<char>(in)), {});
        const Bytes bytes = as_bytes(text);
        return {bytes.begin(), bytes.end()};
    }

    std::string dir_ = testing::TempDir() + "restore_program_test";
    std::unique_ptr<Clock> clock_ = make_system_clock();
    std::unique_ptr<Random> random_ = make_seeded_random(2);
    MachineId machine_ = make_id<MachineId>(*random_);
    PointId latest_;
    std::map<PointId, ByteVector> truth_;
    std::string witness_, newest_segment_;
};

TEST_F(RestoreProgram, TellsItsVersion) {
    const Outcome told = run("--version");
    EXPECT_EQ(told.code, 0);
    EXPECT_TRUE(told.out.starts_with("causeway-restore ")) << told.out;
}

TEST_F(RestoreProgram, ListsVerifiesAndRestores) {
    const Outcome machines = run("list");
    EXPECT_EQ(machines.code, 0) << machines.out;
    EXPECT_NE(machines.out.find(to_string(machine_)), std::string::npos);
    const Outcome points = run("list --json" + machine());
    EXPECT_EQ(points.code, 0);
    for (const auto& [id, truth] : truth_) {
        EXPECT_NE(points.out.find(to_string(id)), std::string::npos);
    }
    const Outcome verified = run("verify --level full --witness " + witness_);
    EXPECT_EQ(verified.code, 0) << verified.out;
    EXPECT_NE(verified.out.find("intact"), std::string::npos);
    for (const auto& [id, truth] : truth_) {
        const std::string path = dir_ + "/" + to_string(id);
        const Outcome restored =
            run("restore --verify --point " + to_string(id) + " --output " + path + machine());
        EXPECT_EQ(restored.code, 0) << restored.out;
        EXPECT_EQ(content(path), truth);
    }
}

TEST_F(RestoreProgram, WritesAVhd) {
    const std::string path = dir_ + "/disk.vhd";
    const Outcome restored =
        run("restore --json --disk vda --format vhd --output " + path + machine());
    ASSERT_EQ(restored.code, 0) << restored.out;
    const ByteVector file = content(path);
    const ByteVector& truth = truth_.at(latest_);
    ASSERT_EQ(file.size(), 2 * mib + 512);
    EXPECT_TRUE(std::equal(truth.begin(), truth.end(), file.begin()));
    EXPECT_EQ(as_text(Bytes(file).last(512)).substr(0, 8), "conectix");
}

TEST_F(RestoreProgram, SaysByItsExitCodeWhatWentWrong) {
    const std::string out = dir_ + "/out";
    EXPECT_EQ(run("").code, 2);
    EXPECT_EQ(run("restore").code, 2);
    EXPECT_EQ(run("restore --machine 12 --output " + out).code, 2);
    EXPECT_EQ(run("restore --point yesterday --output " + out + machine()).code, 2);
    EXPECT_EQ(run("restore --point 2001-01-01T00:00Z --output " + out + machine()).code, 4);
    EXPECT_EQ(run("restore --disk vdz --output " + out + machine()).code, 4);
    EXPECT_EQ(run("list --machine 00000000-0000-0000-0000-000000000000").code, 4);
    EXPECT_EQ(run("list", "/missing").code, 1);
    EXPECT_FALSE(fs::exists(out));
    std::ofstream(out) << "precious";
    const Outcome refused = run("restore --output " + out + machine());
    EXPECT_EQ(refused.code, 3);
    EXPECT_NE(refused.out.find("FILE_EXISTS"), std::string::npos) << refused.out;
    EXPECT_EQ(as_text(content(out)), "precious");
    EXPECT_EQ(run("restore --force --output " + out + machine()).code, 0);
    EXPECT_EQ(content(out), truth_.at(latest_));
}

// Everybody on the machine can read a command line.
TEST_F(RestoreProgram, TakesNoSecretInAnAddressAndNoneOfAnotherKind) {
    const std::string list = "--kek " + dir_ + "/kek list", vault = "https://a.example/v";
    for (const Outcome& refused :
         {run_on(vault, "--proxy http://u:hidden@proxy.example:1 " + list),
          run_on(vault, "--proxy socks5://proxy.example:1 " + list),
          run_on(vault + "?sig=hidden", list), run_on("https://hidden@a.example/v", list),
          run_on("ftp://a.example/v", list)}) {
        EXPECT_EQ(refused.code, 2) << refused.out;
        EXPECT_NE(refused.out.find("USAGE (6002)"), std::string::npos) << refused.out;
        EXPECT_EQ(refused.out.find("hidden"), std::string::npos) << refused.out;
    }
}

// As from a password store: `--kek <(…)`.
TEST_F(RestoreProgram, ReadsItsKeyOutOfAPipe) {
    const std::string piped = "bash -c 'cat " + dir_ + "/kek | " + CAUSEWAY_RESTORE + " --vault " +
                              dir_ + "/vault --kek /dev/stdin list >/dev/null'";
    EXPECT_EQ(std::system(piped.c_str()), 0);
}

TEST_F(RestoreProgram, NamesDamageAndRefusesAStaleVault) {
    const fs::path segment = dir_ + "/vault/" + newest_segment_;
    fs::permissions(segment, fs::perms(0600));
    {
        std::fstream file(segment, std::ios::in | std::ios::out | std::ios::binary);
        file.seekp(-40, std::ios::end);
        file.put('!');
    }
    const Outcome verified = run("verify --depth index");
    EXPECT_EQ(verified.code, 1);
    EXPECT_NE(verified.out.find(newest_segment_), std::string::npos) << verified.out;
    const std::string future = "9999:" + witness_.substr(witness_.find(':') + 1);
    const Outcome stale = run("list --witness " + future + machine());
    EXPECT_EQ(stale.code, 3);
    EXPECT_NE(stale.out.find("VAULT_ROLLED_BACK"), std::string::npos) << stale.out;
    EXPECT_EQ(run("list --accept-stale --witness " + future + machine()).code, 0);
    EXPECT_EQ(run("list --witness nonsense" + machine()).code, 2);
}

}  // namespace
}  // namespace cw::recovery
