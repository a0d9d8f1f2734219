// The object store's clock beside this server's. Requests signed with an account key are refused
// when their date is more than 15 minutes off. A wrong clock is no reason to stop uploading: what
// is dated wrongly is refused at the service, so dating by the service's own clock gives away
// nothing. It is a reason to tell somebody: CLOCK_SKEW stands while the clocks differ, whatever the
// credential, because points carry this server's time.
//
// Thread-safe.
#pragma once

#include "base/clock.h"
#include "base/conditions.h"
#include "egress/blob/http_client.h"

#include <atomic>

namespace cw::blob {

// What the service tolerates, and how far we follow it: a wrong time zone and a missed day, but not
// a clock that lost its battery, with which no certificate can be judged either.
inline constexpr std::int64_t clock_skew_s_max = 15 * 60, clock_followed_s_max = 26 * 3600;

class ServiceClock {
public:
    // `conditions` may be null; both outlive it.
    ServiceClock(Clock& clock, Conditions* conditions) : clock_(clock), conditions_(conditions) {}
    // Seconds since 1970: what requests are dated with.
    [[nodiscard]] std::int64_t date_s() const;
    // Looks at an answer's date. True: its request, dated `dated_s`, was refused for that date,
    // which is known better now.
    bool learn(const HttpReply& reply, std::int64_t dated_s);

private:
    [[nodiscard]] std::int64_t wall_s() const;
    void tell(std::int64_t ahead_s);

    Clock& clock_;
    Conditions* const conditions_;
    std::atomic<std::int64_t> offset_s_ = 0;  // Added to the wall clock.
    std::atomic<bool> told_ = false;
};

}  // namespace cw::blob
