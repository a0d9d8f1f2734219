// The names of a cache's files: however its creation ended, what was opened is there later.
#include "cache/spool_files.h"
#include "cache/spool_format.h"
#include "tests/fakes/sim_disk.h"

#include <gtest/gtest.h>

namespace cw::cache {
namespace {

constexpr std::uint64_t seeds = 200;

SpoolOptions small_cache() {
    SpoolOptions options;
    options.path = "/spool";
    options.region_bytes = 32 * block_bytes;
    options.size_bytes = 8 * options.region_bytes;
    options.prewrite = false;
    return options;
}

class SpoolNames : public testing::Test {
protected:
    static Result<SpoolFiles> open(fakes::SimStorage& storage, std::uint64_t seed) {
        const auto disk = storage.make_disk();
        const auto random = make_seeded_random(seed);
        return open_spool_files(small_cache(), *disk, *random);
    }
};

TEST_F(SpoolNames, G1ACacheThatWasOpenedOutlivesThePowerHoweverOftenItsCreationFailed) {
    for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
        fakes::SimStorage storage(seed);
        storage.plan().metadata_error = 1500;
        auto opened = open(storage, seed);
        for (std::uint64_t attempt = 1; !opened && attempt < 1000; ++attempt) {
            opened = open(storage, seed + attempt * seeds);
        }
        ASSERT_TRUE(opened) << seed;
        storage.plan() = {};
        storage.power_cut();
        const auto again = open(storage, seed);
        ASSERT_TRUE(again) << seed << ": " << to_string(again.error());
        EXPECT_FALSE(again->created) << seed;
        EXPECT_EQ(again->superblock.id, opened->superblock.id) << seed;
    }
}

TEST_F(SpoolNames, A3ACreationThatThePowerCutsAnywhereIsTakenUpOrBegunAnew) {
    for (std::uint64_t seed = 1; seed <= 10 * seeds; ++seed) {
        fakes::SimStorage storage(seed);
        const auto random = make_seeded_random(seed);
        for (int cuts = 0; cuts < 8; ++cuts) {
            storage.plan().metadata_error = 1200;
            storage.strike_at(random->below(4) == 0 ? 1 + random->below(20) : 0);
            static_cast<void>(open(storage, random->next_u64()));
            storage.strike_at(0);
            random->below(2) == 0 ? storage.kill() : storage.power_cut();
        }
        storage.plan() = {};
        const auto opened = open(storage, seed);
        ASSERT_TRUE(opened) << seed << ": " << to_string(opened.error());
    }
}

}  // namespace
}  // namespace cw::cache
