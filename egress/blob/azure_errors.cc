#include "egress/blob/azure_errors.h"

#include "base/log.h"
#include "egress/blob/azure_xml.h"
#include "egress/blob/service_clock.h"

#include <algorithm>
#include <array>
#include <cstdlib>

namespace cw::blob {
namespace {

struct Row {
    std::string_view code;
    Verdict verdict;
};

// By exact code. A code whose meaning no caller acts on falls through to its status.
constexpr std::array rows{
    Row{"ServerBusy", {Errc::blob_throttled, false}},
    Row{"OperationTimedOut", {Errc::blob_unavailable, true}},
    Row{"InternalError", {Errc::blob_unavailable, true}},
    Row{"FeatureNotSupported", {Errc::blob_rejected, false}},  // A 500 of the emulator.
    Row{"APINotImplemented", {Errc::blob_rejected, false}},
    Row{"InvalidAuthenticationInfo", {Errc::blob_auth, false}},
    Row{"NoAuthenticationInformation", {Errc::blob_auth, false}},
    Row{"ExpiredToken", {Errc::blob_auth, false}},
    Row{"AuthenticationFailed", {Errc::blob_auth, false}},
    Row{"AccountIsDisabled", {Errc::blob_denied, false}},
    Row{"InsufficientAccountPermissions", {Errc::blob_denied, false}},
    Row{"Md5Mismatch", {Errc::blob_checksum, false}},
    Row{"Crc64Mismatch", {Errc::blob_checksum, false}},
    Row{"BlobAlreadyExists", {Errc::blob_conflict, false}},
    Row{"ConditionNotMet", {Errc::blob_conflict, false}},
    Row{"TargetConditionNotMet", {Errc::blob_conflict, false}},
    Row{"PendingCopyOperation", {Errc::blob_unavailable, false}},
    Row{"SequenceNumberConditionNotMet", {Errc::fenced, false}},
    Row{"AppendPositionConditionNotMet", {Errc::fenced, false}},
    Row{"BlobNotFound", {Errc::blob_not_found, false}},
    Row{"ContainerNotFound", {Errc::vault_missing, false}},
    Row{"ContainerBeingDeleted", {Errc::vault_missing, false}},
    Row{"ContainerDisabled", {Errc::vault_missing, false}},
    Row{"AccountNotFound", {Errc::vault_missing, false}},
    Row{"ResourceNotFound", {Errc::vault_missing, false}},
    Row{"AccountBeingCreated", {Errc::blob_unavailable, false}},
    Row{"BlobArchived", {Errc::blob_offline, false}},
    Row{"BlobBeingRehydrated", {Errc::blob_offline, false}},
};

// By the beginning of the code, for families that grow with the service.
constexpr std::array families{
    Row{"Authorization", {Errc::blob_denied, false}},
    Row{"BlobImmutable", {Errc::blob_immutable, false}},
    Row{"Lease", {Errc::blob_leased, false}},
};

Verdict by_status(int status) noexcept {
    switch (status) {
        case 401:
            return {Errc::blob_auth, false};
        case 403:
            return {Errc::blob_denied, false};
        case 408:
            return {Errc::blob_unavailable, true};
        case 412:
            return {Errc::blob_conflict, false};
        case 429:
        case 503:
            return {Errc::blob_throttled, false};
        case 501:
            return {Errc::blob_rejected, false};
        // Without its code a 404 could be the object, the container or the account.
        case 404:
            return {Errc::blob_unavailable, false};
        default:
            break;
    }
    if (status >= 400 && status < 500) {
        return {Errc::blob_rejected, false};
    }
    // 5xx, and successes or redirects that are not what was asked for.
    return {Errc::blob_unavailable, true};
}

std::string evidence(const HttpReply& reply, std::string_view what, std::string_view code) {
    std::string text(what);
    text += ": status " + std::to_string(reply.status);
    if (!code.empty()) {
        text += " " + escape_for_display(code, 64);
    }
    if (const auto id = header_of(reply.headers, "x-ms-request-id"); !id.empty()) {
        text += ", request id " + escape_for_display(id, 64);
    }
    return text;
}

}  // namespace

Verdict classify(int status, std::string_view error_code) noexcept {
    if (const auto row = std::ranges::find(rows, error_code, &Row::code); row != rows.end()) {
        return row->verdict;
    }
    for (const Row& family : families) {
        if (error_code.starts_with(family.code)) {
            return family.verdict;
        }
    }
    return by_status(status);
}

bool from_service(const HttpReply& reply) noexcept {
    return !header_of(reply.headers, "x-ms-request-id").empty() ||
           !header_of(reply.headers, "x-ms-error-code").empty();
}

std::string error_code_of(const HttpReply& reply) {
    if (const auto code = header_of(reply.headers, "x-ms-error-code"); !code.empty()) {
        return std::string(code);
    }
    return parse_error_code(reply.body);
}

bool credential_refused(const HttpReply& reply) {
    return reply.transport == Transport::answered && from_service(reply) &&
           (reply.status == 401 ||
            (reply.status == 403 && error_code_of(reply) == "AuthenticationFailed"));
}

Judgement judge_failure(const HttpReply& reply, std::string_view what, std::int64_t now_s) {
    if (reply.transport != Transport::answered) {
        return {Error{reply.failure, std::string(what) + ": " + reply.detail},
                reply.transport == Transport::in_doubt};
    }
    if (!from_service(reply)) {
        // 503 and 407 of a balancer or proxy are plain enough; nothing else is believed.
        const bool busy = reply.status == 503 || reply.status == 429;
        return {Error{busy ? Errc::blob_throttled : Errc::blob_unavailable,
                      evidence(reply, what, {}) + ", not an answer of the blob service"},
                !busy && reply.status != 407};
    }
    const std::string code = error_code_of(reply);
    const Verdict verdict = classify(reply.status, code);
    std::string text = evidence(reply, what, code);
    if (verdict.code == Errc::blob_auth) {
        const auto date = parse_http_date(header_of(reply.headers, "date"));
        if (date && std::llabs(*date - now_s) > clock_skew_s_max) {
            text += ", clocks differ by " + std::to_string(now_s - *date) + " s";
            return {Error{Errc::clock_skew, std::move(text)}, false};
        }
    }
    return {Error{verdict.code, std::move(text)}, verdict.in_doubt};
}

}  // namespace cw::blob
