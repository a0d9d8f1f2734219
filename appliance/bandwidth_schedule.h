// BandwidthSchedule: the windows of egress.schedule are of local time, and local time moves against
// UTC twice a year. Knows what the engine was told, and says when it must be told anew.
//
// Thread-safety: all functions: a reload comes from another thread than the ticks.
#pragma once

#include "appliance/engine_options.h"

#include <mutex>
#include <optional>

namespace cw::appliance {

class BandwidthSchedule {
public:
    BandwidthSchedule(const config::Settings& settings, Clock& clock);
    // Other settings are in force: what to tell the engine.
    upload::BandwidthOptions set(const config::Settings& settings);
    // What to tell the engine if the clocks were changed since it was told. Looks once a minute.
    std::optional<upload::BandwidthOptions> moved();

private:
    Clock& clock_;
    std::mutex mutex_;
    upload::BandwidthOptions told_;
    Nanos looked_;
};

}  // namespace cw::appliance
