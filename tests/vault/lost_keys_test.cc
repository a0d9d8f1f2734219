// The keys of a machine are gone from the vault, and something else of it is there.
#include "egress/vault/names.h"
#include "tests/fakes/meanwhile_store.h"
#include "tests/fakes/memory_vault.h"
#include "tests/vault/vault_rig.h"

#include <optional>
#include <utility>

#include <gtest/gtest.h>

namespace cw::vault {
namespace {

using fakes::BlobFault;
using fakes::BlobOp;

class LostKeys : public testing::Test {
protected:
    ManualClock clock_;
    fakes::MemoryVault memory_{clock_, {}};
    std::unique_ptr<blob::StoreFactory> factory_ = memory_.factory();
    std::unique_ptr<blob::BlobStore> store_ = factory_->make();
    std::unique_ptr<Random> random_ = make_seeded_random(1);
    std::unique_ptr<KeyService> kek_ = fakes::make_test_kek("right", *random_);
    MachineId machine_ = make_id<MachineId>(*random_);
};

// Its manifests could never be opened again, and its own keys could not come back either.
TEST_F(LostKeys, AMachineThatHasManifestsIsNeverGivenNewKeys) {
    fakes::VaultRig rig(*store_, *kek_, *random_, machine_);
    rig.disk(make_id<DiskId>(*random_)).size_bytes = 64 * mib;
    rig.publish_point({}, WallMicros{1});
    rig.publish_point({}, WallMicros{2});
    const blob::BlobName name = machine_keys_blob(machine_);
    const ByteVector own = *memory_.bytes(name);
    ASSERT_TRUE(memory_.erase(name));
    // Whatever is left of the machine is enough: each trace is taken away after it was found.
    for (const blob::BlobName& trace :
         {manifest_blob(machine_, 1), head_blob(machine_), manifest_blob(machine_, 2)}) {
        for (Random* const create : {random_.get(), static_cast<Random*>(nullptr)}) {
            const auto opened = open_machine_keys(*store_, *kek_, rig.vault, machine_, create);
            ASSERT_FALSE(opened) << "new keys beside " << to_string(trace);
            EXPECT_EQ(opened.error().code, Errc::key_unavailable);
            EXPECT_NE(opened.error().detail.find(to_string(trace)), std::string::npos)
                << opened.error().detail;
            EXPECT_FALSE(memory_.bytes(name)) << "beside " << to_string(trace);
        }
        ASSERT_TRUE(memory_.erase(trace));
    }
    // The way that the error names.
    rig.store_object(name, own);
    EXPECT_TRUE(open_machine_keys(*store_, *kek_, rig.vault, machine_, random_.get()));
}

// While this server asks what is there, another one begins the machine: keys, then a manifest.
TEST_F(LostKeys, AMachineThatAnotherServerBeginsMeanwhileHasTheOthersKeys) {
    ASSERT_TRUE(create_vault(*store_, *kek_, *random_));
    const auto vault = open_vault(*store_);
    const auto other = factory_->make();
    std::optional<MachineKeys> theirs;
    fakes::MeanwhileStore slow(*store_, [&](const blob::BlobName&) {
        if (theirs) {
            return;
        }
        fakes::VaultRig rig(*other, *kek_, *random_, machine_);
        rig.disk(make_id<DiskId>(*random_)).size_bytes = mib;
        rig.publish_point({}, WallMicros{1});
        theirs = std::move(rig.keys);
    });
    const auto opened = open_machine_keys(slow, *kek_, *vault, machine_, random_.get());
    ASSERT_TRUE(opened) << to_string(opened.error());
    ASSERT_TRUE(theirs);
    EXPECT_EQ(opened->machine_key.reveal(), theirs->machine_key.reveal());
}

TEST_F(LostKeys, AMachineOfWhichNothingCanBeAskedIsNotGivenKeys) {
    ASSERT_TRUE(create_vault(*store_, *kek_, *random_));
    const auto vault = open_vault(*store_);
    for (const BlobOp op : {BlobOp::head, BlobOp::list}) {
        memory_.script(op, BlobFault::unavailable);
        const auto opened = open_machine_keys(*store_, *kek_, *vault, machine_, random_.get());
        ASSERT_FALSE(opened);
        EXPECT_EQ(opened.error().code, Errc::blob_unavailable);
        EXPECT_FALSE(memory_.bytes(machine_keys_blob(machine_)));
    }
    EXPECT_TRUE(open_machine_keys(*store_, *kek_, *vault, machine_, random_.get()));
}

}  // namespace
}  // namespace cw::vault
