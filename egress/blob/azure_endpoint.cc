#include "egress/blob/azure_endpoint.h"

#include "egress/blob/page_blob.h"

#include <algorithm>

namespace cw::blob {
namespace {

constexpr std::size_t prefix_bytes_max = 50;  // A container's name has at most 63.

bool alphanumeric(char c) noexcept {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

bool valid_account(std::string_view account) noexcept {
    return account.size() >= 3 && account.size() <= 24 &&
           std::ranges::all_of(account, alphanumeric);
}

bool valid_prefix(std::string_view prefix) noexcept {
    return prefix.size() <= prefix_bytes_max && alphanumeric(prefix.front()) &&
           alphanumeric(prefix.back()) && !prefix.contains("--") &&
           std::ranges::all_of(prefix, [](char c) { return alphanumeric(c) || c == '-'; });
}

bool valid_authority(std::string_view authority) noexcept {
    return !authority.empty() && std::ranges::all_of(authority, [](char c) {
        return alphanumeric(c) || c == '.' || c == '-' || c == ':' || c == '[' || c == ']';
    });
}

bool is_address(std::string_view host) noexcept {
    return host.starts_with('[') ||
           std::ranges::all_of(host, [](char c) { return (c >= '0' && c <= '9') || c == '.'; });
}

bool is_loopback(std::string_view host) noexcept {
    return host == "localhost" || host.ends_with(".localhost") || host == "[::1]" ||
           (is_address(host) && host.starts_with("127."));
}

std::string_view host_of(std::string_view authority) noexcept {
    const std::size_t end = authority.starts_with('[') ? authority.find(']') : authority.find(':');
    return authority.starts_with('[') && end != std::string_view::npos
               ? authority.substr(0, end + 1)
               : authority.substr(0, end);
}

// Takes the text up to the next '/' off `path`.
std::string_view take_segment(std::string_view& path) noexcept {
    const std::size_t slash = std::min(path.find('/'), path.size());
    const std::string_view segment = path.substr(0, slash);
    path.remove_prefix(std::min(slash + 1, path.size()));
    return segment;
}

std::unexpected<Error> invalid(std::string_view why) {
    return fail(Errc::config_invalid, "vault url: " + std::string(why));
}

}  // namespace

std::string AzureEndpoint::account_path() const {
    if (!path_style) {
        return {};
    }
    return "/" + account + (secondary ? std::string(secondary_suffix) : "");
}

std::string AzureEndpoint::container_path(Container container) const {
    std::string path = account_path() + "/";
    if (!prefix.empty()) {
        path += prefix + "-";
    }
    return path + std::string(name_of(container));
}

std::string AzureEndpoint::object_path(const BlobName& name) const {
    return container_path(name.container) + "/" + name.name;
}

std::string AzureEndpoint::describe() const {
    const std::string text = origin + account_path();
    return prefix.empty() ? text : text + "/" + prefix;
}

namespace {

struct Origin {
    bool secure = false;
    std::string authority;
    std::string_view rest;  // Behind the authority's slash.
};

// Errors: config_invalid.
Result<Origin> parse_origin(std::string_view url) {
    constexpr std::string_view schemes[] = {"http://", "https://"};
    Origin out;
    out.secure = url.starts_with(schemes[1]);
    if (!out.secure && !url.starts_with(schemes[0])) {
        return invalid("it must begin with https://");
    }
    out.rest = url.substr(schemes[out.secure ? 1 : 0].size());
    out.authority = take_segment(out.rest);
    if (!valid_authority(out.authority)) {
        return invalid("the host is malformed");
    }
    if (!out.secure && !is_loopback(host_of(out.authority))) {
        return invalid("plain http would show the credential; use https");
    }
    return out;
}

}  // namespace

Result<AzureEndpoint> parse_azure_url(std::string_view url) {
    if (url.find_first_of("?#@") != std::string_view::npos) {
        return invalid("no query, fragment or user belongs here; put the SAS in its own setting");
    }
    std::string text(url);
    std::ranges::transform(text, text.begin(), [](char c) {
        return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    });
    CW_TRY_ASSIGN(Origin origin, parse_origin(text));
    const std::string_view host = host_of(origin.authority);
    AzureEndpoint endpoint;
    endpoint.origin = (origin.secure ? "https://" : "http://") + origin.authority;
    endpoint.path_style = is_address(host) || host == "localhost";
    endpoint.account = endpoint.path_style ? take_segment(origin.rest)
                                           : host.substr(0, std::min(host.find('.'), host.size()));
    endpoint.prefix = take_segment(origin.rest);
    if (endpoint.account.ends_with(secondary_suffix)) {
        endpoint.account.resize(endpoint.account.size() - secondary_suffix.size());
        endpoint.secondary = true;
    }
    if (!valid_account(endpoint.account)) {
        return invalid("no storage account in it");
    }
    if (!origin.rest.empty() || (!endpoint.prefix.empty() && !valid_prefix(endpoint.prefix))) {
        return invalid("the prefix is one name of letters, digits and single hyphens");
    }
    return endpoint;
}

Result<void> check_writable(const AzureEndpoint& endpoint) {
    if (endpoint.secondary) {
        return fail(Errc::config_invalid,
                    endpoint.describe() +
                        " is the account's secondary region, which can only be read: "
                        "causeway export, causeway mount and causeway-restore work there");
    }
    return {};
}

Result<DiskUpload> parse_disk_upload(std::string_view url) {
    const auto plain = [](char c) {
        return alphanumeric(c) || (c >= 'A' && c <= 'Z') || c == '-' || c == '.' || c == '_' ||
               c == '/';
    };
    const std::size_t query = url.find('?');
    const std::string_view path = url.substr(0, query);
    const std::size_t slash = path.rfind('/');
    CW_TRY_ASSIGN(const Origin origin, parse_origin(path));
    const std::string_view rest = origin.rest;
    const bool named = rest.contains('/') && !rest.starts_with('/') && !rest.ends_with('/') &&
                       !rest.contains("//") && !rest.contains("..") &&
                       std::ranges::all_of(rest, plain);
    if (!named || query == std::string_view::npos || !url.substr(query).contains("sig=") ||
        url.find_first_of("# \r\n", query) != std::string_view::npos) {
        return invalid("a disk's write SAS is https://HOST/CONTAINER/NAME?…sig=…");
    }
    DiskUpload upload;
    upload.origin = (origin.secure ? "https://" : "http://") + origin.authority;
    upload.blob.name = path.substr(slash + 1);
    upload.blob.container = rest.substr(0, rest.rfind('/'));
    upload.sas = Secret<std::string>(std::string(url.substr(query + 1)));
    return upload;
}

}  // namespace cw::blob
