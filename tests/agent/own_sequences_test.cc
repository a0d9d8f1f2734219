// C6: two machines made from one snapshot, and the server that both of them reach.
#include "tests/agent/harness.h"

namespace cw::agent::test {
namespace {

namespace fs = std::filesystem;

class OwnSequences : public testing::Test {
protected:
    void SetUp() override {
        for (int i = 0; i < 40; ++i) {
            h.random_write();
        }
        ASSERT_TRUE(h.run_until_protected());
        snapshot_point();
    }
    void TearDown() override {
        fs::remove_all(h.directory + ".a");
        fs::remove_all(h.directory + ".b");
    }
    void snapshot_point() {
        const auto id = h.point();
        ASSERT_TRUE(id);
        ASSERT_TRUE(h.run_until([&] { return committed(*id); }));
    }
    bool committed(const PointId& id) {
        const auto* point = h.replicator->points().find(id);
        return point != nullptr && point->phase == PointPhase::committed;
    }
    // The agent's state and its disk, as a snapshot of the machine has them.
    void save(const std::string& as) {
        fs::remove_all(h.directory + as);
        fs::copy(h.directory, h.directory + as, fs::copy_options::recursive);
        disk_[as] = h.images[0]->copy();
    }
    void become(const std::string& saved) {
        fs::remove_all(h.directory);
        fs::copy(h.directory + saved, h.directory, fs::copy_options::recursive);
        ASSERT_TRUE(h.images[0]->write(0, disk_.at(saved)));
    }
    // The exact next sequence, as a clean stop leaves it.
    Seq stop_cleanly() {
        h.replicator->begin_stop(false, 60 * ns_per_s);
        EXPECT_TRUE(h.run_until([&] { return h.replicator->ended(); }));
        const Seq next = h.captures[0]->position().next;
        h.kill();
        return next;
    }
    [[nodiscard]] Generation generation() const { return h.server.disks.at(h.id_of(0)).generation; }
    void expect_whole_points() {
        snapshot_point();
        EXPECT_GE(h.check_points(), 2U);
        h.expect_no_violations();
    }

