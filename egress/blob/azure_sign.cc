#include "egress/blob/azure_sign.h"

#include "egress/blob/azure_endpoint.h"
#include "egress/blob/common.h"

#include <algorithm>
#include <array>
#include <map>

namespace cw::blob {
namespace {

// The standard headers in the order they are signed; Content-Length comes from the body instead,
// and Date is always replaced by x-ms-date.
constexpr std::array<std::string_view, 11> signed_headers{"content-encoding",
                                                          "content-language",
                                                          "content-length",
                                                          "content-md5",
                                                          "content-type",
                                                          "date",
                                                          "if-modified-since",
                                                          "if-match",
                                                          "if-none-match",
                                                          "if-unmodified-since",
                                                          "range"};

std::string canonical_headers(const HttpHeaders& headers) {
    // Byte order equals the service's culture order for the names used here (letters, digits and
    // the hyphens of x-ms-), which is why metadata names are kept to [a-z0-9].
    std::map<std::string_view, std::string_view> sorted;
    for (const auto& [name, value] : headers) {
        if (name.starts_with("x-ms-")) {
            sorted.emplace(name, value);
        }
    }
    std::string text;
    for (const auto& [name, value] : sorted) {
        text.append(name).append(":").append(value).append("\n");
    }
    return text;
}

std::string canonical_resource(const HttpRequest& request, std::string_view account) {
    // Also at the secondary region's address the resource is the account's.
    const std::string at_secondary = "/" + std::string(account) + std::string(secondary_suffix);
    std::string_view path = request.path;
    std::string text = "/" + std::string(account);
    if (path.starts_with(at_secondary + "/")) {
        path.remove_prefix(at_secondary.size());
        text += "/" + std::string(account);
    }
    text += path;
    std::map<std::string_view, std::vector<std::string_view>> sorted;
    for (const auto& [name, value] : request.query) {
        sorted[name].push_back(value);
    }
    for (auto& [name, values] : sorted) {
        std::ranges::sort(values);
        text.append("\n").append(name);
        char separator = ':';
        for (const std::string_view value : values) {
            text += separator;
            text += value;
            separator = ',';
        }
    }
    return text;
}

}  // namespace

std::string string_to_sign(const HttpRequest& request, std::string_view account) {
    std::string text = request.method + "\n";
    for (const std::string_view name : signed_headers) {
        if (name == "content-length") {
            const std::uint64_t bytes = total_bytes(request.body);
            text += bytes == 0 ? "" : std::to_string(bytes);
        } else {
            text += header_of(request.headers, name);
        }
        text += '\n';
    }
    return text + canonical_headers(request.headers) + canonical_resource(request, account);
}

std::string shared_key_authorization(const HttpRequest& request, std::string_view account,
                                     Bytes key) {
    const std::string text = string_to_sign(request, account);
    const Sha256 mac = hmac_sha256(key, as_bytes(text));
    return "SharedKey " + std::string(account) + ":" + to_base64(mac);
}

}  // namespace cw::blob
