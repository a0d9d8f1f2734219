// A file system without room beneath the agent's own files is named.
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
        EXPECT_EQ(outcome.error().code, Errc::disk_full);
        const std::string& said = outcome.error().detail;
        EXPECT_TRUE(said.starts_with("that of /state")) << said;
        EXPECT_NE(said.find(file), std::string::npos) << said;
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

// A guest tries a write again that was refused. Were the second one not written down, an agent that
// is killed then would send what it had before.
TEST(DirtyMapOnAFailingDisk, AMarkThatWasNotWrittenIsWrittenWithTheNextOne) {
    const DirtyMap::Target target{"/state/d.map", DiskId{{std::byte{1}}}, 8192 * mib};
    const std::uint64_t far = 4096 * mib;  // On another page.
    fakes::SimStorage storage(7);
    {
        const auto disk = storage.make_disk();
        ASSERT_TRUE(disk->create_directories("/state"));
        auto map = DirtyMap::create(*disk, target).value();
        map.begin_fence(true);
        map.end_fence(Seq{1});
        ASSERT_TRUE(map.committed(Seq{1}));
        storage.plan().write_error = 10'000;
        ASSERT_FALSE(map.mark(far - 512, 1024));
        storage.plan().write_error = 0;
        ASSERT_TRUE(map.mark(far - 512, 512));
        ASSERT_TRUE(map.mark_missed(far, 512));
        storage.kill();
    }
    const auto disk = storage.make_disk();
    const auto again = DirtyMap::open(*disk, target);
    ASSERT_TRUE(again) << to_string(again.error());
    EXPECT_TRUE(again->uncommitted().test(far / map_block_bytes - 1));
    EXPECT_TRUE(again->uncommitted().test(far / map_block_bytes));
}

}  // namespace
}  // namespace cw::agent::test
