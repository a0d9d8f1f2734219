// AttemptLimit: how often strangers may try to enrol. By address, so that one does not spend what
// others may; of all addresses together, so that many do not spend the server. An address that was
// wrong too often is locked out for a while, whatever it brings.
//
// Thread-safety: none; its owner locks.
#pragma once

#include "base/clock.h"

#include <cstddef>
#include <map>
#include <string>

namespace cw::appliance {

class AttemptLimit {
public:
    explicit AttemptLimit(Clock& clock) : clock_(clock), all_{burst_of_all, clock.boot()} {}

    // Whether an attempt from there may be looked at now. False: to be told to come back later.
    bool admit(const std::string& address);
    // The attempt that was admitted was wrong.
    void failed(const std::string& address);
    // Whether anybody was turned away within the last minute.
    [[nodiscard]] bool turning_away() const;

    static constexpr double burst = 20, per_second = 1, burst_of_all = 100, per_second_of_all = 10;
    static constexpr int failures_max = 5;  // Then the address is locked out for lock_ns.
    static constexpr std::int64_t lock_ns = 60 * ns_per_s;
    static constexpr std::size_t addresses_max = 4096;  // The longest unheard of is forgotten.

private:
    struct Bucket {
        double tokens;
        Nanos filled;
    };
    struct Address {
        Bucket bucket;
        int failures = 0;
        Nanos first_failure{}, locked_until{};
    };

    bool take(Bucket& bucket, double size, double rate) const;
    Address& at(const std::string& address);

    Clock& clock_;
    Bucket all_;
    std::map<std::string, Address> addresses_;
    bool turned_away_ = false;
    Nanos last_turned_away_{};
};

}  // namespace cw::appliance
