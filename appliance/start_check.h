// What a daemon refuses of its configuration when it starts, as far as the settings alone say it:
// asked by the daemon, and by `causeway config check` before.
#pragma once

#include "base/error.h"
#include "config/settings.h"

namespace cw::appliance {

// Pure. Errors: config_invalid.
Result<void> check_start(const config::Settings& settings);
// Its part of the vault: one is named, and the credential that vault.auth needs. Pure; so does
// whoever opens the vault without a daemon. Errors: config_invalid.
Result<void> check_vault_settings(const config::Settings& settings);

}  // namespace cw::appliance
