// What an agent and a server remember of a chain, against what has become of it.
#include "egress/vault/names.h"
#include "tests/upload/publish_fixture.h"

namespace cw::upload::test {
namespace {

using blob::Container;

class Witness : public Publish {
protected:
    // An agent has seen commits, and the whole account is put back to before them.
    void take_back() {
        protect();
        const fakes::MemoryVault::Copy copy = world.vault->copy();
        source.write(server, source.disks[0]);
        source.point(server);
        ASSERT_TRUE(server.settle());
        seen = newest();
        ASSERT_GT(seen.number, chain_of(copy).newest.number);
        server.crash();
        put_back(copy);
        server.listener.strict = false;
        server.start();
    }
    // A copy of the agent that remembers nothing is served, and the chain grows beyond `seen`.
    void grow_beyond() {
        ASSERT_FALSE(hello({}).refused.has_value());
        while (newest().number <= seen.number + 1) {
            ASSERT_TRUE(grow());
        }
    }
    bool grow() {
        const std::uint64_t before = newest().number;
        server.engine->post(RotateDekCommand{source.machine});
        return server.run_until([&] { return newest().number > before; });
    }
    pipeline::MachineOpened hello(const vault::ChainWitness& witness) {
        const vault::ChainWitness heard = newest();
        server.listener.newest_number = witness.number;
        server.listener.newest_hash = witness.hash;
        pipeline::MachineOpened answer = server.hello(source.machine, source.disks, Seq{10}, true);
        if (server.listener.newest_number == witness.number) {  // Nothing was committed meanwhile.
            const bool refused = answer.refused.has_value();
            server.listener.newest_number = refused ? heard.number : answer.manifest_number;
            server.listener.newest_hash = refused ? heard.hash : answer.manifest_hash;
        }
        return answer;
    }
    void expect_refused(const pipeline::MachineOpened& answer) {
        ASSERT_TRUE(answer.refused.has_value());
        EXPECT_EQ(answer.refused->code, Errc::vault_rolled_back);
        EXPECT_TRUE(server.conditions->standing(Errc::vault_rolled_back));
        const std::uint64_t number = chain().newest.number;
        server.engine->post(RotateDekCommand{source.machine});
        for (int i = 0; i < 500; ++i) {
            server.step();
        }
        EXPECT_EQ(chain().newest.number, number);  // Nobody goes on with it.
    }
    // Opened anew, the server remembers nothing of the first manifests.
    void outgrow_the_trail() {
        protect();
        while (newest().number < 2 * server.options.checkpoint_every) {
            ASSERT_TRUE(grow());
        }
        server.crash();
        server.start();
        ASSERT_FALSE(hello(newest()).refused.has_value());
        ASSERT_FALSE(chain().trail.at(2));
    }
    vault::ChainWitness newest() const {
        return {.number = server.listener.newest_number, .hash = server.listener.newest_hash};
    }
    vault::ChainWitness witness_of(std::uint64_t number) const {
        return {.number = number,
                .hash = sha256(*world.vault->bytes(vault::manifest_blob(source.machine, number)))};
    }
    vault::ChainState chain_of(const fakes::MemoryVault::Copy& copy) {
        const fakes::MemoryVault::Copy now = world.vault->copy();
        put_back(copy);
        vault::ChainState state = chain();
        put_back(now);
        return state;
    }
    void put_back(const fakes::MemoryVault::Copy& copy) {
        for (const Container container :
             {Container::data, Container::manifest, Container::keys, Container::control}) {
            world.vault->put_back(copy, container);
        }
    }

    vault::ChainWitness seen;
};

TEST_F(Witness, F4_IsHeardWhenTheChainThatWasTakenBackHasGrownBeyondIt) {
    take_back();
    grow_beyond();
    expect_refused(hello(seen));
}

TEST_F(Witness, F4_IsHeardBesideTheHigherOneOfTheServerThatWroteOn) {
    take_back();
    grow_beyond();
    server.witness = newest();
    server.crash();
    server.start();
    expect_refused(hello(seen));
}

// The cache's sake alone: such an opening knows of no agent's witness.
TEST_F(Witness, F4_IsHeardWhenItComesWhileTheCacheIsRecovered) {
    take_back();
    grow_beyond();
    server.feeding = false;
    source.write(server, source.disks[0]);
    server.crash();
    server.feeding = true;
    server.start();
    server.engine->publisher().step(16);  // Asks for the opening.
    expect_refused(hello(seen));
}

TEST_F(Witness, OfAnOldManifestIsComparedInTheVaultOnceAndServed) {
    outgrow_the_trail();
    const vault::ChainWitness old = witness_of(2);
    const Epoch epoch = chain().newest.epoch;
    EXPECT_FALSE(hello(old).refused.has_value());
    EXPECT_EQ(chain().newest.epoch, Epoch{raw(epoch) + 1});
    EXPECT_FALSE(hello(old).refused.has_value());
    EXPECT_FALSE(hello(newest()).refused.has_value());
    EXPECT_EQ(chain().newest.epoch, Epoch{raw(epoch) + 1});
    EXPECT_FALSE(server.conditions->standing(Errc::vault_rolled_back));
}

TEST_F(Witness, OfAManifestThatWasCollectedIsNoAlarm) {
    outgrow_the_trail();
    const vault::ChainWitness old = witness_of(2);
    ASSERT_TRUE(world.vault->erase(vault::manifest_blob(source.machine, old.number)));
    EXPECT_FALSE(hello(old).refused.has_value());
    EXPECT_FALSE(server.conditions->standing(Errc::vault_rolled_back));
}

TEST_F(Witness, ThatIsALieStopsItsOwnMachineOnly) {
    protect();
    Source neighbour(world, {1 * mib});
    server.listener.newest_number = 0;  // Of the neighbour from here on.
    ASSERT_FALSE(server.hello(neighbour.machine, neighbour.disks).refused.has_value());
    neighbour.sync_all(server);
    ASSERT_TRUE(server.settle());
    vault::ChainWitness lie = witness_of(2);
    lie.hash[0] ^= std::byte{1};
    expect_refused(hello(lie));
    neighbour.write(server, neighbour.disks[0]);
    const PointId point = neighbour.point(server);
    ASSERT_TRUE(server.settle());
    EXPECT_EQ(state_of(point), PointState::committed);
    // And not for ever: who remembers what is there is served.
    EXPECT_FALSE(hello(witness_of(2)).refused.has_value());
}

}  // namespace
}  // namespace cw::upload::test
