// The CLI's side of the control API, over the local Unix socket.
#pragma once

#include "base/error.h"

#include <string>

namespace cw::appliance {

struct ControlClient {
    std::string socket_path;

    // Errors: unreachable (no daemon), or the daemon's own error by its code.
    [[nodiscard]] Result<std::string> get(const std::string& name) const;
    [[nodiscard]] Result<std::string> post(const std::string& name, const std::string& json) const;
};

}  // namespace cw::appliance
