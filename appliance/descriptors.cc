#include "appliance/descriptors.h"

#include "base/assert.h"

#include <algorithm>
#include <string>

#include <sys/resource.h>

namespace cw::appliance {
namespace {

// Locks, files of the cache, rings and doorbells of the threads, and what chains, upkeep, the
// console and restores read with: some forty of a small idle server.
constexpr std::uint64_t own = 192;
constexpr std::uint64_t own_per_reactor = 8;
constexpr std::uint64_t control_port = 96;
constexpr std::uint64_t plenty = 1ULL << 24;  // Unlimited is a number, too.

// A reactor takes an eighth and sixteen more than it serves, to tell those that it is busy.
constexpr std::uint64_t turned_away_at_once = 16;
std::uint64_t taken_by(std::uint64_t connections, std::uint64_t reactors) {
    return connections + connections / 8 + turned_away_at_once * reactors;
}

}  // namespace

std::uint64_t raise_descriptor_limit() {
    rlimit limit{};
    CW_ASSERT(::getrlimit(RLIMIT_NOFILE, &limit) == 0);
    if (limit.rlim_cur < limit.rlim_max) {
        const rlim_t before = limit.rlim_cur;
        limit.rlim_cur = limit.rlim_max;
        if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) {
            return before;  // A sandbox that forbids it: what there is has to do.
        }
    }
    return limit.rlim_cur;
}

std::uint64_t descriptors_kept(const config::Settings& settings) {
    return own + own_per_reactor * static_cast<std::uint64_t>(settings.ingest_reactors) +
           control_port + static_cast<std::uint64_t>(settings.egress_total_connections);
}

Result<std::int64_t> connections_within(const config::Settings& settings, std::uint64_t limit) {
    const auto wanted = static_cast<std::uint64_t>(settings.ingest_max_connections);
    const auto reactors = static_cast<std::uint64_t>(settings.ingest_reactors);
    const std::uint64_t kept = descriptors_kept(settings);
    const std::uint64_t few = std::max<std::uint64_t>(16, reactors);
    const std::uint64_t least = kept + taken_by(std::min(wanted, few), reactors);
    limit = std::min(limit, plenty);
    if (limit < least) {
        return fail(Errc::config_invalid, "this process may have " + std::to_string(limit) +
                                              " open files, and needs " + std::to_string(least) +
                                              ": raise LimitNOFILE or ulimit -n");
    }
    const std::uint64_t room = limit - kept - turned_away_at_once * reactors;
    return static_cast<std::int64_t>(std::min(wanted, (8 * room + 7) / 9));
}

}  // namespace cw::appliance
