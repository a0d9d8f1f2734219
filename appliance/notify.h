// systemd's readiness and watchdog protocol; does nothing where there is no systemd.
#pragma once

#include <cstdint>
#include <string>

namespace cw::appliance {

void notify_ready(const std::string& status);
void notify_stopping();
void notify_watchdog();
// Pause between two notify_watchdog() calls in ns; 0 if no watchdog is asked for.
std::int64_t watchdog_interval_ns();

}  // namespace cw::appliance
