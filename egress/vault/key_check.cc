#include "egress/vault/key_check.h"

#include "egress/vault/key_objects.h"
#include "egress/vault/names.h"

namespace cw::vault {
namespace {

Result<void> open_object(const VaultIdentity& vault, KeyService& kek, Bytes object,
                         const std::optional<MachineId>& machine) {
    ByteVector wrapped, aad;
    if (machine) {
        CW_TRY_ASSIGN(wrapped, decode_machine_object(object, vault, *machine));
        aad = machine_key_aad(vault, *machine);
    } else {
        CW_TRY_ASSIGN(VaultObject whole, decode_vault_object(object));
        wrapped = std::move(whole.wrapped_signing_key);
        aad = signing_key_aad(vault);
    }
    CW_TRY_ASSIGN(ByteVector plain, kek.unwrap(wrapped, aad));
    wipe(plain);
    return {};
}

}  // namespace

Result<std::vector<KeyObjectCheck>> check_key_objects(blob::BlobStore& store, KeyService& kek) {
    CW_TRY_ASSIGN(const VaultIdentity vault, open_vault(store));
    CW_TRY_ASSIGN(const auto entries, blob::list_all(store, blob::Container::keys, ""));
    std::vector<KeyObjectCheck> out;
    for (const auto& entry : entries) {
        const blob::BlobName name{blob::Container::keys, entry.name};
        KeyObjectCheck check;
        if (name != vault_keys_blob()) {
            const auto id = parse_id<MachineId>(entry.name);
            if (!id) {
                continue;  // Not one of ours.
            }
            check.machine = *id;
        }
        CW_TRY_ASSIGN(const blob::GetResult got, blob::get_and_wait(store, {.name = name}));
        if (auto opened = open_object(vault, kek, got.bytes, check.machine); !opened) {
            check.locked = std::move(opened).error();
        }
        out.push_back(std::move(check));
    }
    return out;
}

}  // namespace cw::vault
