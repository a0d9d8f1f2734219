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
    action.sa_flags = SA_RESETHAND;
    ::sigaction(SIGINT, &action, nullptr);
    ::sigaction(SIGTERM, &action, nullptr);
    struct sigaction before{};
    if (::sigaction(SIGHUP, nullptr, &before) == 0 && before.sa_handler != SIG_IGN) {
        ::sigaction(SIGHUP, &action, nullptr);
    }
}

bool stop_requested() noexcept {
    return requested;
}

}  // namespace cw::appliance
