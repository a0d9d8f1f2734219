#include "appliance/read_access.h"

#include "appliance/master_target/target_catalog.h"
#include "appliance/master_target/target_source.h"
#include "appliance/server_state.h"
#include "appliance/site_records.h"
#include "recovery/vault_points.h"

namespace cw::appliance {
namespace {

class VaultSite final : public Site {
public:
    VaultSite(blob::BlobStore& store, vault::KeyService& kek, Disk& disk,
              const std::string& state_directory)
        : store_(store), kek_(kek), disk_(disk), witness_path_(state_directory + "/witness") {}
    Result<std::vector<MachineId>> machines() const override {
        return vault::list_machines(store_);
    }
    Result<recovery::Catalog> open(const MachineId& machine, bool accept_stale) const override {
        // What this server remembers of the chain; on another machine there is nothing, and that is
        // fine.
        WitnessFile witness(witness_path_);
        CW_TRY(witness.load(disk_));
        recovery::CatalogOptions options;
        options.witness = witness.of(machine);
        options.accept_stale = accept_stale;
        return recovery::Catalog::open(store_, kek_, machine, options);
    }

private:
    blob::BlobStore& store_;
    vault::KeyService& kek_;
    Disk& disk_;
    const std::string witness_path_;
};

}  // namespace

std::unique_ptr<const Site> make_site(const config::Settings& settings, SystemSeams& seams,
                                      const VaultAccess& access, blob::BlobStore& store) {
    if (is_master_target(settings)) {
        return make_target_site(settings, seams, access.identity);
    }
    return std::make_unique<VaultSite>(store, *access.kek, *seams.disk, settings.server_state_dir);
}

Result<OpenedCatalog> open_catalog(const config::Settings& settings, SystemSeams& seams,
                                   const std::string& machine_text, bool accept_stale) {
    CW_TRY_ASSIGN(const MachineId machine, parse_id<MachineId>(machine_text));
    OpenedCatalog opened;
    CW_TRY_ASSIGN(opened.access, open_vault_access(settings, seams));
    opened.store = opened.access.stores->make();
    opened.site = make_site(settings, seams, opened.access, *opened.store);
    CW_TRY_ASSIGN(auto catalog, opened.site->open(machine, accept_stale));
    opened.catalog = std::make_unique<recovery::Catalog>(std::move(catalog));
    if (is_master_target(settings)) {
        CW_TRY_ASSIGN(opened.source, open_target_source(settings, seams, *opened.catalog));
        return opened;
    }
    opened.download_threads = static_cast<std::size_t>(settings.egress_download_threads_per_vm);
    opened.source = std::make_unique<recovery::VaultPoints>(*opened.store, *opened.catalog);
    return opened;
}

}  // namespace cw::appliance
