#include "appliance/resync_order.h"

#include "appliance/engine_options.h"
#include "appliance/order_body.h"

#include <nlohmann/json.hpp>

namespace cw::appliance {
namespace {

constexpr WallMicros latest{253'402'300'799'999'999};  // The end of the year 9999, as --at has it.

}  // namespace

Result<ResyncOrder> parse_resync_order(std::string_view body, const ResyncWindow& window,
                                       Clock& clock) {
    CW_TRY_ASSIGN(const nlohmann::json asked, read_order(body, {{"subject", FieldKind::text, true},
                                                                {"at_us", FieldKind::number},
                                                                {"now", FieldKind::truth}}));
    const WallMicros now = clock.wall();
    ResyncOrder order{.subject = asked["subject"].get<std::string>(), .at = now};
    const bool at_once = asked.value("now", false);
    const auto at = asked.find("at_us");
    if (at == asked.end()) {
        order.at = at_once ? now : window.opens(now, utc_offset_minutes(clock));
        return order;
    }
    if (at_once) {
        return refuse_order("the order says now, and at_us: one of them");
    }
    order.at = WallMicros{at->get<std::int64_t>()};
    if (order.at > latest) {
        return refuse_order("at_us is later than the year 9999: it counts microseconds since 1970");
    }
    return order;
}

}  // namespace cw::appliance
