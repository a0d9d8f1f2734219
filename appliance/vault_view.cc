#include "appliance/vault_view.h"

#include "appliance/operator/record_json.h"
#include "appliance/read_access.h"

#include <nlohmann/json.hpp>

namespace cw::appliance {

Result<std::string> VaultView::machine(const std::string& id) {
    const std::unique_lock lock(mutex_, std::try_to_lock);
    if (!lock.owns_lock()) {
        return fail(Errc::server_busy, "another look into the vault has not ended");
    }
    // A history whose end is lost is shown as far as it goes: its points say the rest.
    CW_TRY_ASSIGN(const OpenedCatalog opened, open_catalog(settings_, seams_, id, true));
    const recovery::Catalog& catalog = *opened.catalog;
    MachineRecords records(*opened.store, opened.access.identity);
    CW_TRY_ASSIGN(const MachineRecord record, records.load(catalog.machine()));
    nlohmann::json out = record_json(catalog.machine(), record, seams_.clock->wall());
    out["name"] = catalog.state().newest.machine_name;
    out["points"] = nlohmann::json::array();
    for (const vault::PointEntry* point : catalog.points()) {
        out["points"].push_back(point_json(catalog, *point));
    }
    return out.dump(2, ' ', true, nlohmann::json::error_handler_t::replace);
}

}  // namespace cw::appliance
