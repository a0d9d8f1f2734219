#include "egress/vault/keys.h"

#include "base/assert.h"
#include "egress/vault/key_objects.h"
#include "egress/vault/lost_keys.h"
#include "egress/vault/names.h"

#include <algorithm>
#include <string_view>

namespace cw::vault {
namespace {

using blob::BlobStore;

ByteVector dek_aad(const VaultIdentity& vault, const MachineId& machine, std::uint32_t version) {
    return concat_bytes(
        {as_bytes("causeway dek"), vault.id.bytes, machine.bytes, number_bytes(version)});
}
Key256 dek_wrapping_key(const MachineKeys& keys) {
    return hkdf_sha256(keys.machine_key.reveal(), {}, as_bytes("causeway dek wrap"));
}

ByteVector server_certificate_message(const VaultIdentity& vault, const ServerId& server,
                                      const PublicKey& key) {
    return concat_bytes({as_bytes("causeway server"), vault.id.bytes, server.bytes, key});
}

Result<Key256> unwrap_key(KeyService& kek, Bytes wrapped, Bytes aad) {
    CW_TRY_ASSIGN(ByteVector plain, kek.unwrap(wrapped, aad));
    Key256 key{};
    const bool valid = plain.size() == key.size();
    if (valid) {
        std::copy(plain.begin(), plain.end(), key.begin());
    }
    wipe(plain);
    if (!valid) {
        return fail(Errc::object_corrupt, "an unwrapped key has the wrong length");
    }
    return key;
}

FingerprintSecret derive_fingerprint_secret(const Key256& machine_key) {
    FingerprintSecret secret{};
    for (std::size_t i = 0; i < secret.size() / sizeof(Key256); ++i) {
        const std::byte part{static_cast<unsigned char>(i)};
        const Key256 block =
            hkdf_sha256(machine_key, {}, concat_bytes({as_bytes("fingerprint"), Bytes(&part, 1)}));
        std::copy(block.begin(), block.end(),
                  secret.begin() + static_cast<std::ptrdiff_t>(i * block.size()));
    }
    return secret;
}

MachineKeys keys_from(const MachineId& machine, Key256 key) {
    MachineKeys keys;
    keys.machine = machine;
    keys.fingerprint_secret = derive_fingerprint_secret(key);
    keys.machine_key = Secret<Key256>(key);
    wipe(key);
    return keys;
}

// Adds the object's name to the evidence.
std::unexpected<Error> about(const blob::BlobName& name, Error error) {
    error.detail = to_string(name) + (error.detail.empty() ? "" : ": ") + error.detail;
    return std::unexpected(std::move(error));
}

Result<ByteVector> get_object(BlobStore& store, const blob::BlobName& name) {
    auto got = blob::get_and_wait(store, {.name = name, .length = keys_object_bytes_max + 1});
    if (!got) {
        return about(name, std::move(got).error());
    }
    if (got->bytes.size() > keys_object_bytes_max) {
        return fail(Errc::object_corrupt, to_string(name) + " is too large");
    }
    return std::move(got->bytes);
}

Result<VaultObject> load_vault(BlobStore& store) {
    auto bytes = get_object(store, vault_keys_blob());
    if (!bytes) {
        if (bytes.error().code == Errc::blob_not_found) {
            return fail(Errc::vault_missing, "there is no " + to_string(vault_keys_blob()));
        }
        return std::unexpected(std::move(bytes).error());
    }
    auto object = decode_vault_object(*bytes);
    if (!object) {
        return about(vault_keys_blob(), std::move(object).error());
    }
    return object;
}

Result<Key256> unwrap_signing_key(KeyService& kek, const VaultObject& object) {
    CW_TRY_ASSIGN(Key256 key,
                  unwrap_key(kek, object.wrapped_signing_key, signing_key_aad(object.identity)));
    if (public_key_of(key) != object.identity.signing_key) {
        wipe(key);
        return fail(Errc::object_corrupt, "the vault's signing key does not match its public key");
    }
    return key;
}

// A create whose outcome is settled: true if the object now is ours, false if another's was first.
Result<bool> create_object(BlobStore& store, const blob::BlobName& name, Bytes bytes) {
    blob::PutResult put = blob::put_and_wait(store, {.name = name, .body = {bytes}});
    if (put.outcome == blob::PutOutcome::stored) {
        return true;
    }
    CW_ASSERT(put.error.has_value());
    if (put.outcome == blob::PutOutcome::refused && put.error->code != Errc::blob_conflict) {
        return about(name, std::move(*put.error));
    }
    // A conflict may be with our own request whose reply was lost.
    auto present = get_object(store, name);
    if (!present) {
        return std::unexpected(present.error().code == Errc::blob_not_found
                                   ? std::move(*put.error)
                                   : std::move(present).error());
    }
    return std::ranges::equal(*present, bytes);
}

}  // namespace

const Dek& MachineKeys::newest() const {
    CW_ASSERT(!deks.empty());
    return deks.rbegin()->second;
}

Result<VaultIdentity> create_vault(BlobStore& store, KeyService& kek, Random& random) {
    CW_TRY(blob::create_containers_and_wait(store));
    SigningKeyPair pair = make_signing_key(random);
    VaultObject object;
    object.identity = {make_id<VaultId>(random), pair.open};
    CW_TRY_ASSIGN(object.wrapped_signing_key,
                  kek.wrap(pair.secret, signing_key_aad(object.identity)));
    const ByteVector bytes = encode_vault_object(object, pair.secret);
    wipe(pair.secret);
    CW_TRY_ASSIGN(const bool ours, create_object(store, vault_keys_blob(), bytes));
    if (!ours) {
        return fail(Errc::vault_exists);
    }
    return object.identity;
}

Result<VaultIdentity> open_vault(BlobStore& store) {
    CW_TRY_ASSIGN(const VaultObject object, load_vault(store));
    return object.identity;
}

Result<ServerSigner> make_server_signer(BlobStore& store, KeyService& kek, Random& random,
                                        const ServerId& server) {
    CW_TRY_ASSIGN(const VaultObject object, load_vault(store));
    CW_TRY_ASSIGN(Key256 vault_key, unwrap_signing_key(kek, object));
    SigningKeyPair pair = make_signing_key(random);
    ServerSigner signer;
    signer.certificate.server = server;
    signer.certificate.key = pair.open;
    signer.certificate.by_vault =
        sign_ed25519(vault_key, server_certificate_message(object.identity, server, pair.open));
    signer.key = Secret<PrivateKey>(pair.secret);
    wipe(pair.secret);
    wipe(vault_key);
    return signer;
}

Result<void> check_certificate(const ServerCertificate& certificate, const VaultIdentity& vault) {
    const ByteVector message =
        server_certificate_message(vault, certificate.server, certificate.key);
    if (!verify_ed25519(vault.signing_key, message, certificate.by_vault)) {
        return fail(Errc::object_corrupt, "signed by a server that this vault has not certified");
    }
    return {};
}

Result<MachineKeys> open_machine_keys(BlobStore& store, KeyService& kek, const VaultIdentity& vault,
                                      const MachineId& machine, Random* create) {
    const blob::BlobName name = machine_keys_blob(machine);
    const ByteVector aad = machine_key_aad(vault, machine);
    auto bytes = get_object(store, name);
    const bool absent = !bytes && bytes.error().code == Errc::blob_not_found;
    if (absent) {
        CW_TRY(check_never_had_keys(store, machine, create != nullptr));
    }
    if (absent && create != nullptr) {
        Secret<Key256> key;
        {
            Key256 fresh;
            create->fill(fresh);
            key = Secret<Key256>(fresh);
            wipe(fresh);
        }
        CW_TRY_ASSIGN(const ByteVector wrapped, kek.wrap(key.reveal(), aad));
        CW_TRY_ASSIGN(const bool ours,
                      create_object(store, name, encode_machine_object(vault, machine, wrapped)));
        if (ours) {
            return keys_from(machine, key.reveal());
        }
    }
    if (absent) {
        bytes = get_object(store, name);  // Another server was first: its key is the machine's.
    }
    if (!bytes) {
        return std::unexpected(std::move(bytes).error());
    }
    auto wrapped = decode_machine_object(*bytes, vault, machine);
    if (!wrapped) {
        return about(name, std::move(wrapped).error());
    }
    auto key = unwrap_key(kek, *wrapped, aad);
    if (!key) {
        return about(name, std::move(key).error());
    }
    return keys_from(machine, *key);
}

WrappedDek make_dek(MachineKeys& keys, const VaultIdentity& vault, Random& random) {
    Key256 fresh;
    random.fill(fresh);
    GcmNonce nonce;
    random.fill(nonce);
    WrappedDek out;
    out.version = keys.deks.empty() ? 1 : keys.deks.rbegin()->first + 1;
    out.wrapped.resize(nonce.size() + fresh.size() + sizeof(GcmTag));
    ByteWriter writer(out.wrapped);
    writer.bytes(nonce);
    const MutableBytes cipher = MutableBytes(out.wrapped).subspan(nonce.size(), fresh.size());
    const GcmTag tag = AesGcm(dek_wrapping_key(keys))
                           .seal(nonce, dek_aad(vault, keys.machine, out.version), fresh, cipher);
    std::copy(tag.begin(), tag.end(), out.wrapped.end() - static_cast<std::ptrdiff_t>(tag.size()));
    keys.deks.emplace(out.version, Dek{out.version, Secret<Key256>(fresh)});
    wipe(fresh);
    return out;
}

Result<void> unwrap_dek(MachineKeys& keys, const VaultIdentity& vault, const WrappedDek& wrapped) {
    ByteReader in(wrapped.wrapped, Errc::object_corrupt);
    CW_TRY_ASSIGN(const GcmNonce nonce, in.array<sizeof(GcmNonce)>());
    CW_TRY_ASSIGN(const Bytes cipher, in.take(sizeof(Key256)));
    CW_TRY_ASSIGN(const GcmTag tag, in.array<sizeof(GcmTag)>());
    if (!in.at_end() || wrapped.version == 0) {
        return fail(Errc::object_corrupt, "a wrapped data key has the wrong form");
    }
    Key256 key{};
    CW_TRY(AesGcm(dek_wrapping_key(keys))
               .open(nonce, dek_aad(vault, keys.machine, wrapped.version), cipher, tag, key));
    keys.deks.insert_or_assign(wrapped.version, Dek{wrapped.version, Secret<Key256>(key)});
    wipe(key);
    return {};
}

}  // namespace cw::vault
