#include "egress/vault/keys.h"

#include "egress/vault/key_check.h"
#include "egress/vault/names.h"
#include "tests/fakes/memory_vault.h"
#include "tests/vault/vault_rig.h"

#include <algorithm>

#include <gtest/gtest.h>

namespace cw::vault {
namespace {

using fakes::BlobFault;
using fakes::BlobOp;

class Keys : public testing::Test {
protected:
    ManualClock clock_;
    fakes::MemoryVault memory_{clock_, {}};
    std::unique_ptr<blob::StoreFactory> factory_ = memory_.factory();
    std::unique_ptr<blob::BlobStore> store_ = factory_->make();
    std::unique_ptr<Random> random_ = make_seeded_random(1);
    std::unique_ptr<KeyService> kek_ = fakes::make_test_kek("right", *random_);
    MachineId machine_ = make_id<MachineId>(*random_);
};

TEST_F(Keys, OpensWhatItCreated) {
    const auto created = create_vault(*store_, *kek_, *random_);
    ASSERT_TRUE(created) << to_string(created.error());
    const auto opened = open_vault(*store_);
    ASSERT_TRUE(opened);
    EXPECT_EQ(opened->id, created->id);
    EXPECT_EQ(opened->signing_key, created->signing_key);
    const auto first = open_machine_keys(*store_, *kek_, *opened, machine_, random_.get());
    const auto second = open_machine_keys(*store_, *kek_, *opened, machine_, nullptr);
    ASSERT_TRUE(first && second);
    EXPECT_EQ(first->machine_key.reveal(), second->machine_key.reveal());
    EXPECT_EQ(first->fingerprint_secret, second->fingerprint_secret);
}

TEST_F(Keys, NeverCreatesAVaultOverAnother) {
    ASSERT_TRUE(create_vault(*store_, *kek_, *random_));
    EXPECT_EQ(create_vault(*store_, *kek_, *random_).error().code, Errc::vault_exists);
}

TEST_F(Keys, RecognisesItsOwnCreateWhoseReplyWasLost) {
    memory_.create_containers();
    memory_.script(BlobOp::put, BlobFault::lost_reply);
    EXPECT_TRUE(create_vault(*store_, *kek_, *random_));
    const auto vault = open_vault(*store_);
    ASSERT_TRUE(vault);
    memory_.script(BlobOp::put, BlobFault::lost_reply);
    EXPECT_TRUE(open_machine_keys(*store_, *kek_, *vault, machine_, random_.get()));
}

TEST_F(Keys, SaysSoWhenThereIsNoVault) {
    memory_.create_containers();
    EXPECT_EQ(open_vault(*store_).error().code, Errc::vault_missing);
}

TEST_F(Keys, F8_WrongKekIsUnavailableNotCorrupt) {
    ASSERT_TRUE(create_vault(*store_, *kek_, *random_));
    const auto vault = open_vault(*store_);
    ASSERT_TRUE(open_machine_keys(*store_, *kek_, *vault, machine_, random_.get()));
    const auto wrong = fakes::make_test_kek("wrong", *random_);
    EXPECT_EQ(open_machine_keys(*store_, *wrong, *vault, machine_, nullptr).error().code,
              Errc::key_unavailable);
    EXPECT_EQ(make_server_signer(*store_, *wrong, *random_, {}).error().code,
              Errc::key_unavailable);
}

TEST_F(Keys, EveryFlippedBitOfAKeyObjectIsSeen) {
    ASSERT_TRUE(create_vault(*store_, *kek_, *random_));
    const auto vault = open_vault(*store_);
    ASSERT_TRUE(open_machine_keys(*store_, *kek_, *vault, machine_, random_.get()));
    const auto refused = [](const Error& error) {
        return error.code == Errc::object_corrupt || error.code == Errc::format_unsupported;
    };
    const auto vault_bytes = memory_.bytes(vault_keys_blob())->size();
    for (std::uint64_t byte = 0; byte < vault_bytes; ++byte) {
        ASSERT_TRUE(memory_.flip_bit(vault_keys_blob(), byte * 8 + byte % 8));
        const auto opened = open_vault(*store_);
        ASSERT_FALSE(opened) << "byte " << byte;
        EXPECT_TRUE(refused(opened.error())) << "byte " << byte;
        memory_.flip_bit(vault_keys_blob(), byte * 8 + byte % 8);
    }
    const blob::BlobName name = machine_keys_blob(machine_);
    for (std::uint64_t byte = 0; byte < memory_.bytes(name)->size(); ++byte) {
        ASSERT_TRUE(memory_.flip_bit(name, byte * 8 + byte % 8));
        const auto opened = open_machine_keys(*store_, *kek_, *vault, machine_, nullptr);
        ASSERT_FALSE(opened) << "byte " << byte;
        EXPECT_TRUE(refused(opened.error())) << "byte " << byte;
        memory_.flip_bit(name, byte * 8 + byte % 8);
    }
    EXPECT_TRUE(open_machine_keys(*store_, *kek_, *vault, machine_, nullptr));
}

TEST_F(Keys, KeysOfOneMachineDoNotOpenUnderAnothersName) {
    ASSERT_TRUE(create_vault(*store_, *kek_, *random_));
    const auto vault = open_vault(*store_);
    const auto other = make_id<MachineId>(*random_);
    ASSERT_TRUE(open_machine_keys(*store_, *kek_, *vault, machine_, random_.get()));
    ASSERT_TRUE(open_machine_keys(*store_, *kek_, *vault, other, random_.get()));
    ASSERT_TRUE(memory_.swap(machine_keys_blob(machine_), machine_keys_blob(other)));
    EXPECT_EQ(open_machine_keys(*store_, *kek_, *vault, machine_, nullptr).error().code,
              Errc::object_corrupt);
}

TEST_F(Keys, AnotherVaultsIdentityUnwrapsNothing) {
    ASSERT_TRUE(create_vault(*store_, *kek_, *random_));
    auto vault = open_vault(*store_);
    ASSERT_TRUE(open_machine_keys(*store_, *kek_, *vault, machine_, random_.get()));
    vault->signing_key = make_signing_key(*random_).open;  // Same id, the thief's key.
    EXPECT_FALSE(open_machine_keys(*store_, *kek_, *vault, machine_, nullptr));
}

TEST_F(Keys, ServersThatTheVaultDidNotCertifyAreRefused) {
    ASSERT_TRUE(create_vault(*store_, *kek_, *random_));
    const auto vault = open_vault(*store_);
    const auto signer = make_server_signer(*store_, *kek_, *random_, make_id<ServerId>(*random_));
    ASSERT_TRUE(signer);
    EXPECT_TRUE(check_certificate(signer->certificate, *vault));
    ServerCertificate forged = signer->certificate;
    forged.key = make_signing_key(*random_).open;
    EXPECT_EQ(check_certificate(forged, *vault).error().code, Errc::object_corrupt);
    forged = signer->certificate;
    forged.server = make_id<ServerId>(*random_);
    EXPECT_EQ(check_certificate(forged, *vault).error().code, Errc::object_corrupt);
}

TEST_F(Keys, DataKeysTravelWrappedAndBound) {
    ASSERT_TRUE(create_vault(*store_, *kek_, *random_));
    const auto vault = open_vault(*store_);
    auto writer = open_machine_keys(*store_, *kek_, *vault, machine_, random_.get());
    auto reader = open_machine_keys(*store_, *kek_, *vault, machine_, nullptr);
    const WrappedDek first = make_dek(*writer, *vault, *random_);
    const WrappedDek second = make_dek(*writer, *vault, *random_);
    EXPECT_EQ(second.version, 2U);
    ASSERT_TRUE(unwrap_dek(*reader, *vault, first));
    ASSERT_TRUE(unwrap_dek(*reader, *vault, second));
    EXPECT_EQ(reader->newest().key.reveal(), writer->newest().key.reveal());
    WrappedDek moved = first;
    moved.version = 2;
    EXPECT_EQ(unwrap_dek(*reader, *vault, moved).error().code, Errc::object_corrupt);
    for (std::size_t i = 0; i < first.wrapped.size(); ++i) {
        WrappedDek bad = first;
        bad.wrapped[i] ^= std::byte{1};
        EXPECT_EQ(unwrap_dek(*reader, *vault, bad).error().code, Errc::object_corrupt);
    }
}

TEST_F(Keys, RotationChangesTheKekAndNothingElse) {
    ASSERT_TRUE(create_vault(*store_, *kek_, *random_));
    const auto vault = open_vault(*store_);
    const auto second = make_id<MachineId>(*random_);
    const auto before = open_machine_keys(*store_, *kek_, *vault, machine_, random_.get());
    ASSERT_TRUE(open_machine_keys(*store_, *kek_, *vault, second, random_.get()));
    const auto fresh = fakes::make_test_kek("fresh", *random_);
    memory_.script(BlobOp::put, BlobFault::none);
    memory_.script(BlobOp::put, BlobFault::unavailable);  // Interrupted after the first object.
    EXPECT_FALSE(rotate_kek(*store_, *kek_, *fresh));
    EXPECT_EQ(rotate_kek(*store_, *kek_, *fresh).value(), 2U);  // It goes on where it was.
    EXPECT_EQ(rotate_kek(*store_, *kek_, *fresh).value(), 0U);
    EXPECT_EQ(open_machine_keys(*store_, *kek_, *vault, machine_, nullptr).error().code,
              Errc::key_unavailable);
    const auto after = open_machine_keys(*store_, *fresh, *vault, machine_, nullptr);
    ASSERT_TRUE(after);
    EXPECT_EQ(after->machine_key.reveal(), before->machine_key.reveal());
    EXPECT_EQ(open_vault(*store_)->signing_key, vault->signing_key);
    EXPECT_TRUE(make_server_signer(*store_, *fresh, *random_, {}));
    EXPECT_EQ(rotate_kek(*store_, *kek_, *kek_).error().code, Errc::key_unavailable);
}

// A server asked for a machine's first key and was stopped before it had an answer.
TEST_F(Keys, F7WhatLandsBehindARotationIsSeenAndWrappedByTheSecondLook) {
    ASSERT_TRUE(create_vault(*store_, *kek_, *random_));
    const auto vault = open_vault(*store_);
    memory_.script(BlobOp::put, BlobFault::late);
    ASSERT_FALSE(open_machine_keys(*store_, *kek_, *vault, machine_, random_.get()));
    const auto fresh = fakes::make_test_kek("fresh", *random_);
    EXPECT_EQ(rotate_kek(*store_, *kek_, *fresh).value(), 1U);  // The vault's own.
    memory_.land_late();

    const auto seen = check_key_objects(*store_, *fresh);
    ASSERT_TRUE(seen && seen->size() == 2);
    const auto of_machine = std::ranges::find(*seen, machine_, &KeyObjectCheck::machine);
    ASSERT_NE(of_machine, seen->end());
    ASSERT_TRUE(of_machine->locked);
    EXPECT_EQ(of_machine->locked->code, Errc::key_unavailable);

    EXPECT_EQ(rotate_kek(*store_, *kek_, *fresh).value(), 1U);
    const auto mended = check_key_objects(*store_, *fresh);
    ASSERT_TRUE(mended);
    EXPECT_TRUE(std::ranges::none_of(*mended, [](const auto& check) { return !!check.locked; }));
    EXPECT_TRUE(open_machine_keys(*store_, *fresh, *vault, machine_, nullptr));
    const auto by_the_old = check_key_objects(*store_, *kek_);
    ASSERT_TRUE(by_the_old);
    EXPECT_TRUE(std::ranges::all_of(*by_the_old, [](const auto& check) { return !!check.locked; }));
}

TEST_F(Keys, AKeyObjectThatSomebodyLeasedIsNamedByTheRotation) {
    ASSERT_TRUE(create_vault(*store_, *kek_, *random_));
    const auto vault = open_vault(*store_);
    ASSERT_TRUE(open_machine_keys(*store_, *kek_, *vault, machine_, random_.get()));
    ASSERT_TRUE(memory_.lease(machine_keys_blob(machine_), Nanos{INT64_MAX}));
    const auto fresh = fakes::make_test_kek("fresh", *random_);
    const auto refused = rotate_kek(*store_, *kek_, *fresh);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Errc::blob_leased);
    EXPECT_TRUE(refused.error().detail.contains(to_string(machine_))) << refused.error().detail;
    memory_.end_leases();
    EXPECT_TRUE(rotate_kek(*store_, *kek_, *fresh));
    EXPECT_TRUE(open_machine_keys(*store_, *fresh, *vault, machine_, nullptr));
}

TEST_F(Keys, ShreddingEndsAMachine) {
    ASSERT_TRUE(create_vault(*store_, *kek_, *random_));
    const auto vault = open_vault(*store_);
    ASSERT_TRUE(open_machine_keys(*store_, *kek_, *vault, machine_, random_.get()));
    ASSERT_TRUE(shred_machine_keys(*store_, machine_));
    EXPECT_TRUE(shred_machine_keys(*store_, machine_));
    EXPECT_EQ(open_machine_keys(*store_, *kek_, *vault, machine_, nullptr).error().code,
              Errc::blob_not_found);
}

}  // namespace
}  // namespace cw::vault
