// Which KEK wraps what in `keys`: what a change of the KEK and whoever destroys the old one must
// know. Every object is looked at, also that of a machine which has no manifest yet: a machine's
// first key may have been asked for by a server that is gone, and may land long after it.
#pragma once

#include "egress/vault/keys.h"

#include <optional>
#include <vector>

namespace cw::vault {

struct KeyObjectCheck {
    std::optional<MachineId> machine;  // Empty: the vault's own signing key.
    std::optional<Error> locked;       // Why `kek` does not open it.
};
// In the order of their names. An object that cannot be read now is an error, not a locked one.
// Errors: those of open_vault and of the store.
Result<std::vector<KeyObjectCheck>> check_key_objects(blob::BlobStore& store, KeyService& kek);

}  // namespace cw::vault
