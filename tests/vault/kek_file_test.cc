#include "base/assert.h"
#include "egress/vault/keys.h"
#include "tests/fakes/sim_disk.h"
#include "tests/volume/cut_disk.h"

#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>

#include <gtest/gtest.h>
#include <sys/stat.h>

namespace cw::vault {
namespace {

const std::string sim_path = "/keys/kek";

std::string make_scratch() {
    std::string pattern = testing::TempDir() + "kek_file_XXXXXX";
    CW_ASSERT(mkdtemp(pattern.data()) != nullptr);
    return pattern;
}

TEST(KekFile, IsPrivateAndOpensTheVault) {
    const std::string dir = make_scratch();
    const std::string path = dir + "/kek";
    const auto disk = make_posix_disk();
    const auto random = make_seeded_random(1);
    ASSERT_TRUE(create_kek_file(*disk, path, *random));
    const auto again = create_kek_file(*disk, path, *random);
    ASSERT_FALSE(again);
    EXPECT_EQ(again.error().code, Errc::file_exists);
    const auto kek = open_kek_file(*disk, path, *random);
    ASSERT_TRUE(kek) << to_string(kek.error());
    const auto wrapped = (*kek)->wrap(as_bytes("secret"), as_bytes("aad"));
    EXPECT_EQ((*kek)->unwrap(*wrapped, as_bytes("aad")).value(),
              ByteVector(as_bytes("secret").begin(), as_bytes("secret").end()));
    EXPECT_EQ((*kek)->unwrap(*wrapped, as_bytes("other")).error().code, Errc::object_corrupt);

    std::filesystem::permissions(path, std::filesystem::perms(0440));
    EXPECT_EQ(open_kek_file(*disk, path, *random).error().code, Errc::key_unavailable);
    std::filesystem::remove(path);
    EXPECT_EQ(open_kek_file(*disk, path, *random).error().code, Errc::key_unavailable);
    ASSERT_TRUE(create_kek_file(*disk, path, *random));
    const auto other = open_kek_file(*disk, path, *random);
    EXPECT_EQ((*other)->unwrap(*wrapped, as_bytes("aad")).error().code, Errc::key_unavailable);
    std::filesystem::remove_all(dir);
}

// Random numbers, and what happens elsewhere each time that some are drawn.
class EventfulRandom final : public Random {
public:
    explicit EventfulRandom(std::function<void()> event) : event_(std::move(event)) {}
    void fill(std::span<std::byte> out) override {
        event_();
        inner_->fill(out);
    }

private:
    std::function<void()> event_;
    std::unique_ptr<Random> inner_ = make_seeded_random(5);
};

TEST(KekFile, NeverReplacesOneThatAppearsMeanwhile) {
    const std::string dir = make_scratch();
    const std::string path = dir + "/kek";
    const auto disk = make_posix_disk();
    EventfulRandom random([&] { std::ofstream(path) << "another's"; });
    const auto refused = create_kek_file(*disk, path, random);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Errc::file_exists);
    std::ifstream there(path);
    EXPECT_EQ(std::string(std::istreambuf_iterator<char>(there), {}), "another's");
    EXPECT_EQ(disk->list(dir).value(), std::vector<std::string>{"kek"});
    std::filesystem::remove_all(dir);
}

TEST(KekFile, TakesAwayWhatAKilledRunLeftBesideIt) {
    const std::string dir = make_scratch();
    const std::vector<std::string> others{"kek.0123.new", "kek.bak", "kek.until-20260101T000000Z"};
    for (const std::string& name : others) {
        std::ofstream(dir + "/" + name) << "not ours";
    }
    const std::string left = dir + "/kek.0123456789abcdef.new";
    std::ofstream(left) << "4711";
    ASSERT_EQ(chmod(left.c_str(), 0400), 0);
    const auto disk = make_posix_disk();
    const auto random = make_seeded_random(1);
    ASSERT_TRUE(create_kek_file(*disk, dir + "/kek", *random));
    EXPECT_EQ(disk->list(dir).value(),
              (std::vector<std::string>{"kek", others[0], others[1], others[2]}));
    std::filesystem::remove_all(dir);
}

TEST(KekFile, OnAFullFileSystemIsNotThereAndComesWithRoom) {
    for (const std::uint64_t room : {0U, 1U, 64U}) {
        fakes::SimStorage storage(1);
        storage.plan().capacity_bytes = room;
        const auto disk = storage.make_disk();
        const auto random = make_seeded_random(1);
        ASSERT_TRUE(disk->create_directories("/keys"));
        const auto refused = create_kek_file(*disk, sim_path, *random);
        ASSERT_FALSE(refused);
        EXPECT_EQ(refused.error().code, Errc::disk_full);
        EXPECT_TRUE(refused.error().detail.starts_with("that of /keys, where kek is written"))
            << refused.error().detail;
        EXPECT_TRUE(refused.error().next.starts_with("df -h /keys")) << refused.error().next;
        EXPECT_TRUE(disk->list("/keys").value().empty());
        storage.plan().capacity_bytes = UINT64_MAX;
        ASSERT_TRUE(create_kek_file(*disk, sim_path, *random));
        EXPECT_TRUE(open_kek_file(*disk, sim_path, *random));
    }
}

// A power cut before each operation, with several fates of what was not synced.
TEST(KekFile, IsWholeOrNotThereWhereverThePowerGoes) {
    bool finished = false;
    for (std::uint64_t cut = 1; !finished; ++cut) {
        ASSERT_LT(cut, 20U);
        for (std::uint64_t seed = 1; seed <= 10; ++seed) {
            fakes::SimStorage storage(seed);
            ASSERT_TRUE(storage.make_disk()->create_directories("/keys"));
            const auto random = make_seeded_random(seed);
            {
                volume::test::CutDisk disk(storage, cut);
                const auto made = create_kek_file(disk, sim_path, *random);
                EXPECT_EQ(made.has_value(), !disk.cut());
                finished = made.has_value();
            }
            storage.power_cut();
            const auto disk = storage.make_disk();
            const bool there = disk->exists(sim_path).value();
            EXPECT_TRUE(there || !finished) << "what was made is lost";
            if (!there) {
                ASSERT_TRUE(create_kek_file(*disk, sim_path, *random));
            }
            const auto key = open_kek_file(*disk, sim_path, *random);
            ASSERT_TRUE(key) << "cut " << cut << ": " << to_string(key.error());
            EXPECT_EQ(disk->list("/keys").value(), std::vector<std::string>{"kek"});
        }
    }
}

}  // namespace
}  // namespace cw::vault
