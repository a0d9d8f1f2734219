// From settings to a vault: the store, the key service and the vault's identity. Used by the daemon
// and, without any daemon, by the CLI's read path. A master target's is site_records.h's.
#pragma once

#include "base/clock.h"
#include "base/conditions.h"
#include "base/disk.h"
#include "base/metrics.h"
#include "base/random.h"
#include "config/settings.h"
#include "egress/blob/send_pace.h"
#include "egress/blob/store.h"
#include "egress/vault/keys.h"

#include <memory>

namespace cw::appliance {

// The seams of a real process, made once in main and passed on.
struct SystemSeams {
    std::unique_ptr<Clock> clock;
    std::unique_ptr<Random> random;
    std::unique_ptr<Disk> disk;  // For start-up and control; data-plane threads make their own.
    std::unique_ptr<MetricRegistry> metrics;
};
SystemSeams make_system_seams();

struct VaultAccess {
    std::unique_ptr<blob::StoreFactory> stores;  // Retrying.
    std::shared_ptr<blob::SendPace> pace;        // Theirs; set by the upload engine.
    std::unique_ptr<vault::KeyService> kek;
    vault::VaultIdentity identity;
};

// The store named by vault.url with vault.auth, with retries. Errors: config_invalid,
// vault_missing, io_error (credential files).
Result<std::unique_ptr<blob::StoreFactory>> open_stores(
    const config::Settings& settings, SystemSeams& seams, bool create,
    std::shared_ptr<const blob::SendPace> pace = nullptr, Conditions* conditions = nullptr);
// The same store under gc.auth, the only identity that may delete; gc.auth is not "none". Its empty
// credential settings are taken from [vault]. Errors: as open_stores.
Result<std::unique_ptr<blob::StoreFactory>> open_gc_stores(config::Settings settings,
                                                           SystemSeams& seams);
// Opens an existing vault; `conditions`, if given, tell when its store keeps failing. Errors:
// those, key_unavailable, object_corrupt.
Result<VaultAccess> open_vault_access(const config::Settings& settings, SystemSeams& seams,
                                      Conditions* conditions = nullptr);
// Makes the KEK file if absent, and the vault. Errors: vault_exists.
Result<VaultAccess> create_vault_access(const config::Settings& settings, SystemSeams& seams);

}  // namespace cw::appliance
