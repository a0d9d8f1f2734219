#include "appliance/read_access.h"

#include "appliance/master_target/target_catalog.h"
#include "appliance/server_state.h"
#include "appliance/site_records.h"

namespace cw::appliance {
namespace {

class VaultSource final : public PointSource {
public:
    VaultSource(blob::BlobStore& store, const recovery::Catalog& catalog)
        : store_(store), catalog_(catalog) {}

    Result<std::unique_ptr<recovery::Image>> open(
        const vault::PointEntry& /*point*/, const recovery::DiskAtPoint& disk,
        const recovery::ReaderOptions& options) const override {
        return recovery::ImageReader::open(store_, catalog_, disk, options);
    }

private:
    blob::BlobStore& store_;
    const recovery::Catalog& catalog_;
};

}  // namespace

std::unique_ptr<const PointSource> make_vault_source(blob::BlobStore& store,
                                                     const recovery::Catalog& catalog) {
    return std::make_unique<VaultSource>(store, catalog);
}

Result<OpenedCatalog> open_catalog(const config::Settings& settings, SystemSeams& seams,
                                   const std::string& machine_text, bool accept_stale) {
    CW_TRY_ASSIGN(const MachineId machine, parse_id<MachineId>(machine_text));
    OpenedCatalog opened;
    CW_TRY_ASSIGN(opened.access, open_vault_access(settings, seams));
    opened.store = opened.access.stores->make();
    if (is_master_target(settings)) {
        CW_TRY(open_targets(settings, seams, machine, opened));
        return opened;
    }
    opened.download_threads = static_cast<std::size_t>(settings.egress_download_threads_per_vm);
    // What this server remembers of the chain; on another machine there is nothing, and that is
    // fine.
    WitnessFile witness(settings.server_state_dir + "/witness");
    CW_TRY(witness.load(*seams.disk));
    recovery::CatalogOptions options;
    options.witness = witness.of(machine);
    options.accept_stale = accept_stale;
    CW_TRY_ASSIGN(auto catalog,
                  recovery::Catalog::open(*opened.store, *opened.access.kek, machine, options));
    opened.catalog = std::make_unique<recovery::Catalog>(std::move(catalog));
    opened.source = make_vault_source(*opened.store, *opened.catalog);
    return opened;
}

}  // namespace cw::appliance
