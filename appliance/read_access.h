// The read path's view of one machine, opened from the configuration alone: what every recovery
// command and the mount share. No daemon is needed.
//
// A machine's points are in a vault, or on the disks of a master target; its records are in that
// vault, or in the master target's (site_records.h). The catalog, the records' store, the source
// and the site together are all that a verb sees of it: none asks which it is.
#pragma once

#include "appliance/vault_access.h"
#include "recovery/catalog.h"
#include "recovery/point_source.h"

#include <memory>
#include <string>
#include <vector>

namespace cw::appliance {

// A disk of this site that has become a point, or becomes one, and takes no writes meanwhile.
struct SwitchedTarget {
    std::string disk, path, phase;
    PointId point;
};

// What there is where a machine's points are, beyond them.
class Site {
public:
    virtual ~Site() = default;
    // Those that have points here, or may have. Errors: those of listing.
    virtual Result<std::vector<MachineId>> machines() const = 0;
    // What there is of one of them now. Errors: those of opening it.
    virtual Result<recovery::Catalog> open(const MachineId& machine, bool accept_stale) const = 0;
    // Whether what was opened tells of all that the site has taken. If not, there may be more than
    // its points show: whoever decides by that must not go on.
    virtual bool knows_all_received() const { return true; }
    // Errors: record_corrupt, io_error.
    virtual Result<std::vector<SwitchedTarget>> switched_targets(
        const MachineId& /*machine*/) const {
        return std::vector<SwitchedTarget>{};
    }
    // What a failover has made of this site itself is given up: its disks take the machine's writes
    // again. Errors: target_switching, unreachable (the daemon).
    virtual Result<void> give_up_failover(const MachineId& /*machine*/) const { return {}; }
};

struct OpenedCatalog {
    VaultAccess access;
    std::unique_ptr<blob::BlobStore> store;
    std::unique_ptr<recovery::Catalog> catalog;
    std::size_t download_threads = 4;
    std::unique_ptr<const recovery::PointSource> source;
    std::unique_ptr<const Site> site;
};
// Errors: usage (not a machine's id), and those of open_vault_access and Catalog::open.
Result<OpenedCatalog> open_catalog(const config::Settings& settings, SystemSeams& seams,
                                   const std::string& machine_text, bool accept_stale);

// The site whose records, or whose vault, `access` opens. Everything outlives it. It is for one
// verb: where the daemon of a master target has not answered once it is not asked again.
std::unique_ptr<const Site> make_site(const config::Settings& settings, SystemSeams& seams,
                                      const VaultAccess& access, blob::BlobStore& store);

}  // namespace cw::appliance
