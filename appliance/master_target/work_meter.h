// WorkMeter: how fast a merge or a switch goes, and how long it will still take.
#pragma once

#include "appliance/master_target/target_status.h"
#include "base/clock.h"

#include <algorithm>
#include <optional>

namespace cw::appliance {

class WorkMeter {
public:
    // Before each piece.
    void note_piece(Nanos now) {
        since_ = since_.value_or(now);
        until_ = now;
    }
    void end() { since_.reset(); }

    [[nodiscard]] TargetWork measure(TargetWork::What what, std::uint64_t done_bytes,
                                     std::uint64_t total_bytes) const {
        TargetWork out{.what = what,
                       .done_bytes = done_bytes,
                       .total_bytes = std::max(total_bytes, done_bytes)};
        const double seconds = since_ ? static_cast<double>(until_ - *since_) / ns_per_s : 0;
        if (seconds > 0 && done_bytes > 0) {
            out.bytes_per_s = static_cast<double>(done_bytes) / seconds;
            out.eta_s = static_cast<double>(out.total_bytes - done_bytes) / out.bytes_per_s;
        }
        return out;
    }

private:
    std::optional<Nanos> since_;  // The first piece of what is under way.
    Nanos until_{};               // Its last piece.
};

}  // namespace cw::appliance
