#include "appliance/control_refusals.h"

#include "base/clock.h"
#include "base/log.h"
#include "ingest/connection.h"

#include <utility>

namespace cw::appliance {

void ControlRefusals::tell(std::string_view event, const std::string& peer, const Error& error,
                           std::int64_t now_ns) {
    std::uint64_t left_out = 0;
    {
        const std::lock_guard lock(mutex_);
        if (now_ns >= second_began_ns_ + ns_per_s) {
            second_began_ns_ = now_ns;
            lines_left_ = ingest::Hub::log_lines_per_tick;
        }
        if (lines_left_ == 0) {
            ++left_out_;
            return;
        }
        --lines_left_;
        left_out = std::exchange(left_out_, 0);
    }
    log_warning(event, {{"peer", peer}, {"left_out", left_out}, {"error", error}});
}

}  // namespace cw::appliance
