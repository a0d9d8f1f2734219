// The objects of `keys` as bytes: FORMAT.md, "keys". Private to the vault room.
#pragma once

#include "egress/vault/keys.h"

#include <initializer_list>

namespace cw::vault {

inline constexpr std::uint32_t machine_key_version = 1;
inline constexpr std::size_t wrapped_key_bytes_max = 4096, keys_object_bytes_max = 8192;

struct VaultObject {
    VaultIdentity identity;
    ByteVector wrapped_signing_key;
};

// Signed by `key`, the private half of the identity's key.
ByteVector encode_vault_object(const VaultObject& object, const PrivateKey& key);
// Errors: object_corrupt, format_unsupported; as the next.
Result<VaultObject> decode_vault_object(Bytes bytes);
ByteVector encode_machine_object(const VaultIdentity& vault, const MachineId& machine,
                                 Bytes wrapped);
// The wrapped machine key.
Result<ByteVector> decode_machine_object(Bytes bytes, const VaultIdentity& vault,
                                         const MachineId& machine);

// What the wraps of the KEK are bound to. The vault's public key is in both: with another vault's
// identity nothing unwraps.
ByteVector signing_key_aad(const VaultIdentity& vault);
ByteVector machine_key_aad(const VaultIdentity& vault, const MachineId& machine);

ByteVector concat_bytes(std::initializer_list<Bytes> parts);
ByteVector number_bytes(std::uint32_t value);  // Little-endian.

}  // namespace cw::vault
