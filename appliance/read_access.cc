#include "appliance/read_access.h"

#include "appliance/server_state.h"

namespace cw::appliance {

Result<OpenedCatalog> open_catalog(const config::Settings& settings, SystemSeams& seams,
                                   const std::string& machine_text, bool accept_stale) {
    CW_TRY_ASSIGN(const MachineId machine, parse_id<MachineId>(machine_text));
    OpenedCatalog opened;
    CW_TRY_ASSIGN(opened.access, open_vault_access(settings, seams));
    opened.store = opened.access.stores->make();
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
    return opened;
}

}  // namespace cw::appliance
