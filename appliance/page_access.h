// Page blobs of the vault's account, with the vault's credential; managed disks, with their own.
#pragma once

#include "appliance/vault_access.h"
#include "egress/blob/page_blob.h"

namespace cw::appliance {

// Errors: usage (the vault is a directory), and as open_stores.
Result<std::unique_ptr<blob::PageBlobStore>> open_page_blobs(const config::Settings& settings,
                                                             SystemSeams& seams);

// The managed disk whose write SAS stands in the first line of the file `path`, which only its
// owner may read. Errors: config_invalid (the file, what is in it), io_error.
struct ManagedDisk {
    std::unique_ptr<blob::PageBlobStore> store;
    blob::PageBlobName blob;
};
Result<ManagedDisk> open_managed_disk(const config::Settings& settings, SystemSeams& seams,
                                      const std::string& path);

}  // namespace cw::appliance
