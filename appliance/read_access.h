// The read path's view of one machine, opened from the configuration alone: what every recovery
// command and the mount share. No daemon is needed.
#pragma once

#include "appliance/vault_access.h"
#include "recovery/catalog.h"

#include <memory>
#include <string>

namespace cw::appliance {

struct OpenedCatalog {
    VaultAccess access;
    std::unique_ptr<blob::BlobStore> store;
    std::unique_ptr<recovery::Catalog> catalog;
    std::size_t download_threads = 4;
};
// Errors: usage (not a machine's id), and those of open_vault_access and Catalog::open.
Result<OpenedCatalog> open_catalog(const config::Settings& settings, SystemSeams& seams,
                                   const std::string& machine_text, bool accept_stale);

}  // namespace cw::appliance
