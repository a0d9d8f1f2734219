#include "appliance/cache_size.h"

#include "base/assert.h"
#include "ingest/credit.h"

namespace cw::appliance {

std::optional<std::string> cache_too_small(std::uint64_t size_bytes, std::int64_t throttle_free,
                                           std::size_t machines) {
    CW_ASSERT(throttle_free >= 0 && throttle_free < 100);
    const auto usable_percent = static_cast<std::uint64_t>(100 - throttle_free);
    const std::uint64_t fitting = size_bytes / 100 * usable_percent / ingest::credit_window_min;
    if (machines <= fitting) {
        return std::nullopt;
    }
    const std::uint64_t wanted = machines * ingest::credit_window_min / usable_percent * 100;
    return "a cache of " + std::to_string(size_bytes / mib) + "MiB has credit for " +
           std::to_string(fitting) + " machines at once, " + std::to_string(machines) +
           " are known: the last to come cannot send; cache.size must be at least " +
           std::to_string(wanted / mib + 1) + "MiB";
}

}  // namespace cw::appliance
