// The read path's view of one machine, opened from the configuration alone: what every recovery
// command and the mount share. No daemon is needed.
//
// A machine's points are in a vault, or on the disks of a master target; its records are in that
// vault, or in the master target's (site_records.h). The catalog, the records' store and the source
// together are all that a verb sees of it: none asks which it is.
#pragma once

#include "appliance/vault_access.h"
#include "recovery/catalog.h"
#include "recovery/image_reader.h"

#include <memory>
#include <string>

namespace cw::appliance {

// Where the bytes of a catalog's points are.
class PointSource {
public:
    virtual ~PointSource() = default;
    // A disk of `point`. The image lives no longer than the source. Errors: those of
    // ImageReader::open(), of volume::PointView::open().
    virtual Result<std::unique_ptr<recovery::Image>> open(
        const vault::PointEntry& point, const recovery::DiskAtPoint& disk,
        const recovery::ReaderOptions& options) const = 0;
    // What a failover has made of this site itself is given up: its disks take the machine's writes
    // again. Errors: target_switching, unreachable (the daemon).
    virtual Result<void> give_up_failover() const { return {}; }
};

struct OpenedCatalog {
    VaultAccess access;
    std::unique_ptr<blob::BlobStore> store;
    std::unique_ptr<recovery::Catalog> catalog;
    std::size_t download_threads = 4;
    std::unique_ptr<const PointSource> source;
};
// Errors: usage (not a machine's id), and those of open_vault_access and Catalog::open.
Result<OpenedCatalog> open_catalog(const config::Settings& settings, SystemSeams& seams,
                                   const std::string& machine_text, bool accept_stale);

// The segments of the vault. Both outlive the source.
std::unique_ptr<const PointSource> make_vault_source(blob::BlobStore& store,
                                                     const recovery::Catalog& catalog);

}  // namespace cw::appliance