    Harness h;
    std::map<std::string, ByteVector> disk_;
};

TEST_F(OwnSequences, C6TwoStartsFromOneStateNeverUseTheSameSequences) {
    h.kill();
    save(".a");
    h.start();
    ASSERT_TRUE(h.run_until_protected());
    const Seq one = h.captures[0]->position().next;
    h.kill();
    become(".a");
    h.start();
    ASSERT_TRUE(h.run_until([&] { return h.replicator->consistent(); }));
    const Seq other = h.captures[0]->position().next;
    const std::uint64_t apart = std::max(raw(one), raw(other)) - std::min(raw(one), raw(other));
    EXPECT_GT(apart, StateFile::reserve_step);
}

TEST_F(OwnSequences, C6ClonesSayAnotherBootCounterAndAStartALaterOne) {
    const std::uint64_t before = h.server.boot_counter;
    h.kill();
    save(".a");
    h.start();
    ASSERT_TRUE(h.run_until_protected());
    const std::uint64_t one = h.server.boot_counter;
    EXPECT_EQ(one >> 32, (before >> 32) + 1);
    h.server.crash();
    ASSERT_TRUE(h.run_until([&] { return !h.server.closed; }));
    EXPECT_EQ(h.server.boot_counter, one);
    h.kill();
    become(".a");
    h.start();
    ASSERT_TRUE(h.run_until_protected());
    EXPECT_EQ(h.server.boot_counter >> 32, one >> 32);
    EXPECT_NE(h.server.boot_counter, one);
}

// Neither may be given the other's writes as its own, whoever comes first and returns.
TEST_F(OwnSequences, C6TwoMachinesOfOneSnapshotNeverMixInOneHistory) {
    h.kill();
    save(".a");
    save(".b");
    std::vector<Generation> seen{generation()};
    for (int turn = 0; turn < 6; ++turn) {
        const std::string me = turn % 2 == 0 ? ".a" : ".b";
        become(me);
        h.start();
        ASSERT_TRUE(h.run_until_protected()) << turn;
        for (int i = 0; i < 10; ++i) {
            h.random_write();
        }
        expect_whole_points();
        h.kill();
        save(me);
        if (turn > 0) {
            EXPECT_GT(generation(), seen.back()) << turn;
        } else {
            EXPECT_EQ(generation(), seen.back());
        }
        seen.push_back(generation());
    }
}

TEST_F(OwnSequences, C6TwoMachinesThatWereStoppedCleanlyNeverMixEither) {
    const Seq next = stop_cleanly();
    save(".a");
    h.start(true, false, next);
    ASSERT_TRUE(h.run_until_protected());
    const Generation before = generation();
    h.random_write();
    expect_whole_points();
    h.kill();
    become(".a");
    h.start(true, false, next);
    for (int i = 0; i < 5000; ++i) {  // More than the other one wrote, so no number is missing.
        h.write(0, 512, 512, 0x77);
    }
    ASSERT_TRUE(h.run_until_protected());
    EXPECT_GT(generation(), before);
    expect_whole_points();
}

TEST_F(OwnSequences, C6WhatIsHeldFromAnEarlierSessionIsNotContinuedAfterTheOther) {
    const Seq next = stop_cleanly();
    save(".a");
    // One is told to go on, and is cut off before it says anything.
    h.start(true, false, next);
    ASSERT_TRUE(h.run_until([&] { return h.replicator->status().link == LinkState::live; }));
    const auto& kept = h.server.disks.at(h.id_of(0));
    const Seq durable = kept.durable;
    const Generation before = generation();
    // Meanwhile the other one is served.
    ModelDisk theirs = kept;
    theirs.open_fence(advance(durable, 77));
    theirs.close_fence(advance(durable, 78));
    h.server.crash();
    theirs.durable = theirs.received;
    h.server.disks[h.id_of(0)] = theirs;
    for (int i = 0; i < 200; ++i) {
        h.random_write();
    }
    ASSERT_TRUE(h.run_until([&] { return generation() > before; }));
    ASSERT_TRUE(h.run_until_protected());
    expect_whole_points();
}

TEST_F(OwnSequences, C6AServerThatHoldsMoreThanWasSentBelongsToAnother) {
    // A copy with its memory: its sequences are the same, but it has not sent as many.
    const Generation before = generation();
    auto& kept = h.server.disks.at(h.id_of(0));
    h.server.crash();
    kept.received = kept.durable = advance(kept.durable, 50);
    for (int i = 0; i < 200; ++i) {
        h.random_write();
    }
    ASSERT_TRUE(h.run_until([&] { return generation() > before; }));
    ASSERT_TRUE(h.run_until_protected());
    expect_whole_points();
}

// A history that has just begun: what was sent of the one before says nothing of it.
TEST_F(OwnSequences, C6AServerThatHoldsMoreOfANewHistoryThanWasSentBelongsToAnother) {
    h.server.features = 0;  // No leap: the new sequences are far below the old ones.
    h.server.crash();
    h.server.disks.erase(h.id_of(0));  // It knows nothing of the disk any more.
    h.server.points.clear();
    ASSERT_TRUE(h.run_until([&] { return h.server.disks.contains(h.id_of(0)); }));
    ASSERT_TRUE(h.run_until_protected());
    snapshot_point();
    const Generation before = generation();
    auto& kept = h.server.disks.at(h.id_of(0));
    ASSERT_LT(raw(kept.durable), 1000U);
    h.server.crash();
    kept.received = kept.durable = advance(kept.durable, 5);
    for (std::uint64_t i = 0; i < 10; ++i) {
        h.write(0, i * 8192, 4096, 0x55);
        EXPECT_TRUE(h.point());  // Ends the record: what is held can go on after any number.
    }
    ASSERT_TRUE(h.run_until([&] { return generation() > before; }));
    ASSERT_TRUE(h.run_until_protected());
    expect_whole_points();
}

TEST_F(OwnSequences, ARestartAfterACleanStopReadsNothingAndKeepsItsHistory) {
    const Generation before = generation();
    const std::uint64_t base = h.server.base_bytes;
    for (int i = 0; i < 5; ++i) {
        h.start(true, false, stop_cleanly());
        h.random_write();  // Before anybody answers.
        ASSERT_TRUE(h.run_until_protected());
        expect_whole_points();
    }
    EXPECT_EQ(generation(), before);
    EXPECT_EQ(h.server.base_bytes, base);
}

TEST_F(OwnSequences, KillsKeepTheHistoryAndTheStateStaysSmall) {
    const Generation before = generation();
    for (std::size_t i = 0; i < StateFile::own_ranges_max + 10; ++i) {
        h.random_write();
        h.kill();
        h.start();
        ASSERT_TRUE(h.run_until_protected());
    }
    expect_whole_points();
    EXPECT_EQ(generation(), before);
    const DiskState known = h.state->get().disks[0];
    EXPECT_LE(known.own.size(), StateFile::own_ranges_max);
    EXPECT_EQ(known.own.back().limit, known.limit);
    EXPECT_TRUE(may_be_own(known, h.server.disks.at(h.id_of(0)).durable));
    for (std::size_t i = 1; i < known.own.size(); ++i) {  // What lies between may be a clone's.
        EXPECT_FALSE(may_be_own(known, Seq{raw(known.own[i].first) - 2}));
    }
    ASSERT_GT(raw(known.own.front().first), 2U) << "the oldest is forgotten, not stretched";
    EXPECT_FALSE(may_be_own(known, Seq{raw(known.own.front().first) - 2}));
}

TEST_F(OwnSequences, AServerThatKnowsNothingOfThemIsServedAsBefore) {
    h.server.features = 0;
    const Generation before = generation();
    h.random_write();
    h.start(true, false, stop_cleanly());
    h.random_write();
    ASSERT_TRUE(h.run_until_protected());
    expect_whole_points();
    EXPECT_EQ(generation(), before);
}

TEST_F(OwnSequences, AStateFileOfBeforeGoesOn) {
    h.kill();
    const Generation before = generation();
    {
        const auto disk = make_posix_disk();
        const auto file = StateFile::open(*disk, h.directory).value();
        ASSERT_TRUE(file->update([](AgentState& state) { state.disks[0].own.clear(); }));
    }
    h.start();
    ASSERT_TRUE(h.run_until_protected());
    expect_whole_points();
    EXPECT_EQ(generation(), before);
}

TEST(OwnRanges, AreKeptOverARestartAndASequenceOutsideThemIsForeign) {
    const std::string directory = testing::TempDir() + "cw_own_" + std::to_string(::getpid());
    const auto disk = make_posix_disk();
    {
        const auto file = StateFile::open(*disk, directory).value();
        ASSERT_TRUE(file->update([](AgentState& state) { state.disks.resize(1); }));
        EXPECT_EQ(raw(*file->reserve(0, Seq{1})), 1 + StateFile::reserve_step);
        EXPECT_EQ(raw(*file->reserve(0, Seq{1})), 1 + 2 * StateFile::reserve_step);
        ASSERT_TRUE(file->reserve(0, Seq{1ULL << 40}));
    }
    const auto file = StateFile::open(*disk, directory).value();
    const DiskState known = file->get().disks[0];
    EXPECT_EQ(known.own.size(), 2U);
    EXPECT_TRUE(may_be_own(known, Seq{0}));
    EXPECT_TRUE(may_be_own(known, Seq{2 * StateFile::reserve_step}));
    EXPECT_FALSE(may_be_own(known, Seq{3 * StateFile::reserve_step}));
    EXPECT_FALSE(may_be_own(known, Seq{(1ULL << 40) - 2}));
    EXPECT_TRUE(may_be_own(known, Seq{(1ULL << 40) - 1}));
    EXPECT_TRUE(may_be_own(known, Seq{(1ULL << 40) + 5}));
    EXPECT_FALSE(may_be_own(known, known.limit));
    fs::remove_all(directory);
}

}  // namespace
}  // namespace cw::agent::test
