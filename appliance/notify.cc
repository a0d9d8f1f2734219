#include "appliance/notify.h"

#include "base/clock.h"

#include <systemd/sd-daemon.h>

namespace cw::appliance {

void notify_ready(const std::string& status) {
    sd_notify(0, ("READY=1\nSTATUS=" + status).c_str());
}
void notify_stopping() {
    sd_notify(0, "STOPPING=1");
}
void notify_watchdog() {
    sd_notify(0, "WATCHDOG=1");
}

std::int64_t watchdog_interval_ns() {
    std::uint64_t usec = 0;
    if (sd_watchdog_enabled(0, &usec) <= 0) {
        return 0;
    }
    return static_cast<std::int64_t>(usec) * ns_per_us / 3;  // Two may be late before the third.
}

}  // namespace cw::appliance
