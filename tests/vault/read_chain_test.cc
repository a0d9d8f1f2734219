#include "egress/vault/manifest.h"
#include "egress/vault/names.h"
#include "tests/fakes/memory_vault.h"
#include "tests/vault/vault_rig.h"

#include <map>

#include <gtest/gtest.h>

namespace cw::vault {
namespace {

using blob::Container;
using fakes::BlobFault;
using fakes::BlobOp;
using fakes::VaultRig;

class ReadChain : public testing::Test {
protected:
    ReadChain() { rig_.disk(make_id<DiskId>(*random_)).size_bytes = 64 * mib; }
    void publish(int count) {
        for (int i = 0; i < count; ++i) {
            rig_.publish_point({}, WallMicros{i});
        }
    }
    void publish_checkpoint() { rig_.publish(make_checkpoint(rig_.state)); }
    Result<std::optional<ChainState>> read(const ChainWitness& witness = {}) {
        auto keys = open_machine_keys(*store_, *kek_, rig_.vault, machine_, nullptr);
        return read_chain(*store_, rig_.vault, *keys, {&witness, 1});
    }
    void expect_whole(const Result<std::optional<ChainState>>& chain) {
        ASSERT_TRUE(chain) << to_string(chain.error());
        ASSERT_TRUE(*chain);
        EXPECT_EQ((*chain)->newest.number, rig_.state.newest.number);
        EXPECT_EQ((*chain)->hash, rig_.state.hash);
        EXPECT_EQ((*chain)->points.size(), rig_.state.points.size());
    }
    blob::BlobName manifest(std::uint64_t n) { return manifest_blob(machine_, n); }

