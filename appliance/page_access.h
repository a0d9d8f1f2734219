// Page blobs of the vault's account, with the vault's credential.
#pragma once

#include "appliance/vault_access.h"
#include "egress/blob/page_blob.h"

namespace cw::appliance {

// Errors: usage (the vault is a directory), and as open_stores.
Result<std::unique_ptr<blob::PageBlobStore>> open_page_blobs(const config::Settings& settings,
                                                             SystemSeams& seams);

}  // namespace cw::appliance
