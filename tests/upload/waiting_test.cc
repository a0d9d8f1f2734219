// Servers that publish nothing of a machine for long: they find out whose it is all the same.
#include "egress/vault/names.h"
#include "tests/upload/assembly_fixture.h"

#include <gtest/gtest.h>

namespace cw::upload::test {
namespace {

class Waiting : public Assembly {
protected:
    // Seconds pass, `seconds` of them in all, unless the machine is fenced before.
    bool fenced_within(std::int64_t seconds) {
        const Nanos end = world.clock.boot() + seconds * ns_per_s;
        while (world.clock.boot() < end && !server.conditions->standing(Errc::fenced)) {
            server.step(100 * ns_per_ms);
        }
        return server.conditions->standing(Errc::fenced);
    }
    // The cache lost what its agent was told to be safe.
    void damage() {
        server.keep_payload = false;
        source.write(server, source.disks[0]);
        server.cache.records.rbegin()->second.damaged = true;
        source.write(server, source.disks[0]);
        ASSERT_TRUE(server.run_until([this] { return !server.listener.damage.empty(); }));
    }
    // The machine's agent goes to another server, which goes on without what lies here.
    void leave() {
        other.start();
        const auto answer = other.hello(source.machine, source.disks, Seq{0}, true);
        ASSERT_FALSE(answer.refused.has_value()) << answer.refused->detail;
    }
    MachineMode mode() { return server.engine->status().machines.front().mode; }

