// SIGINT and SIGTERM as something that a command looks at between two steps.
#pragma once

namespace cw::appliance {

// From now on the two only set what stop_requested() tells.
void stop_on_signals();
[[nodiscard]] bool stop_requested() noexcept;

}  // namespace cw::appliance
