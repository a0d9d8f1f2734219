#include "tests/fake_azure/lease.h"

#include "base/ids.h"
#include "egress/blob/http_parse.h"

#include <algorithm>

namespace cw::fake_azure {
namespace {

constexpr std::int64_t second_ns = 1'000'000'000;

}  // namespace

std::string_view Lease::state(std::int64_t now_ns) const {
    if (id_.empty()) {
        return "available";
    }
    if (broken_at_ns_ >= 0) {
        return now_ns < broken_at_ns_ ? "breaking" : "broken";
    }
    return duration_ns_ == 0 || now_ns < until_ns_ ? "leased" : "expired";
}

bool Lease::held(std::int64_t now_ns) const {
    const std::string_view now = state(now_ns);
    return now == "leased" || now == "breaking";
}

Reply Lease::apply(const Request& request, std::int64_t now_ns) {
    const std::string_view action = request.header("x-ms-lease-action");
    const std::string_view id = request.header("x-ms-lease-id");
    if (action == "acquire") {
        return acquire(request, now_ns);
    }
    if (action == "break") {
        return break_it(request, now_ns);
    }
    if (action == "change") {
        return change(request, now_ns);
    }
    if (action != "renew" && action != "release") {
        return {400, "InvalidHeaderValue"};
    }
    if (id.empty()) {
        return {400, "MissingRequiredHeader"};
    }
    if (id_ != id) {
        return {409, "LeaseIdMismatchWithLeaseOperation"};
    }
    if (action == "release") {
        *this = Lease{};
        return Reply(200);
    }
    if (broken_at_ns_ >= 0) {
        return {409, "LeaseIsBrokenAndCannotBeRenewed"};
    }
    until_ns_ = now_ns + duration_ns_;
    return Reply(200).with("x-ms-lease-id", id_);
}

void Lease::set(bool leased) {
    *this = Lease{};
    id_ = leased ? "77777777-7777-4777-8777-777777777777" : "";
}

Reply Lease::acquire(const Request& request, std::int64_t now_ns) {
    const std::string proposed(request.header("x-ms-proposed-lease-id"));
    const std::string_view duration = request.header("x-ms-lease-duration");
    const auto seconds = blob::parse_decimal(duration);
    const bool infinite = duration == "-1";
    if (!infinite && (!seconds || *seconds < 15 || *seconds > 60)) {
        return {400, "InvalidHeaderValue"};
    }
    if (!parse_uuid_bytes(proposed)) {  // The service would invent one; our client never asks that.
        return {400, "InvalidHeaderValue"};
    }
    if (state(now_ns) == "breaking") {
        return {409, "LeaseIsBreakingAndCannotBeAcquired"};
    }
    if (state(now_ns) == "leased" && id_ != proposed) {
        return {409, "LeaseAlreadyPresent"};
    }
    id_ = proposed;
    broken_at_ns_ = -1;
    duration_ns_ = infinite ? 0 : static_cast<std::int64_t>(*seconds) * second_ns;
    until_ns_ = now_ns + duration_ns_;
    return Reply(201).with("x-ms-lease-id", id_);
}

Reply Lease::change(const Request& request, std::int64_t now_ns) {
    const std::string proposed(request.header("x-ms-proposed-lease-id"));
    const std::string_view id = request.header("x-ms-lease-id");
    if (!parse_uuid_bytes(proposed)) {
        return {400, "InvalidHeaderValue"};
    }
    if (!held(now_ns)) {
        return {409, "LeaseNotPresentWithLeaseOperation"};
    }
    if (state(now_ns) == "breaking") {
        return {409, "LeaseIsBreakingAndCannotBeChanged"};
    }
    if (id_ != id && id_ != proposed) {
        return {409, "LeaseIdMismatchWithLeaseOperation"};
    }
    id_ = proposed;
    return Reply(200).with("x-ms-lease-id", id_);
}

Reply Lease::break_it(const Request& request, std::int64_t now_ns) {
    if (id_.empty()) {
        return {409, "LeaseNotPresentWithLeaseOperation"};
    }
    const auto period = blob::parse_decimal(request.header("x-ms-lease-break-period"));
    if (request.has("x-ms-lease-break-period") && (!period || *period > 60)) {
        return {400, "InvalidHeaderValue"};
    }
    std::int64_t wait_ns = 0;
    if (held(now_ns)) {
        const std::int64_t left_ns =
            duration_ns_ == 0 ? 0 : std::max<std::int64_t>(until_ns_ - now_ns, 0);
        const auto asked_ns = static_cast<std::int64_t>(period.value_or(60)) * second_ns;
        wait_ns = duration_ns_ == 0 && period ? asked_ns : std::min(left_ns, asked_ns);
    }
    if (broken_at_ns_ < 0 || now_ns + wait_ns < broken_at_ns_) {
        broken_at_ns_ = now_ns + wait_ns;
    }
    const std::int64_t left_s =
        std::max<std::int64_t>(broken_at_ns_ - now_ns + second_ns - 1, 0) / second_ns;
    return Reply(202).with("x-ms-lease-time", std::to_string(left_s));
}

std::optional<Reply> Lease::check_write(std::string_view id, std::int64_t now_ns) const {
    if (held(now_ns)) {
        if (id.empty()) {
            return Reply(412, "LeaseIdMissing");
        }
        return id == id_ ? std::nullopt
                         : std::optional(Reply(412, "LeaseIdMismatchWithBlobOperation"));
    }
    if (id.empty()) {
        return std::nullopt;
    }
    return id == id_ ? Reply(412, "LeaseLost") : Reply(412, "LeaseNotPresentWithBlobOperation");
}

std::optional<Reply> Lease::check_read(std::string_view id, std::int64_t now_ns) const {
    return id.empty() ? std::nullopt : check_write(id, now_ns);
}

void Lease::written(std::int64_t now_ns) {
    if (!held(now_ns)) {
        *this = Lease{};
    }
}

}  // namespace cw::fake_azure
