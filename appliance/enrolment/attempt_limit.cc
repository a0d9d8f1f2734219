#include "appliance/enrolment/attempt_limit.h"

#include <algorithm>

namespace cw::appliance {

bool AttemptLimit::take(Bucket& bucket, double size, double rate) const {
    const Nanos now = clock_.boot();
    const double passed_s = static_cast<double>(now - bucket.filled) / ns_per_s;
    bucket.tokens = std::min(size, bucket.tokens + passed_s * rate);
    bucket.filled = now;
    if (bucket.tokens < 1) {
        return false;
    }
    bucket.tokens -= 1;
    return true;
}

AttemptLimit::Address& AttemptLimit::at(const std::string& address) {
    const auto found = addresses_.find(address);
    if (found != addresses_.end()) {
        return found->second;
    }
    if (addresses_.size() >= addresses_max) {
        addresses_.erase(std::ranges::min_element(addresses_, {}, [](const auto& entry) {
            return std::max(entry.second.bucket.filled, entry.second.locked_until);
        }));
    }
    return addresses_.emplace(address, Address{{burst, clock_.boot()}}).first->second;
}

bool AttemptLimit::admit(const std::string& address) {
    Address& known = at(address);
    const bool locked = known.locked_until - clock_.boot() > 0;
    // The address first: what it is refused is not taken from others.
    if (!locked && take(known.bucket, burst, per_second) &&
        take(all_, burst_of_all, per_second_of_all)) {
        return true;
    }
    turned_away_ = true;
    last_turned_away_ = clock_.boot();
    return false;
}

void AttemptLimit::failed(const std::string& address) {
    Address& known = at(address);
    const Nanos now = clock_.boot();
    if (known.failures == 0 || now - known.first_failure > lock_ns) {
        known.failures = 0;
        known.first_failure = now;
    }
    if (++known.failures >= failures_max) {
        known.failures = 0;
        known.locked_until = now + lock_ns;
    }
}

bool AttemptLimit::turning_away() const {
    return turned_away_ && clock_.boot() - last_turned_away_ < lock_ns;
}

}  // namespace cw::appliance