    Server other{world, quick(), 2};
};

TEST_F(Waiting, E1_AServerThatWaitsForARepairFindsOutThatItsMachineIsGone) {
    protect();
    damage();
    ASSERT_FALSE(fenced_within(60));
    leave();
    EXPECT_TRUE(fenced_within(35));
    EXPECT_TRUE(server.run_until([this] { return mode() == MachineMode::fenced; }));
    EXPECT_EQ(server.listener.fencings, 1U);
    EXPECT_FALSE(server.cache.records.empty());  // Kept until the agent returns, or for a person.
    server.listener.strict = false;
    server.engine->post(DiscardQuarantineCommand{source.machine});
    EXPECT_TRUE(server.settle());
    EXPECT_FALSE(server.conditions->standing(Errc::spool_lost_durable));
}

// Its agent is gone for good, and no other server has the machine.
TEST_F(Waiting, WhatWaitsForARepairThatNeverComesIsReleasedWhenAPersonSaysSo) {
    protect();
    damage();
    const vault::ChainState before = chain();
    server.listener.strict = false;
    server.engine->post(DiscardQuarantineCommand{source.machine});
    EXPECT_TRUE(server.settle());
    EXPECT_TRUE(server.run_until([this] { return mode() == MachineMode::closed; }));
    EXPECT_FALSE(server.conditions->standing(Errc::spool_lost_durable));
    EXPECT_EQ(chain().points.size(), before.points.size());
}

TEST_F(Waiting, WhatIsOnItsWayToTheVaultIsNotDiscarded) {
    protect();
    source.write(server, source.disks[0]);
    const PointId point = source.point(server);
    server.engine->post(DiscardQuarantineCommand{source.machine});
    ASSERT_TRUE(server.settle());
    EXPECT_TRUE(chain().points.contains(point));
    EXPECT_TRUE(server.run_until([this] { return mode() == MachineMode::active; }));
}

// One read in half a minute is what it costs, and nothing at all once the repair has come.
TEST_F(Waiting, LooksForAnotherServerOnceInHalfAMinuteAndNoOftenerThanOthersWhenRepaired) {
    protect();
    damage();
    ASSERT_FALSE(fenced_within(40));  // What was under way has come to rest.
    const auto reads_in = [this](std::int64_t seconds) {
        const std::size_t before = world.vault->requests(fakes::BlobOp::get);
        EXPECT_FALSE(fenced_within(seconds));
        return world.vault->requests(fakes::BlobOp::get) - before;
    };
    const std::size_t waiting = reads_in(280);
    EXPECT_GE(waiting, 9U);
    EXPECT_LE(waiting, 10U);
    ASSERT_EQ(server.hello(source.machine, source.disks, Seq{0}, true).disks[0].action,
              pipeline::DiskAction::catch_up);
    server.listener.strict = false;
    source.begin_sync(server, source.disks[0]);
    source.send_base(server, source.disks[0]);
    source.end_sync(server, source.disks[0]);
    ASSERT_TRUE(server.settle());
    ASSERT_FALSE(fenced_within(40));
    EXPECT_LE(reads_in(250), 1U);
}

// There is no room for what is to be published, in the memory for all chains.
TEST_F(Waiting, E1_AServerThatMayPublishNothingNowFindsOutThatItsMachineIsGone) {
    server.options.chain_bytes_max = 1;
    server.start();
    ASSERT_FALSE(server.hello(source.machine, source.disks).refused.has_value());
    source.begin_sync(server, source.disks[0]);
    source.send_base(server, source.disks[0]);
    source.end_sync(server, source.disks[0]);
    ASSERT_TRUE(server.settle());
    ASSERT_TRUE(
        server.run_until([this] { return server.conditions->standing(Errc::out_of_budget); }));
    source.write(server, source.disks[0]);
    ASSERT_FALSE(fenced_within(60));
    ASSERT_FALSE(server.cache.records.empty());
    leave();
    EXPECT_TRUE(fenced_within(35));
}

// The agent's HELLO made it let go of the chain, which it cannot open again: the vault is away.
TEST_F(Waiting, E1_AServerThatRefusedAnAgentForWantOfTheVaultFindsOutThatTheMachineIsGone) {
    protect();
    const vault::ChainState before = chain();
    leave();
    source.write(server, source.disks[0]);
    const vault::ChainState moved = chain();
    ASSERT_GT(moved.newest.number, before.newest.number);
    server.listener.newest_number = moved.newest.number;
    server.listener.newest_hash = moved.hash;
    world.vault->set_rates({.unavailable = 1.0});
    ASSERT_TRUE(server.hello(source.machine, source.disks).refused.has_value());
    world.vault->set_rates({});
    EXPECT_TRUE(fenced_within(35));
    EXPECT_FALSE(server.cache.records.empty());
}

// It may know of a commit that this vault has lost: nothing is built on such a chain.
TEST_F(Waiting, WhatARefusedAgentRemembersIsComparedAlsoWithoutIt) {
    protect();
    source.write(server, source.disks[0]);
    server.listener.newest_hash[0] ^= std::byte{0xff};
    world.vault->set_rates({.unavailable = 1.0});
    ASSERT_TRUE(server.hello(source.machine, source.disks).refused.has_value());
    world.vault->set_rates({});
    const vault::ChainState before = chain();
    EXPECT_FALSE(fenced_within(35));
    EXPECT_TRUE(server.conditions->standing(Errc::vault_rolled_back));
    EXPECT_EQ(chain().hash, before.hash);
    EXPECT_FALSE(server.cache.records.empty());
}

// A server refuses a machine of which nothing is here; its agent may find another one.
class Refused : public Waiting {
protected:
    void refuse(Errc code) {
        const auto answer = server.hello(source.machine, source.disks);
        ASSERT_TRUE(answer.refused.has_value());
        EXPECT_EQ(answer.refused->code, code);
        EXPECT_TRUE(server.conditions->standing(code));
    }
    // Whether the condition stands all the while.
    bool shown_for(std::int64_t seconds, Errc code) {
        const Nanos end = world.clock.boot() + seconds * ns_per_s;
        while (server.conditions->standing(code) && world.clock.boot() < end) {
            server.step(100 * ns_per_ms);
        }
        return server.conditions->standing(code);
    }
    void expect_nothing_shown() {
        EXPECT_TRUE(server.conditions->list().empty());
        EXPECT_TRUE(server.run_until(
            [this] { return !server.engine->status().machines.front().trouble.has_value(); }));
    }
};

TEST_F(Refused, G21ForAStoreThatIsAwayIsShownUntilItIsBackAlsoWithoutTheAgent) {
    server.start();
    world.vault->set_rates({.unavailable = 1.0});
    refuse(Errc::blob_unavailable);
    EXPECT_TRUE(shown_for(300, Errc::blob_unavailable));
    world.vault->set_rates({});
    const std::size_t objects = world.vault->names().size();
    EXPECT_FALSE(shown_for(60, Errc::blob_unavailable));
    expect_nothing_shown();
    EXPECT_EQ(world.vault->names().size(), objects);  // Looking makes no machine.
}

TEST_F(Refused, G21ForAContainerThatIsMissingIsShownUntilItIsThere) {
    server.start();
    world.vault->drop_container(blob::Container::manifest);
    refuse(Errc::vault_missing);
    EXPECT_TRUE(shown_for(300, Errc::vault_missing));
    world.vault->create_containers();
    EXPECT_FALSE(shown_for(60, Errc::vault_missing));
    expect_nothing_shown();
}

TEST_F(Refused, G21ForAManifestInTheArchiveIsShownUntilItIsBackAndLookingTakesNothingOver) {
    leave();  // It has been elsewhere.
    server.start();
    const vault::ChainState before = chain();
    const auto newest = vault::manifest_blob(source.machine, before.newest.number);
    ASSERT_TRUE(world.vault->set_archived(newest, true));
    refuse(Errc::blob_offline);
    EXPECT_TRUE(shown_for(300, Errc::blob_offline));
    ASSERT_TRUE(world.vault->set_archived(newest, false));
    EXPECT_FALSE(shown_for(60, Errc::blob_offline));
    expect_nothing_shown();
    EXPECT_EQ(chain().hash, before.hash);
}

TEST_F(Refused, G21IsOverWhenAPersonMovesTheMachineElsewhere) {
    server.start();
    world.vault->set_rates({.unavailable = 1.0});
    refuse(Errc::blob_unavailable);
    server.engine->post(CloseCommand{source.machine});
    EXPECT_FALSE(shown_for(60, Errc::blob_unavailable));
    EXPECT_TRUE(server.run_until([this] { return mode() == MachineMode::closed; }));
}

TEST_F(Refused, ItIsOpenedForAHelloThatComesWhileItIsLookedFor) {
    server.start();
    world.vault->set_rates({.unavailable = 1.0});
    refuse(Errc::blob_unavailable);
    world.vault->set_rates({});
    EXPECT_FALSE(server.hello(source.machine, source.disks).refused.has_value());
    EXPECT_TRUE(server.conditions->list().empty());
}

}  // namespace
}  // namespace cw::upload::test
