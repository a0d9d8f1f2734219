// How long an orderly end may take. Draining is the main thread's only business then.
#pragma once

#include "appliance/wait_until.h"

#include <functional>

namespace cw::appliance {

struct DrainLimit {
    Nanos deadline{};
    std::function<bool()> asked_again;  // Whether somebody asked for the end once more.
};

// True when `done()` held before anybody lost patience.
bool wait_until(Clock& clock, const DrainLimit& limit, const auto& done) {
    bool is_done = false;
    (void)wait_until(clock, limit.deadline,
                     [&] { return (is_done = done()) || limit.asked_again(); });
    return is_done;
}

}  // namespace cw::appliance
