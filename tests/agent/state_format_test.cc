// Files of a newer agent in the state directory: refused by name, and left as they are.
#include "agent/state_format.h"

#include "agent/state_file.h"
#include "agent/stream/digest_table.h"
#include "agent/stream/dirty_map.h"
#include "base/checksum.h"
#include "base/random.h"

#include <filesystem>
#include <fstream>
#include <sstream>

#include <gtest/gtest.h>
#include <unistd.h>

namespace cw::agent::test {
namespace {

namespace fs = std::filesystem;

class StateFormat : public testing::Test {
protected:
    StateFormat() : directory_(testing::TempDir() + "cw_format_" + std::to_string(::getpid())) {
        fs::remove_all(directory_);
        fs::create_directories(directory_);
        EXPECT_TRUE(DirtyMap::create(*disk_, {directory_ + "/d.map", {}, 64 * mib}));
        const auto random = make_seeded_random(1);
        EXPECT_TRUE(DigestTable::open(*disk_, *random, directory_ + "/d.digests", 64 * mib, true));
        EXPECT_TRUE(StateFile::open(*disk_, directory_).value()->update([](AgentState&) {}));
    }
    ~StateFormat() override { fs::remove_all(directory_); }
    [[nodiscard]] std::string read(const std::string& name) const {
        std::ifstream in(directory_ + "/" + name, std::ios::binary);
        std::ostringstream text;
        text << in.rdbuf();
        return text.str();
    }
    void write(const std::string& name, const std::string& content) const {
        std::ofstream(directory_ + "/" + name, std::ios::binary) << content;
    }
    // As that version would write it: its header is whole, and its number another.
    void make_version(const std::string& name, std::uint32_t version, bool whole = true) const {
        std::string content = read(name);
        const MutableBytes block{reinterpret_cast<std::byte*>(content.data()), block_bytes};
        ByteWriter(block.subspan(4)).u32(version);
        ByteWriter(block).u32(crc32c(Bytes(block).subspan(4)) + (whole ? 0 : 1));
        write(name, content);
    }
    void expect_refused(const Result<void>& outcome, const std::string& name, int version) const {
        ASSERT_FALSE(outcome);
        EXPECT_EQ(outcome.error().code, Errc::format_unsupported);
        const std::string& said = outcome.error().detail;
        for (const std::string& part :
             {directory_ + "/" + name, "version " + std::to_string(version),
              std::string("up to version 1"), std::string("start the agent that wrote it")}) {
            EXPECT_NE(said.find(part), std::string::npos) << said;
        }
    }
    Result<void> open_state() {
        const auto opened = StateFile::open(*disk_, directory_);
        return opened ? Result<void>{} : std::unexpected(opened.error());
    }

    const std::string directory_;
    std::unique_ptr<Disk> disk_ = make_posix_disk();
};

TEST_F(StateFormat, OfThisVersionIsTaken) {
    EXPECT_TRUE(check_formats(*disk_, directory_));
    EXPECT_TRUE(open_state());
}

// Else its map would be taken for a damaged one, and made anew: the newer agent would compare all.
TEST_F(StateFormat, OfANewerMapOrDigestTableIsRefusedAndLeftAsItIs) {
    for (const std::string name : {"d.map", "d.digests"}) {
        const std::string before = read(name);
        make_version(name, 7);
        const std::string newer = read(name);
        expect_refused(check_formats(*disk_, directory_), name, 7);
        EXPECT_EQ(read(name), newer);
        write(name, before);
    }
}

TEST_F(StateFormat, OfANewerStateFileIsRefusedAndLeftAsItIs) {
    const std::string newer = R"({"version": 2, "all": "else", "may": ["be", "other"]})";
    write("agent.json", newer);
    expect_refused(open_state(), "agent.json", 2);
    EXPECT_EQ(read("agent.json"), newer);
}

// What a damaged file says of its version is no reason to refuse.
TEST_F(StateFormat, OfADamagedFileIsNoMatter) {
    make_version("d.map", 7, false);
    make_version("d.digests", 7, false);
    write("other.map", "short");
    EXPECT_TRUE(check_formats(*disk_, directory_));
    for (const char* damaged : {R"({"version": 0})", R"({"version": "2"})", R"({"version": -2})",
                                R"({"version": 2)", "{}", ""}) {
        write("agent.json", damaged);
        const auto opened = open_state();
        ASSERT_FALSE(opened) << damaged;
        EXPECT_EQ(opened.error().code, Errc::config_invalid) << damaged;
    }
}

}  // namespace
}  // namespace cw::agent::test