    ManualClock clock_;
    fakes::MemoryVault memory_{clock_, {}};
    std::unique_ptr<blob::StoreFactory> factory_ = memory_.factory();
    std::unique_ptr<blob::BlobStore> store_ = factory_->make();
    std::unique_ptr<Random> random_ = make_seeded_random(9);
    std::unique_ptr<KeyService> kek_ = fakes::make_test_kek("k", *random_);
    MachineId machine_ = make_id<MachineId>(*random_);
    VaultRig rig_{*store_, *kek_, *random_, machine_};
};

TEST_F(ReadChain, SaysThatThereIsNone) {
    const auto chain = read();
    ASSERT_TRUE(chain);
    EXPECT_FALSE(*chain);
}

TEST_F(ReadChain, ReadsFromGenesisAndFromCheckpoints) {
    publish(5);
    expect_whole(read());
    publish_checkpoint();
    publish(3);
    expect_whole(read());
    rig_.take_over();
    publish(2);
    expect_whole(read());
}

TEST_F(ReadChain, BringsTheDataKeys) {
    publish(2);
    publish_checkpoint();
    auto keys = open_machine_keys(*store_, *kek_, rig_.vault, machine_, nullptr);
    ASSERT_TRUE(read_chain(*store_, rig_.vault, *keys, {}));
    EXPECT_EQ(keys->newest().key.reveal(), rig_.keys.newest().key.reveal());
}

TEST_F(ReadChain, FindsTheEndBeyondAStaleHead) {
    publish(3);
    const ByteVector stale = *memory_.bytes(head_blob(machine_));
    publish(4);
    const auto put = blob::put_and_wait(
        *store_,
        {.name = head_blob(machine_), .body = {stale}, .condition = blob::PutCondition::none});
    ASSERT_EQ(put.outcome, blob::PutOutcome::stored);
    expect_whole(read());
}

TEST_F(ReadChain, NeedsNothingFromControl) {
    publish(3);
    memory_.drop_container(Container::control);
    expect_whole(read());
}

TEST_F(ReadChain, DoesNotBelieveADamagedHead) {
    publish(3);
    memory_.flip_bit(head_blob(machine_), 500);
    expect_whole(read());
}

TEST_F(ReadChain, DoesNotNeedTheListToBeCurrent) {
    fakes::MemoryVaultOptions lagging;
    lagging.list_lag_ns = 1000 * ns_per_s;
    fakes::MemoryVault memory(clock_, lagging);
    const auto factory = memory.factory();
    const auto store = factory->make();
    VaultRig rig(*store, *kek_, *random_, machine_);
    rig.disk(make_id<DiskId>(*random_)).size_bytes = mib;
    for (int i = 0; i < 4; ++i) {
        rig.publish_point({}, WallMicros{i});
    }
    auto keys = open_machine_keys(*store, *kek_, rig.vault, machine_, nullptr);
    const auto chain = read_chain(*store, rig.vault, *keys, {});
    ASSERT_TRUE(chain && *chain);
    EXPECT_EQ((*chain)->newest.number, 4U);
}

TEST_F(ReadChain, ReadsAChainWhoseBeginningWasCollected) {
    publish(5);
    publish_checkpoint();  // 6
    Manifest bounded = rig_.next();
    bounded.boundary = 6;
    rig_.publish(bounded);
    fakes::put_gc_boundary(*store_, machine_, {6, {}, {}}, rig_.signer);
    for (std::uint64_t n = 2; n < 6; ++n) {
        memory_.erase(manifest(n));
    }
    expect_whole(read());
    memory_.erase(head_blob(machine_));  // The boundary alone leads past the gap.
    expect_whole(read());
    memory_.drop_container(Container::control);  // So does the list.
    expect_whole(read());
}

TEST_F(ReadChain, SeesThatTheNewestManifestsAreGone) {  // F4
    publish(6);
    const ChainWitness witness{6, rig_.state.hash};
    memory_.erase(manifest(6));
    EXPECT_EQ(read().error().code, Errc::vault_rolled_back);  // The head names it.
    memory_.erase(head_blob(machine_));
    EXPECT_TRUE(read());                                             // Nobody left who could know …
    EXPECT_EQ(read(witness).error().code, Errc::vault_rolled_back);  // … except a witness.
    auto keys = open_machine_keys(*store_, *kek_, rig_.vault, machine_, nullptr);
    const auto stale = read_chain_accepting_stale(*store_, rig_.vault, *keys);
    ASSERT_TRUE(stale && *stale);
    EXPECT_EQ((*stale)->newest.number, 5U);
}

TEST_F(ReadChain, SeesAForkByItsWitness) {  // F4
    publish(3);
    VaultRig fork(*store_, *kek_, *random_, machine_);
    fork.state = rig_.state;
    fork.disks = rig_.disks;
    publish(1);
    const ChainWitness witness{4, rig_.state.hash};
    memory_.erase(manifest(4));
    fork.publish(fork.next());  // A takeover from the older state, validly signed.
    EXPECT_EQ(read().error().code, Errc::vault_rolled_back);  // The head has seen another one.
    memory_.erase(head_blob(machine_));
    EXPECT_TRUE(read());
    EXPECT_EQ(read(witness).error().code, Errc::vault_rolled_back);
}

// Whoever has copies of the account's objects puts the end back to what it was: of that state the
// manifests in the middle were collected long ago. What they miss is not what has happened.
TEST_F(ReadChain, F4_ARewoundChainIsToldAsSuchAndNotAsAMissingObject) {
    publish(5);
    std::map<std::uint64_t, ByteVector> old;
    for (std::uint64_t n = 1; n <= 5; ++n) {
        old[n] = *memory_.bytes(manifest(n));
    }
    const ByteVector old_head = *memory_.bytes(head_blob(machine_));
    publish_checkpoint();  // 6
    Manifest bounded = rig_.next();
    bounded.boundary = 6;
    rig_.publish(bounded);
    const ChainWitness witness{7, rig_.state.hash};
    memory_.erase(manifest(6));
    memory_.erase(manifest(7));
    memory_.erase(manifest(3));
    memory_.erase(head_blob(machine_));
    rig_.store_object(head_blob(machine_), old_head);
    const auto rewound = read(witness);
    ASSERT_FALSE(rewound);
    EXPECT_EQ(rewound.error().code, Errc::vault_rolled_back) << to_string(rewound.error());
    EXPECT_NE(rewound.error().detail.find("ends at manifest 5, but 7 was committed"),
              std::string::npos)
        << rewound.error().detail;
    // Nobody who has seen more: then an object is missing, and it is named.
    const auto unseen = read();
    ASSERT_FALSE(unseen);
    EXPECT_EQ(unseen.error().code, Errc::blob_not_found);
    EXPECT_NE(unseen.error().detail.find(to_string(manifest(3))), std::string::npos);
}

// Rotten is not rewound, whoever remembers what it was.
TEST_F(ReadChain, ADamagedManifestThatAWitnessRemembersIsCorrupt) {
    publish(4);
    const ChainWitness witness{4, rig_.state.hash};
    memory_.flip_bit(manifest(4), 3000);
    EXPECT_EQ(read(witness).error().code, Errc::object_corrupt);
    EXPECT_EQ(read().error().code, Errc::object_corrupt);
    memory_.flip_bit(manifest(4), 3000);
    memory_.swap(manifest(3), manifest(4));
    EXPECT_EQ(read(witness).error().code, Errc::object_corrupt);
}

TEST_F(ReadChain, NamesTheDamagedManifest) {
    publish(4);
    memory_.flip_bit(manifest(2), 3000);
    const auto chain = read();
    ASSERT_FALSE(chain);
    EXPECT_EQ(chain.error().code, Errc::object_corrupt);
    EXPECT_NE(chain.error().detail.find(to_string(manifest(2))), std::string::npos);
}

TEST_F(ReadChain, ReadsToTheLastManifestThatCanBeProven) {  // F3
    publish(3);
    publish_checkpoint();  // 4
    publish(4);
    const auto proven = [this]() -> std::uint64_t {
        auto keys = open_machine_keys(*store_, *kek_, rig_.vault, machine_, nullptr);
        const auto chain = read_chain_accepting_stale(*store_, rig_.vault, *keys);
        return chain && *chain ? (*chain)->newest.number : 0;
    };
    EXPECT_EQ(proven(), 8U);
    memory_.flip_bit(manifest(8), 3000);
    EXPECT_EQ(proven(), 7U);
    memory_.erase(manifest(6));
    EXPECT_EQ(proven(), 5U);
    memory_.erase(manifest(8));  // What the head names.
    EXPECT_EQ(proven(), 5U);
    memory_.flip_bit(manifest(4), 3000);  // The checkpoint: what is before it needs none.
    EXPECT_EQ(proven(), 3U);
    memory_.erase(manifest(1));
    EXPECT_EQ(proven(), 0U);
}

TEST_F(ReadChain, TakesNothingUnreadableForLost) {
    publish(4);
    memory_.flip_bit(manifest(4), 3000);
    auto keys = open_machine_keys(*store_, *kek_, rig_.vault, machine_, nullptr);
    memory_.script(BlobOp::get, BlobFault::unavailable, 50);
    const auto chain = read_chain_accepting_stale(*store_, rig_.vault, *keys);
    ASSERT_FALSE(chain);
    EXPECT_EQ(chain.error().code, Errc::blob_unavailable);
}

TEST_F(ReadChain, F3_SeesSwappedAndMissingManifests) {  // F3
    publish(5);
    ASSERT_TRUE(memory_.swap(manifest(3), manifest(4)));
    EXPECT_EQ(read().error().code, Errc::object_corrupt);
    memory_.swap(manifest(3), manifest(4));
    expect_whole(read());
    memory_.erase(manifest(3));
    EXPECT_EQ(read().error().code, Errc::blob_not_found);
}

TEST_F(ReadChain, SeesManifestsOfAnotherMachine) {  // F3
    publish(3);
    VaultRig other(*store_, *kek_, *random_, make_id<MachineId>(*random_));
    other.disk(make_id<DiskId>(*random_)).size_bytes = mib;
    for (int i = 0; i < 3; ++i) {
        other.publish_point({}, WallMicros{i});
    }
    ASSERT_TRUE(memory_.swap(manifest(2), manifest_blob(other.keys.machine, 2)));
    EXPECT_EQ(read().error().code, Errc::object_corrupt);
}

TEST_F(ReadChain, UnreadableIsNotCorrupt) {
    publish(3);
    memory_.script(BlobOp::get, BlobFault::unavailable, 50);
    const auto chain = read_chain(*store_, rig_.vault, rig_.keys, {});
    ASSERT_FALSE(chain);
    EXPECT_EQ(chain.error().code, Errc::blob_unavailable);
}

TEST_F(ReadChain, F4_EveryWitnessIsComparedAndNotTheNewestAlone) {
    publish(5);
    const ChainWitness newest{.number = rig_.state.newest.number, .hash = rig_.state.hash};
    const ChainWitness third{.number = 3, .hash = sha256(*memory_.bytes(manifest(3)))};
    const std::array honest{third, newest};
    EXPECT_TRUE(read_chain(*store_, rig_.vault, rig_.keys, honest));
    const std::array forked{ChainWitness{.number = 3, .hash = newest.hash}, newest};
    EXPECT_EQ(read_chain(*store_, rig_.vault, rig_.keys, forked).error().code,
              Errc::vault_rolled_back);
}

TEST_F(ReadChain, RemembersTheHashesFromBeforeItsCheckpoint) {
    publish(3);
    const Sha256 before = rig_.state.hash;
    publish_checkpoint();
    publish(2);
    const auto chain = read();
    ASSERT_TRUE(chain && *chain);
    EXPECT_EQ((*chain)->trail.at(2), std::nullopt);
    EXPECT_EQ((*chain)->trail.at(3), before);
    EXPECT_EQ((*chain)->trail.at(5), sha256(*memory_.bytes(manifest(5))));
    EXPECT_EQ((*chain)->trail.at(6), rig_.state.hash);
}

TEST_F(ReadChain, ListsTheMachinesThatHaveOne) {
    publish(1);
    VaultRig other(*store_, *kek_, *random_, make_id<MachineId>(*random_));  // Keys, no chain.
    const auto machines = list_machines(*store_);
    ASSERT_TRUE(machines);
    EXPECT_EQ(*machines, std::vector<MachineId>{machine_});
}

}  // namespace
}  // namespace cw::vault
