// resync.window: the local hours in which a resync that an operator orders may begin.
//
// Thread-safety: all functions: orders and reloads come from any thread.
#pragma once

#include "base/clock.h"

#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>

namespace cw::appliance {

// When what is ordered at `now` may begin: then, if that is within "22:00-06:00", else when the
// window next opens. An empty window, and one whose ends are alike, is always open. `window` is as
// the settings allow it.
WallMicros window_opens(std::string_view window, WallMicros now, std::int32_t utc_offset_minutes);

class ResyncWindow {
public:
    explicit ResyncWindow(std::string text) : text_(std::move(text)) {}
    void set(std::string text) {
        const std::lock_guard lock(mutex_);
        text_ = std::move(text);
    }
    [[nodiscard]] WallMicros opens(WallMicros now, std::int32_t utc_offset_minutes) const {
        const std::lock_guard lock(mutex_);
        return window_opens(text_, now, utc_offset_minutes);
    }

private:
    mutable std::mutex mutex_;
    std::string text_;
};

}  // namespace cw::appliance
