// The CLI's side of the control API, over the local Unix socket.
#pragma once

#include "base/error.h"

#include <cstdint>
#include <string>

namespace cw::appliance {

// How long the daemon may take. It answers a question from what it knows; an order it carries out.
// What can be told without its answer waits for it no longer than for a short one.
inline constexpr std::int64_t question_s_max = 10, order_s_max = 120, short_question_s_max = 2;

struct ControlClient {
    std::string socket_path;
    std::int64_t question_s = question_s_max;  // For get().

    // Errors: unreachable (there is none, or it does not answer in time), or the daemon's own error
    // by its code.
    [[nodiscard]] Result<std::string> get(const std::string& name) const;
    [[nodiscard]] Result<std::string> post(const std::string& name, const std::string& json) const;
};

}  // namespace cw::appliance
