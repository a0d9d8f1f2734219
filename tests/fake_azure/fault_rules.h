// Scripted faults of the fake: which requests go wrong, how, and how often.
//
// As JSON, for POST /__fake/faults and --faults: an array of
//   {"op": "put_blob", "name": "data/", "action": "timeout_applied", "probability": 0.1,
//    "count": 5, "skip": 0, "per_second": 0, "retry_after_s": 1, "delay_ms": 0,
//    "status": 409, "code": "BlobImmutableDueToPolicy", "message": "words",
//    "names": ["../x"], "repeat": 1000, "marker": "next"}
// Everything but "action" may be left out. The first rule that matches and fires wins.
#pragma once

#include "base/error.h"

#include <cstdint>
#include <deque>
#include <mutex>
#include <random>
#include <string>
#include <vector>

namespace cw::fake_azure {

enum class Action : std::uint8_t {
    none,
    error,            // `status` with `code` and `message`, as they are; not applied.
    throttle,         // 503 ServerBusy with Retry-After, not applied.
    timeout,          // 500 OperationTimedOut, not applied.
    timeout_applied,  // 500 OperationTimedOut, applied.
    timeout_late,     // 500 OperationTimedOut, applied `delay_ms` later.
    drop,             // The connection closes without a reply, not applied.
    drop_applied,     // Likewise, applied.
    hang,             // No reply ever, not applied; until the client closes.
    hang_applied,     // Likewise, applied.
    reset_mid_body,   // The connection is reset after half of the request's body.
    truncate,         // The reply ends after half of its body.
    garbage,          // 200 with an HTML page, not from the service, not applied.
    middlebox,        // `status` with an HTML page, not from the service, not applied.
    expired_401,      // 401 InvalidAuthenticationInfo, not applied.
    expired_403,      // 403 AuthenticationFailed, not applied.
    corrupt,          // Put: stored with a flipped bit. Get: sent with one.
    slow,             // As asked, `delay_ms` of real time later.
    list_also,  // A listing with `names`, each `repeat` times, and with `marker` if it has one.
};

struct FaultRule {
    std::string op = "*";   // An operation's name as in the statistics, or "*".
    std::string name = {};  // A part of "<container>/<blob>".
    Action action = Action::none;
    double probability = 1;
    std::int64_t count = -1;  // How often it fires; -1: for ever.
    std::int64_t skip = 0;    // Matching requests left alone first.
    double per_second = 0;    // > 0: fires only above this rate of matching requests.
    int retry_after_s = 1;
    std::int64_t delay_ms = 0;
    int status = 500;
    std::string code = "InternalError";
    std::string message = {};
    std::vector<std::string> names = {};
    std::int64_t repeat = 1;
    std::string marker = {};
};

// Errors: usage.
Result<std::vector<FaultRule>> parse_fault_rules(std::string_view json);

// Thread-safe.
class FaultPlan {
public:
    explicit FaultPlan(std::uint64_t seed) : random_(seed) {}
    void replace(std::vector<FaultRule> rules);
    void add(FaultRule rule);
    // The rule that fires for this request, or one with Action::none. `now_ns`: any steady clock.
    FaultRule next(std::string_view op, std::string_view name, std::int64_t now_ns);

private:
    struct State {
        FaultRule rule;
        std::deque<std::int64_t> recent_ns;  // Matching requests of the last second.
    };
    bool fires(State& state, std::int64_t now_ns);

    std::mutex mutex_;
    std::mt19937_64 random_;
    std::vector<State> states_;
};

}  // namespace cw::fake_azure
