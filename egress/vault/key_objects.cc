#include "egress/vault/key_objects.h"

#include "base/assert.h"

namespace cw::vault {
namespace {

constexpr std::uint32_t vault_magic = 0x564b5743, machine_magic = 0x4d4b5743;  // "CWKV", "CWKM"
constexpr std::uint16_t keys_version = 1;

void append_head(ByteAppender& out, std::uint32_t magic) {
    out.u32(magic);
    out.u16(keys_version);
    out.u16(0);
}

Result<void> read_head(ByteReader& in, std::uint32_t magic) {
    CW_TRY_ASSIGN(const std::uint32_t seen, in.u32());
    CW_TRY_ASSIGN(const std::uint16_t version, in.u16());
    CW_TRY_ASSIGN(const std::uint16_t zero, in.u16());
    if (seen != magic || zero != 0) {
        return fail(Errc::object_corrupt, "not a key object");
    }
    if (version != keys_version) {
        return fail(Errc::format_unsupported, "key object version " + std::to_string(version));
    }
    return {};
}

void append_wrapped(ByteAppender& out, Bytes wrapped) {
    CW_ASSERT(wrapped.size() <= wrapped_key_bytes_max);
    out.u16(static_cast<std::uint16_t>(wrapped.size()));
    out.bytes(wrapped);
}

Result<ByteVector> read_wrapped(ByteReader& in) {
    CW_TRY_ASSIGN(const std::uint16_t size, in.u16());
    if (size > wrapped_key_bytes_max) {
        return fail(Errc::object_corrupt, "a wrapped key of " + std::to_string(size) + " bytes");
    }
    CW_TRY_ASSIGN(const Bytes bytes, in.take(size));
    return ByteVector(bytes.begin(), bytes.end());
}

}  // namespace

ByteVector concat_bytes(std::initializer_list<Bytes> parts) {
    ByteVector out;
    for (const Bytes part : parts) {
        out.insert(out.end(), part.begin(), part.end());
    }
    return out;
}

ByteVector number_bytes(std::uint32_t value) {
    ByteVector out;
    ByteAppender(out).u32(value);
    return out;
}

ByteVector signing_key_aad(const VaultIdentity& vault) {
    return concat_bytes({as_bytes("causeway vault key"), vault.id.bytes, vault.signing_key});
}
ByteVector machine_key_aad(const VaultIdentity& vault, const MachineId& machine) {
    return concat_bytes({as_bytes("causeway machine key"), vault.id.bytes, vault.signing_key,
                         machine.bytes, number_bytes(machine_key_version)});
}
ByteVector encode_vault_object(const VaultObject& object, const PrivateKey& key) {
    ByteVector bytes;
    ByteAppender out(bytes);
    append_head(out, vault_magic);
    out.bytes(object.identity.id.bytes);
    out.bytes(object.identity.signing_key);
    append_wrapped(out, object.wrapped_signing_key);
    const Signature signature = sign_ed25519(key, bytes);
    out.bytes(signature);
    return bytes;
}

Result<VaultObject> decode_vault_object(Bytes bytes) {
    ByteReader in(bytes, Errc::object_corrupt);
    CW_TRY(read_head(in, vault_magic));
    VaultObject object;
    CW_TRY_ASSIGN(object.identity.id.bytes, in.array<16>());
    CW_TRY_ASSIGN(object.identity.signing_key, in.array<sizeof(PublicKey)>());
    CW_TRY_ASSIGN(object.wrapped_signing_key, read_wrapped(in));
    const Bytes covered = bytes.first(in.position());
    CW_TRY_ASSIGN(const Signature signature, in.array<sizeof(Signature)>());
    if (!in.at_end() || !verify_ed25519(object.identity.signing_key, covered, signature)) {
        return fail(Errc::object_corrupt, "the vault's identity does not match its signature");
    }
    return object;
}

ByteVector encode_machine_object(const VaultIdentity& vault, const MachineId& machine,
                                 Bytes wrapped) {
    ByteVector bytes;
    ByteAppender out(bytes);
    append_head(out, machine_magic);
    out.bytes(vault.id.bytes);
    out.bytes(machine.bytes);
    out.u32(machine_key_version);
    append_wrapped(out, wrapped);
    const Sha256 check = sha256(bytes);
    out.bytes(check);
    return bytes;
}

Result<ByteVector> decode_machine_object(Bytes bytes, const VaultIdentity& vault,
                                         const MachineId& machine) {
    ByteReader in(bytes, Errc::object_corrupt);
    CW_TRY(read_head(in, machine_magic));
    CW_TRY_ASSIGN(const auto vault_id, in.array<16>());
    CW_TRY_ASSIGN(const auto machine_id, in.array<16>());
    CW_TRY_ASSIGN(const std::uint32_t version, in.u32());
    CW_TRY_ASSIGN(ByteVector wrapped, read_wrapped(in));
    const Bytes covered = bytes.first(in.position());
    CW_TRY_ASSIGN(const Sha256 check, in.array<sizeof(Sha256)>());
    if (!in.at_end() || check != sha256(covered) || vault_id != vault.id.bytes ||
        machine_id != machine.bytes) {
        return fail(Errc::object_corrupt, "the machine's key object is damaged or another's");
    }
    if (version != machine_key_version) {
        return fail(Errc::format_unsupported, "machine key version " + std::to_string(version));
    }
    return wrapped;
}

}  // namespace cw::vault
