#include "egress/blob/service_clock.h"

#include "base/ids.h"
#include "egress/blob/azure_errors.h"
#include "egress/blob/http_parse.h"

#include <cstdlib>
#include <string>

namespace cw::blob {

std::int64_t ServiceClock::wall_s() const {
    return raw(clock_.wall()) / 1'000'000;
}

std::int64_t ServiceClock::date_s() const {
    return wall_s() + offset_s_;
}

bool ServiceClock::learn(const HttpReply& reply, std::int64_t dated_s) {
    if (reply.transport != Transport::answered || !from_service(reply)) {
        return false;
    }
    const auto theirs_s = parse_http_date(header_of(reply.headers, "date"));
    if (!theirs_s) {
        return false;
    }
    const std::int64_t skew_s = *theirs_s - wall_s();
    const bool wrong = std::llabs(skew_s) > clock_skew_s_max;
    const bool followed = wrong && std::llabs(skew_s) <= clock_followed_s_max;
    offset_s_ = followed ? skew_s : 0;
    if (wrong) {
        tell(-skew_s);
    } else if (told_.exchange(false)) {
        conditions_->clear(Errc::clock_skew, "clock");
    }
    return credential_refused(reply) && std::llabs(*theirs_s - dated_s) > clock_skew_s_max &&
           std::llabs(*theirs_s - date_s()) <= clock_skew_s_max;
}

void ServiceClock::tell(std::int64_t ahead_s) {
    if (conditions_ == nullptr || told_.exchange(true)) {
        return;
    }
    const bool followed = std::llabs(ahead_s) <= clock_followed_s_max;
    conditions_->raise(Errc::clock_skew, "clock",
                       "this server's clock is " + std::to_string(std::llabs(ahead_s)) + " s " +
                           (ahead_s > 0 ? "ahead of" : "behind") + " the object store's" +
                           (followed ? ": uploads go on, dated by the store's clock; the times of "
                                       "points are wrong"
                                     : ": too far to be followed"));
}

}  // namespace cw::blob
