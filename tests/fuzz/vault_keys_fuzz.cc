// Key objects, with the outer signature or digest made right so that what is inside is reached.
#include "base/assert.h"
#include "egress/vault/key_objects.h"
#include "egress/vault/names.h"
#include "tests/fakes/memory_vault.h"

#include <algorithm>

namespace {

using cw::Bytes;
using cw::ByteVector;

// Gives back what it is given: the objects' own framing is what is tested.
class PlainKek final : public cw::vault::KeyService {
public:
    cw::Result<ByteVector> wrap(Bytes plain, Bytes) override {
        return ByteVector(plain.begin(), plain.end());
    }
    cw::Result<ByteVector> unwrap(Bytes wrapped, Bytes) override {
        return ByteVector(wrapped.begin(), wrapped.end());
    }
};

void put(cw::blob::BlobStore& store, const cw::blob::BlobName& name, const ByteVector& bytes) {
    const auto put = cw::blob::put_and_wait(
        store, {.name = name, .body = {bytes}, .condition = cw::blob::PutCondition::none});
    CW_ASSERT(put.outcome == cw::blob::PutOutcome::stored);
}

// What is written of any wrapped key is read again, and of nobody else's vault or machine.
void check_objects(Bytes wrapped, const cw::SigningKeyPair& pair) {
    using namespace cw::vault;
    VaultObject object;
    object.identity.id.bytes.fill(std::byte{1});
    object.identity.signing_key = pair.open;
    object.wrapped_signing_key.assign(wrapped.begin(), wrapped.end());
    const ByteVector bytes = encode_vault_object(object, pair.secret);
    const auto opened = decode_vault_object(bytes);
    CW_ASSERT(opened && opened->identity.id == object.identity.id);
    CW_ASSERT(opened->wrapped_signing_key == object.wrapped_signing_key);

    const cw::MachineId machine{object.identity.id.bytes};
    const ByteVector keys = encode_machine_object(object.identity, machine, wrapped);
    const auto again = decode_machine_object(keys, object.identity, machine);
    CW_ASSERT(again && *again == object.wrapped_signing_key);
    CW_ASSERT(!decode_machine_object(keys, object.identity, cw::MachineId{}));
    CW_ASSERT(!decode_vault_object(keys) &&
              !decode_machine_object(bytes, object.identity, machine));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    cw::ManualClock clock;
    cw::fakes::MemoryVault memory(clock, {});
    memory.create_containers();
    const auto factory = memory.factory();
    const auto store = factory->make();
    const auto random = cw::make_seeded_random(1);
    PlainKek kek;
    const cw::SigningKeyPair pair = cw::make_signing_key(*random);
    const Bytes input(reinterpret_cast<const std::byte*>(data), size);
    check_objects(input.first(std::min(size, cw::vault::wrapped_key_bytes_max)), pair);

    ByteVector vault(input.begin(), input.end());
    if (vault.size() >= 56) {
        std::copy(pair.open.begin(), pair.open.end(), vault.begin() + 24);
    }
    const cw::Signature signature = cw::sign_ed25519(pair.secret, vault);
    vault.insert(vault.end(), signature.begin(), signature.end());
    put(*store, cw::vault::vault_keys_blob(), vault);
    if (const auto opened = cw::vault::open_vault(*store)) {
        CW_ASSERT(opened->signing_key == pair.open);
        static_cast<void>(cw::vault::make_server_signer(*store, kek, *random, {}));
    }

    ByteVector machine(input.begin(), input.end());
    const cw::Sha256 digest = cw::sha256(machine);
    machine.insert(machine.end(), digest.begin(), digest.end());
    put(*store, cw::vault::machine_keys_blob({}), machine);
    static_cast<void>(cw::vault::open_machine_keys(*store, kek, {}, {}, nullptr));

    cw::vault::MachineKeys keys;
    static_cast<void>(cw::vault::unwrap_dek(keys, {}, {1, ByteVector(input.begin(), input.end())}));
    return 0;
}
