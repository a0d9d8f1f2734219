// The key hierarchy: KEK → machine key → DEKs → one key per segment (HKDF with a random salt).
//
// The KEK wraps the machine keys and the vault's signing key (objects in `keys`); the machine key
// wraps that machine's DEKs, which travel in manifests, and seals manifest bodies. Secrets are
// Secret<>; nothing here prints them. The wrap is AES-256-GCM with a random nonce and an AAD naming
// vault, machine and key version.
#pragma once

#include "base/checksum.h"
#include "base/disk.h"
#include "base/ids.h"
#include "base/random.h"
#include "base/secret.h"
#include "egress/blob/store.h"

#include <map>
#include <memory>
#include <string>

namespace cw::vault {

// Who wraps and unwraps: a file (0400) by default; PKCS#11 or a key service behind the same
// interface. Thread-safe.
class KeyService {
public:
    virtual ~KeyService() = default;
    // Errors: key_unavailable.
    virtual Result<ByteVector> wrap(Bytes plain, Bytes aad) = 0;
    virtual Result<ByteVector> unwrap(Bytes wrapped, Bytes aad) = 0;
};

// A KEK in a file: 64 hex digits, mode 0400/0600, refused when others may read it.
Result<std::unique_ptr<KeyService>> open_kek_file(Disk& disk, const std::string& path,
                                                  Random& random);
// Makes a new KEK file (0400). Errors: file_exists.
Result<void> create_kek_file(Disk& disk, const std::string& path, Random& random);

// Of the whole vault; object keys/vault. The clear part is enough to check signatures.
struct VaultIdentity {
    VaultId id;
    PublicKey signing_key;  // Certifies the servers' keys.
};

// A server's signing key and the vault's certificate for it; embedded in every manifest.
struct ServerCertificate {
    ServerId server;
    PublicKey key;
    Signature by_vault{};  // Over "causeway server" ‖ vault ‖ server ‖ key
};

struct Dek {
    std::uint32_t version = 0;  // From 1.
    Secret<Key256> key;
};

// A machine's opened keys. Shared by publisher (writes) and readers; immutable after opening except
// that rotation adds DEKs under its owner's thread.
struct MachineKeys {
    MachineId machine;
    Secret<Key256> machine_key;
    FingerprintSecret fingerprint_secret{};  // Derived: HKDF(machine key, "fingerprint") expanded.
    std::map<std::uint32_t, Dek> deks;       // By version.
    [[nodiscard]] const Dek& newest() const;
};

// Creates the vault: containers, keys/vault. Errors: vault_exists, and those of the store.
Result<VaultIdentity> create_vault(blob::BlobStore& store, KeyService& kek, Random& random);
// Errors: vault_missing, object_corrupt.
Result<VaultIdentity> open_vault(blob::BlobStore& store);
// A new signing key for this server, certified with the vault's key (which the KEK unwraps).
struct ServerSigner {
    ServerCertificate certificate;
    Secret<PrivateKey> key;
};
Result<ServerSigner> make_server_signer(blob::BlobStore& store, KeyService& kek, Random& random,
                                        const ServerId& server);
// Errors: object_corrupt (the vault has not certified this server).
Result<void> check_certificate(const ServerCertificate& certificate, const VaultIdentity& vault);
// Opens the machine's key object; with `create`, makes it if absent (a machine's first contact),
// but never for one that has a manifest or a head note. DEKs are added from manifests by
// unwrap_dek(). Errors: blob_not_found (the machine has none), key_unavailable (the KEK does not
// open it, or it is gone although the machine has been here), object_corrupt, format_unsupported,
// those of the store.
Result<MachineKeys> open_machine_keys(blob::BlobStore& store, KeyService& kek,
                                      const VaultIdentity& vault, const MachineId& machine,
                                      Random* create);

// As carried in manifests.
struct WrappedDek {
    std::uint32_t version = 0;
    ByteVector wrapped;  // nonce 12 ‖ ciphertext 32 ‖ tag 16
};
WrappedDek make_dek(MachineKeys& keys, const VaultIdentity& vault, Random& random);  // Adds it.
Result<void> unwrap_dek(MachineKeys& keys, const VaultIdentity& vault, const WrappedDek& wrapped);

// Wraps every key object anew, from the KEK `from` to `to`; returns how many. Nothing is uploaded
// again. Interrupted or repeated it goes on where it was: objects that `to` opens are left alone.
// Errors: key_unavailable (neither KEK opens an object), blob_conflict (another rotation is at
// work).
Result<std::size_t> rotate_kek(blob::BlobStore& store, KeyService& from, KeyService& to);
// Crypto-shredding: without this object nothing of the machine can ever be opened again. Copies in
// recovery kits, soft-deleted versions and backups are beyond its reach: the caller reports them.
Result<void> shred_machine_keys(blob::BlobStore& store, const MachineId& machine);

}  // namespace cw::vault
