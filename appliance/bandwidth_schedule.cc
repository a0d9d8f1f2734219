#include "appliance/bandwidth_schedule.h"

namespace cw::appliance {
namespace {

constexpr std::int64_t look_every_ns = 60 * ns_per_s;

}  // namespace

BandwidthSchedule::BandwidthSchedule(const config::Settings& settings, Clock& clock)
    : clock_(clock), told_(bandwidth_options(settings, clock)), looked_(clock.boot()) {}

upload::BandwidthOptions BandwidthSchedule::set(const config::Settings& settings) {
    const std::lock_guard lock(mutex_);
    told_ = bandwidth_options(settings, clock_);
    looked_ = clock_.boot();
    return told_;
}

std::optional<upload::BandwidthOptions> BandwidthSchedule::moved() {
    const std::lock_guard lock(mutex_);
    if (clock_.boot() - looked_ < look_every_ns) {
        return std::nullopt;
    }
    looked_ = clock_.boot();
    const std::int32_t offset = utc_offset_minutes(clock_);
    if (offset == told_.utc_offset_minutes) {
        return std::nullopt;
    }
    told_.utc_offset_minutes = offset;
    return told_;
}

}  // namespace cw::appliance
