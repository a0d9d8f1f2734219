#include "appliance/start_check.h"

#include "appliance/master_target/target_settings.h"
#include "appliance/site_records.h"

namespace cw::appliance {

Result<void> check_start(const config::Settings& settings) {
    if (is_master_target(settings)) {
        CW_TRY(target_options(settings));
    } else {
        CW_TRY(check_vault_settings(settings));
    }
    if (!settings.security_enrol_ca.empty() && settings.control_listen.empty()) {
        return fail(Errc::config_invalid,
                    "security.enrol_ca needs control.listen: machines are "
                    "enrolled over that port");
    }
    return {};
}

}  // namespace cw::appliance
