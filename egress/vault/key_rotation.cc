// Changing the KEK and destroying keys. Nothing in `data` or `manifest` is touched.
#include "base/assert.h"
#include "base/crash_point.h"
#include "egress/vault/key_objects.h"
#include "egress/vault/names.h"

#include <algorithm>

namespace cw::vault {
namespace {

using blob::BlobStore;

std::unexpected<Error> about(const blob::BlobName& name, Error error) {
    error.detail = to_string(name) + (error.detail.empty() ? "" : ": ") + error.detail;
    return std::unexpected(std::move(error));
}

// Wraps what `from` opens with `to`. nullopt: `to` opens it already.
Result<std::optional<ByteVector>> rewrap(KeyService& from, KeyService& to, Bytes wrapped,
                                         Bytes aad) {
    auto plain = from.unwrap(wrapped, aad);
    if (!plain) {
        if (auto done = to.unwrap(wrapped, aad)) {
            wipe(*done);
            return std::nullopt;
        }
        return std::unexpected(std::move(plain).error());
    }
    auto fresh = to.wrap(*plain, aad);
    wipe(*plain);
    CW_TRY(fresh);
    return std::move(*fresh);
}

Result<std::optional<ByteVector>> rewrap_machine(KeyService& from, KeyService& to,
                                                 const VaultIdentity& vault,
                                                 const MachineId& machine, Bytes object) {
    CW_TRY_ASSIGN(const ByteVector wrapped, decode_machine_object(object, vault, machine));
    CW_TRY_ASSIGN(const auto fresh, rewrap(from, to, wrapped, machine_key_aad(vault, machine)));
    if (!fresh) {
        return std::nullopt;
    }
    return encode_machine_object(vault, machine, *fresh);
}

Result<std::optional<ByteVector>> rewrap_vault(KeyService& from, KeyService& to, Bytes object) {
    CW_TRY_ASSIGN(VaultObject vault, decode_vault_object(object));
    const ByteVector aad = signing_key_aad(vault.identity);
    auto plain = from.unwrap(vault.wrapped_signing_key, aad);
    CW_TRY_ASSIGN(auto fresh, rewrap(from, to, vault.wrapped_signing_key, aad));
    if (!fresh) {
        return std::nullopt;
    }
    CW_ASSERT(plain.has_value());
    PrivateKey key{};
    if (plain->size() != key.size()) {
        return fail(Errc::object_corrupt, "an unwrapped key has the wrong length");
    }
    std::copy(plain->begin(), plain->end(), key.begin());
    wipe(*plain);
    vault.wrapped_signing_key = std::move(*fresh);
    ByteVector out = encode_vault_object(vault, key);
    wipe(key);
    return out;
}

// Rewrites one object under the condition that nobody else has. False: nothing to do.
Result<bool> rotate_object(BlobStore& store, KeyService& from, KeyService& to,
                           const VaultIdentity& vault, const blob::BlobName& name) {
    const bool is_vault = name == vault_keys_blob();
    std::optional<MachineId> machine;
    if (!is_vault) {
        const auto id = parse_id<MachineId>(name.name);
        if (!id) {
            return false;  // Not one of ours.
        }
        machine = *id;
    }
    CW_TRY_ASSIGN(const blob::GetResult got, blob::get_and_wait(store, {.name = name}));
    CW_TRY_ASSIGN(const auto fresh, is_vault
                                        ? rewrap_vault(from, to, got.bytes)
                                        : rewrap_machine(from, to, vault, *machine, got.bytes));
    if (!fresh) {
        return false;
    }
    blob::PutResult put = blob::put_and_wait(store, {.name = name,
                                                     .body = {*fresh},
                                                     .condition = blob::PutCondition::if_match,
                                                     .etag = got.properties.etag});
    if (put.outcome != blob::PutOutcome::stored) {
        CW_ASSERT(put.error.has_value());
        return std::unexpected(std::move(*put.error));
    }
    CW_CRASH_POINT("keys.object_rewrapped");
    return true;
}

}  // namespace

Result<std::size_t> rotate_kek(BlobStore& store, KeyService& from, KeyService& to) {
    CW_TRY_ASSIGN(const VaultIdentity vault, open_vault(store));
    CW_TRY_ASSIGN(const auto entries, blob::list_all(store, blob::Container::keys, ""));
    std::size_t rotated = 0;
    for (const auto& entry : entries) {
        const blob::BlobName name{blob::Container::keys, entry.name};
        auto done = rotate_object(store, from, to, vault, name);
        if (!done) {
            return about(name, std::move(done).error());
        }
        rotated += *done ? 1 : 0;
    }
    return rotated;
}

Result<void> shred_machine_keys(BlobStore& store, const MachineId& machine) {
    return blob::remove_and_wait(store, machine_keys_blob(machine));
}

}  // namespace cw::vault
