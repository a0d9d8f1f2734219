#include "appliance/digest_service.h"

#include "tests/recovery/world.h"

#include <chrono>

#include <gtest/gtest.h>

namespace cw::appliance {
namespace {

constexpr std::uint64_t block = recovery::digest_block_bytes, disk_bytes = 8 * block;

// Moved by the test while the service reads it.
class SharedClock final : public Clock {
public:
    Nanos boot() override { return Nanos{boot_.load()}; }
    WallMicros wall() override { return WallMicros{1'700'000'000'000'000}; }
    void advance(std::int64_t ns) { boot_ += ns; }

private:
    std::atomic<std::int64_t> boot_{ns_per_s};
};

// A disk with one committed write and perhaps an open fence, and a service that tells of it.
class DigestServiceTest : public testing::Test {
protected:
    DigestServiceTest() {
        vault::DiskEntry& entry = world_.rig.disk(disk_);
        entry.size_bytes = disk_bytes;
        entry.protected_ = true;
        entry.committed = Seq{1};
        fakes::RigSegment plan{.disk = disk_, .first = Seq{1}, .last = Seq{1}, .extents = {}};
        plan.extents.push_back({.offset = 0,
                                .bytes = content_,
                                .seq = Seq{1},
                                .codec = vault::Codec::none,
                                .hole_bytes = 0});
        plan.extents.push_back({.offset = 3 * block + 512,
                                .bytes = ByteVector(512, std::byte{7}),
                                .seq = Seq{1},
                                .codec = vault::Codec::none,
                                .hole_bytes = 0});
        vault::Manifest manifest = world_.rig.next();
        manifest.added.push_back(world_.rig.put(plan));
        world_.rig.publish(manifest);
    }
    ~DigestServiceTest() override { service_.stop(); }

    void commit_fence(Seq fence) {
        vault::DiskEntry& entry = world_.rig.disk(disk_);
        entry.committed = fence;
        entry.open_fence = fence;
        world_.rig.publish(world_.rig.next());
        open_fence_ = fence;
    }
    void ask(Seq fence, std::uint64_t first, std::uint32_t count) {
        service_.ask({.machine = world_.machine,
                      .disk = disk_,
                      .generation = Generation{1},
                      .fence = fence,
                      .session = SessionId{5},
                      .reactor = 2,
                      .slot = 3,
                      .first_block = first,
                      .count = count});
    }
    // Waits for the next reply; the service answers within its own bounds.
    std::optional<ingest::DigestReply> reply() {
        std::unique_lock lock(mutex_);
        if (!arrived_.wait_for(lock, std::chrono::seconds(30), [&] { return !replies_.empty(); })) {
            return std::nullopt;
        }
        ingest::DigestReply out = std::move(replies_.front());
        replies_.pop_front();
        return out;
    }
    Fingerprint of(const ByteVector& bytes) {
        return fingerprint(bytes, world_.rig.keys.fingerprint_secret);
    }

    SharedClock clock_;
    recovery::World world_{41};
    DiskId disk_ = make_id<DiskId>(*world_.random);
    ByteVector content_ = fakes::random_bytes(*world_.random, 2 * block);
    std::atomic<Seq> open_fence_{Seq{}};
    std::atomic<int> fence_questions_{0}, refusals_{0};
    std::mutex mutex_;
    std::condition_variable arrived_;
    std::deque<ingest::DigestReply> replies_;
    DigestService service_{{.clock = clock_,
                            .stores = *world_.factory,
                            .kek = *world_.kek,
                            .open_fence =
                                [this](const MachineId&, const DiskId&) {
                                    ++fence_questions_;
                                    return open_fence_.load();
                                },
                            .reply =
                                [this](std::uint32_t reactor, ingest::DigestReply& answer) {
                                    EXPECT_EQ(reactor, 2U);
                                    if (refusals_ > 0) {
                                        --refusals_;
                                        return false;
                                    }
                                    const std::lock_guard lock(mutex_);
                                    replies_.push_back(std::move(answer));
                                    arrived_.notify_one();
                                    return true;
                                }}};
};

TEST_F(DigestServiceTest, TellsWhatTheVaultHoldsBeneathTheFence) {
    commit_fence(Seq{9});
    service_.start();
    refusals_ = 2;  // A full ring: it comes all the same.
    ask(Seq{9}, 0, 10);
    const auto told = reply();
    ASSERT_TRUE(told);
    EXPECT_EQ(told->machine, world_.machine);
    EXPECT_EQ(told->session, SessionId{5});
    EXPECT_EQ(told->slot, 3U);
    EXPECT_EQ(told->first_block, 0U);
    // Block 3 is a mixture, blocks 8 and 9 lie beyond the end.
    EXPECT_EQ(told->known,
              (std::vector<bool>{true, true, true, false, true, true, true, true, false, false}));
    ASSERT_EQ(told->fingerprints.size(), 7U);
    EXPECT_EQ(told->fingerprints[0],
              of(ByteVector(content_.begin(), content_.begin() + static_cast<long>(block))));
    EXPECT_EQ(told->fingerprints[2], of(ByteVector(block)));
    ask(Seq{9}, 1, 1);  // From the same table.
    const auto again = reply();
    ASSERT_TRUE(again);
    ASSERT_EQ(again->fingerprints.size(), 1U);
    EXPECT_EQ(again->fingerprints[0], told->fingerprints[1]);
}

TEST_F(DigestServiceTest, WaitsUntilEverythingBeforeTheFenceIsCommitted) {
    commit_fence(Seq{9});
    service_.start();
    ask(Seq{30}, 0, 2);  // A newer fence: writes before it may still be in the cache.
    while (fence_questions_ < 3) {
        std::this_thread::yield();
    }
    {
        const std::lock_guard lock(mutex_);
        EXPECT_TRUE(replies_.empty());
    }
    clock_.advance(DigestDesk::wait_ns_max);
    const auto told = reply();
    ASSERT_TRUE(told);
    EXPECT_EQ(told->known, (std::vector<bool>{false, false}));
}

TEST_F(DigestServiceTest, ClaimsNothingWhenTheVaultSaysOtherwise) {
    commit_fence(Seq{9});
    open_fence_ = Seq{30};  // Status runs ahead of the vault.
    service_.start();
    ask(Seq{30}, 0, 1);
    while (fence_questions_ < 2) {
        std::this_thread::yield();
    }
    clock_.advance(DigestDesk::wait_ns_max);
    const auto told = reply();
    ASSERT_TRUE(told);
    EXPECT_EQ(told->known, std::vector<bool>{false});
}

TEST_F(DigestServiceTest, KnowsNothingOfADamagedVault) {
    commit_fence(Seq{9});
    for (const auto& name : world_.memory.names()) {
        if (name.container == blob::Container::data) {
            world_.memory.erase(name);
        }
    }
    service_.start();
    for (int i = 0; i < 2; ++i) {
        ask(Seq{9}, 0, 1);
        const auto told = reply();
        ASSERT_TRUE(told);
        EXPECT_EQ(told->known, std::vector<bool>{false});
    }
}

TEST_F(DigestServiceTest, WithoutAFenceNothingIsCompared) {
    service_.start();
    ask(Seq{}, 0, 1);
    const auto told = reply();
    ASSERT_TRUE(told);
    EXPECT_EQ(told->known, std::vector<bool>{false});
}

}  // namespace
}  // namespace cw::appliance
