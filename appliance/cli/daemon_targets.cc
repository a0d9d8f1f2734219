#include "appliance/cli/daemon_targets.h"

#include "appliance/control_client.h"

#include <nlohmann/json.hpp>

namespace cw::appliance {

using nlohmann::json;

Result<json> targets_in(const std::string& text, const std::string& machine) {
    CW_TRY_ASSIGN(const auto id, parse_id<MachineId>(machine));
    const json status = json::parse(text, nullptr, false);
    if (!status.is_object() || !status.contains("targets")) {
        return fail(Errc::not_found, "the daemon of this configuration is no master target");
    }
    json out = json::array();
    for (const json& target : status["targets"]) {
        if (target.value("machine", "") == to_string(id)) {
            out.push_back(target);
        }
    }
    if (out.empty()) {
        return fail(Errc::not_found, "no target for machine " + to_string(id));
    }
    return out;
}

Result<json> targets_of(Cli& cli, const std::string& machine) {
    CW_TRY_ASSIGN(const std::string socket, cli.socket_path());
    CW_TRY_ASSIGN(const std::string text, ControlClient{socket}.get("status"));
    return targets_in(text, machine);
}

}  // namespace cw::appliance
