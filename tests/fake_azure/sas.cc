#include "tests/fake_azure/sas.h"

#include "base/crypto.h"
#include "egress/blob/http_client.h"

#include <ctime>

namespace cw::fake_azure {
namespace {

std::string mac(Bytes key, const std::string& text) {
    return to_base64(hmac_sha256(key, as_bytes(text)));
}

}  // namespace

std::string sign_account_sas(const AccountSas& sas, const std::string& account, Bytes key) {
    // account, sp, ss, srt, st, se, sip, spr, sv, ses, each with its newline.
    return mac(key, account + "\n" + sas.permissions + "\n" + sas.services + "\n" +
                        sas.resource_types + "\n" + sas.start + "\n" + sas.expiry + "\n\n" +
                        sas.protocol + "\n" + sas.version + "\n\n");
}

std::string sign_service_sas(const ServiceSas& sas, const std::string& account, Bytes key) {
    const std::string resource =
        "/blob/" + account + "/" + sas.container + (sas.blob.empty() ? "" : "/" + sas.blob);
    // sp, st, se, resource, si, sip, spr, sv, sr, snapshot, ses, rscc, rscd, rsce, rscl, rsct.
    return mac(key, sas.permissions + "\n" + sas.start + "\n" + sas.expiry + "\n" + resource +
                        "\n\n\n" + sas.protocol + "\n" + sas.version + "\n" +
                        (sas.blob.empty() ? "c" : "b") + "\n\n\n\n\n\n\n");
}

std::string make_account_sas(const AccountSas& sas, const std::string& account, Bytes key) {
    using blob::percent_encode;
    return "sv=" + sas.version + "&ss=" + sas.services + "&srt=" + sas.resource_types +
           "&sp=" + sas.permissions +
           (sas.start.empty() ? "" : "&st=" + percent_encode(sas.start)) +
           "&se=" + percent_encode(sas.expiry) + "&spr=" + percent_encode(sas.protocol) +
           "&sig=" + percent_encode(sign_account_sas(sas, account, key));
}

std::string make_service_sas(const ServiceSas& sas, const std::string& account, Bytes key) {
    using blob::percent_encode;
    return "sv=" + sas.version + "&sr=" + (sas.blob.empty() ? "c" : "b") +
           "&sp=" + sas.permissions +
           (sas.start.empty() ? "" : "&st=" + percent_encode(sas.start)) +
           "&se=" + percent_encode(sas.expiry) + "&spr=" + percent_encode(sas.protocol) +
           "&sig=" + percent_encode(sign_service_sas(sas, account, key));
}

std::optional<std::int64_t> parse_iso_time(std::string_view text) {
    std::tm time{};
    const std::string copy(text);
    const char* end = strptime(copy.c_str(), "%Y-%m-%dT%H:%M:%SZ", &time);
    if (end == nullptr || *end != '\0') {
        return std::nullopt;
    }
    return timegm(&time);
}

}  // namespace cw::fake_azure
