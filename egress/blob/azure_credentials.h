// From the options of an Azure vault to what signs its requests.
#pragma once

#include "egress/blob/authorizer.h"
#include "egress/blob/azure_store.h"

namespace cw::blob {

// `account`: whose key `shared_key` is. Errors: config_invalid (a credential that is missing or
// malformed).
Result<std::unique_ptr<Authorizer>> make_authorizer(const AzureOptions& options,
                                                    const std::string& account);

}  // namespace cw::blob
