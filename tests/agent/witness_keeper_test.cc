// What an agent bears witness of: the newest manifest it was told of, across every kind of end.
#include "agent/stream/witness_keeper.h"

#include "tests/agent/harness.h"
#include "tests/fakes/sim_disk.h"

namespace cw::agent::test {
namespace {

Sha256 hash_of(std::uint64_t number) {
    return sha256(as_bytes(std::to_string(number)));
}

class AgentWitness : public testing::Test {
protected:
    // The server commits its manifest `number` and tells the agent.
    void commit(std::uint64_t number) {
        agent_.server.manifest_number = number;
        agent_.server.manifest_hash = hash_of(number);
        agent_.server.sync();
        ASSERT_TRUE(agent_.run_until([&] { return agent_.replicator->witness().first == number; }));
        agent_.steps(2);
    }
    // Kills the agent, starts it, and returns what it says to its server.
    std::uint64_t said_after_kill() {
        agent_.kill();
        agent_.server.witness_number = ~0ULL;
        agent_.start();
        EXPECT_TRUE(agent_.run_until_protected());
        if (agent_.server.witness_number != 0) {
            EXPECT_EQ(agent_.server.witness_hash, hash_of(agent_.server.witness_number));
        }
        return agent_.server.witness_number;
    }

    Harness agent_;
};

TEST_F(AgentWitness, OfTheFirstManifestOutlivesAKillAtOnce) {
    ASSERT_TRUE(agent_.run_until_protected());
    commit(3);
    EXPECT_EQ(said_after_kill(), 3U);
}

TEST_F(AgentWitness, IsNeverOlderThanAMinuteAfterAKill) {
    ASSERT_TRUE(agent_.run_until_protected());
    commit(3);
    commit(4);
    EXPECT_EQ(said_after_kill(), 3U);  // Not written down each time;
    commit(5);
    commit(6);
    for (std::int64_t waited = 0; waited < WitnessKeeper::note_every_ns; waited += 5 * ns_per_s) {
        agent_.clock.advance(5 * ns_per_s);
        agent_.steps(20);
    }
    EXPECT_EQ(said_after_kill(), 6U);  // but within a minute.
}

TEST(WitnessKeeper, TriesAgainWhatItCouldNotWriteAndLosesNoNewerOne) {
    fakes::SimStorage storage(7);
    const auto disk = storage.make_disk();
    const auto state = StateFile::open(*disk, "/state").value();
    ASSERT_TRUE(state->update([](AgentState&) {}));
    WitnessKeeper keeper(*state);
    EXPECT_EQ(keeper.tend(Nanos{1}), Nanos{INT64_MAX}) << "nothing to write";
    keeper.take(2, hash_of(2));
    keeper.take(1, hash_of(1));
    EXPECT_EQ(keeper.number(), 2U);
    storage.plan().capacity_bytes = 1;
    const Nanos again = keeper.tend(Nanos{1});
    EXPECT_EQ(again, Nanos{1} + WitnessKeeper::note_every_ns);
    keeper.take(3, hash_of(3));
    storage.plan().capacity_bytes = ~0ULL;
    EXPECT_EQ(keeper.tend(again + -1), again) << "not before its time";
    EXPECT_EQ(StateFile::open(*disk, "/state").value()->get().witness_number, 0U);
    EXPECT_EQ(keeper.tend(again), Nanos{INT64_MAX});
    const AgentState written = StateFile::open(*disk, "/state").value()->get();
    EXPECT_EQ(written.witness_number, 3U);
    EXPECT_EQ(written.witness_hash, hash_of(3));
}

}  // namespace
}  // namespace cw::agent::test
