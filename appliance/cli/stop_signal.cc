#include "appliance/cli/stop_signal.h"

#include <atomic>
#include <csignal>

namespace cw::appliance {
namespace {

std::atomic<bool> requested{false};
static_assert(std::atomic<bool>::is_always_lock_free);  // It is set by a signal handler.

}  // namespace

void stop_on_signals() {
    struct sigaction action{};
    action.sa_handler = [](int) { requested = true; };
    ::sigaction(SIGINT, &action, nullptr);
    ::sigaction(SIGTERM, &action, nullptr);
}

bool stop_requested() noexcept {
    return requested;
}

}  // namespace cw::appliance
