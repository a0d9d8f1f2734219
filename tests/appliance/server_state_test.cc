// What a server remembers about itself, as it finds it when it starts.
#include "appliance/server_state.h"

#include "base/assert.h"

#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace cw::appliance {
namespace {

using testing::HasSubstr;

class ServerState : public testing::Test {
protected:
    ServerState() { CW_ASSERT(mkdtemp(directory_.data()) != nullptr); }
    ~ServerState() override { std::filesystem::remove_all(directory_); }

    void write(const std::string& name, std::string_view text) {
        std::ofstream(directory_ + "/" + name, std::ios::trunc) << text;
    }
    Result<void> load_witness() { return WitnessFile(witness_path(directory_)).load(*disk_); }
    // What is to be done is about this file, and not about the disk or the configuration.
    void expect_damage(const Error& error, const std::string& name) {
        EXPECT_EQ(error.code, Errc::config_invalid);
        EXPECT_THAT(error.detail, HasSubstr(directory_ + "/" + name + " is damaged"));
        EXPECT_THAT(error.next, HasSubstr("put it back from a backup"));
    }

    std::string directory_ = testing::TempDir() + "cw_state_XXXXXX";
    std::unique_ptr<Disk> disk_ = make_posix_disk();
    std::unique_ptr<Random> random_ = make_seeded_random(1);
};

TEST_F(ServerState, TheIdIsDrawnOnceAndKept) {
    const auto drawn = load_server_id(*disk_, *random_, directory_);
    ASSERT_TRUE(drawn) << to_string(drawn.error());
    EXPECT_EQ(load_server_id(*disk_, *random_, directory_).value(), *drawn);
}

TEST_F(ServerState, ADamagedIdIsRefusedWithWhatToDoAboutIt) {
    for (const std::string& text : {std::string(), std::string("no id"), std::string(200, 'x')}) {
        write("server-id", text);
        const auto id = load_server_id(*disk_, *random_, directory_);
        ASSERT_FALSE(id) << text;
        expect_damage(id.error(), "server-id");
    }
}

TEST_F(ServerState, AWitnessThatWasStoredIsFoundAgain) {
    EXPECT_TRUE(load_witness());  // None yet.
    WitnessFile witness(witness_path(directory_));
    const MachineId machine{{std::byte{1}}};
    witness.note(machine, {.number = 7, .hash = {}});
    ASSERT_TRUE(witness.store(*disk_));
    WitnessFile again(witness_path(directory_));
    ASSERT_TRUE(again.load(*disk_));
    EXPECT_EQ(again.of(machine).number, 7U);
}

// Taken for a new server's, it would let a vault that was rolled back pass.
TEST_F(ServerState, AnEmptiedWitnessIsDamagedAsAnyOther) {
    for (const char* text : {"", "\n", "no witness"}) {
        write("witness", text);
        const auto loaded = load_witness();
        ASSERT_FALSE(loaded) << text;
        expect_damage(loaded.error(), "witness");
    }
}

}  // namespace
}  // namespace cw::appliance
