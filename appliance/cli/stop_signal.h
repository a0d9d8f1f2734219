// SIGINT, SIGTERM and SIGHUP as something that a command looks at between two steps.
#pragma once

namespace cw::appliance {

// From now on the first of them only sets what stop_requested() tells; a second one of the same
// kind ends the program at once. A SIGHUP that is ignored (nohup) stays ignored.
void stop_on_signals();
[[nodiscard]] bool stop_requested() noexcept;

}  // namespace cw::appliance
