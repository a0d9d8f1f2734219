// Is the cache large enough that every machine gets the least credit with which it can send at all?
// If not, whoever comes last waits until another one leaves: that must be told, not found out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

namespace cw::appliance {

// What is wrong with a cache of `size_bytes` for so many machines, with the size it should have;
// nothing if it fits. `throttle_free`: cache.throttle_free, percent.
std::optional<std::string> cache_too_small(std::uint64_t size_bytes, std::int64_t throttle_free,
                                           std::size_t machines);

}  // namespace cw::appliance
