#include "appliance/site_records.h"

#include "base/full_disk.h"
#include "egress/vault/manifest.h"

#include <algorithm>

namespace cw::appliance {

bool is_master_target(const config::Settings& settings) noexcept {
    return settings.server_role == "master-target";
}

config::Settings with_site_records(config::Settings settings) {
    if (is_master_target(settings)) {
        settings.vault_url = "dir://" + settings.server_state_dir + "/records";
        settings.security_kek_file = settings.server_state_dir + "/records.kek";
    }
    return settings;
}

Error of_site_records(Error error, const config::Settings& settings) {
    if (!is_master_target(settings)) {
        return error;
    }
    if (error.code == Errc::vault_full) {
        error.code = Errc::disk_full;
        return name_full_disk(std::move(error), settings.server_state_dir, "a master target");
    }
    if (error.code == Errc::key_unavailable) {
        error.next = "put " + with_site_records(settings).security_kek_file +
                     " back from a backup of the state directory";
    }
    return error;
}

namespace {

Result<void> make_records(const config::Settings& settings, SystemSeams& seams) {
    CW_TRY_ASSIGN(const auto stores, open_stores(settings, seams, true));
    const auto there = vault::open_vault(*stores->make());
    if (!there && there.error().code == Errc::vault_missing) {
        CW_TRY(create_vault_access(settings, seams));
        return {};
    }
    return there ? Result<void>{} : std::unexpected(there.error());
}

}  // namespace

Result<void> make_site_records(const config::Settings& settings, SystemSeams& seams) {
    auto made = make_records(settings, seams);
    return made ? made : std::unexpected(of_site_records(made.error(), settings));
}

Result<std::vector<MachineId>> machines_with_targets(const config::Settings& settings) {
    std::vector<MachineId> out;
    for (const config::TargetEntry& target : settings.targets) {
        CW_TRY_ASSIGN(const auto machine, parse_id<MachineId>(target.machine));
        if (std::ranges::find(out, machine) == out.end()) {
            out.push_back(machine);
        }
    }
    return out;
}

}  // namespace cw::appliance
