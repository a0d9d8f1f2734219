// A file system without room beneath the agent's own files: named, and not taken for a server's
// cache.
#include "agent/state_file.h"
#include "agent/stream/digest_table.h"
#include "agent/stream/dirty_map.h"
#include "base/random.h"
#include "tests/fakes/sim_disk.h"

#include <gtest/gtest.h>

namespace cw::agent::test {
namespace {

class FullState : public testing::Test {
protected:
    template <typename T>
    static void expect_named(const Result<T>& outcome, const std::string& file) {
        ASSERT_FALSE(outcome) << file;
        EXPECT_EQ(outcome.error().code, Errc::spool_full);
        const std::string& said = outcome.error().detail;
        EXPECT_TRUE(said.starts_with("this is no server's cache: ")) << said;
        EXPECT_NE(said.find("the file system of /state/" + file), std::string::npos) << said;
    }
    void fill() { storage_.plan().capacity_bytes = 1; }

    std::unique_ptr<Random> random_ = make_seeded_random(1);
    fakes::SimStorage storage_{7};
    std::unique_ptr<Disk> disk_ = storage_.make_disk();
};

TEST_F(FullState, IsNamedByTheStateFileWhichKeepsWhatItHad) {
    const auto file = StateFile::open(*disk_, "/state").value();
    ASSERT_TRUE(file->update([](AgentState& state) { state.disks.resize(1); }));
    const Seq limit = file->get().disks[0].limit;
    fill();
    expect_named(file->reserve(0, Seq{1}), "agent.json");
    EXPECT_EQ(file->get().disks[0].limit, limit);
    expect_named(file->update([](AgentState&) {}), "agent.json");
}

TEST_F(FullState, IsNamedByMapsAndDigestTables) {
    ASSERT_TRUE(disk_->create_directories("/state"));
    fill();
    expect_named(DirtyMap::create(*disk_, {"/state/d.map", {}, 64 * mib}), "d.map");
    expect_named(DigestTable::open(*disk_, *random_, "/state/d.digests", 64 * mib, true),
                 "d.digests");
}

}  // namespace
}  // namespace cw::agent::test
