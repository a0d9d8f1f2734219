#include "config/text_checks.h"

#include "base/net.h"

#include <algorithm>
#include <string>

namespace cw::config {
namespace {

constexpr std::size_t path_bytes_max = 4095, name_bytes_max = 128;

std::unexpected<Error> bad(std::string what) {
    return fail(Errc::config_invalid, std::move(what));
}

// Nothing that could break a line of a log, an HTTP head or a terminal.
bool is_printable(std::string_view text) noexcept {
    return std::ranges::all_of(text, [](char c) {
        return static_cast<unsigned char>(c) >= 0x20 && static_cast<unsigned char>(c) != 0x7f;
    });
}

Result<void> check_name(std::string_view text) {
    const bool plain = std::ranges::all_of(text, [](char c) { return c >= 0x20 && c < 0x7f; });
    return plain && text.size() <= name_bytes_max
               ? Result<void>{}
               : bad("a name has at most 128 printable ASCII characters");
}

Result<void> check_address(std::string_view text) {
    const Result<HostPort> address = parse_host_port(text);
    return address ? Result<void>{} : bad(address.error().detail);
}

Result<void> check_path(std::string_view text) {
    if (!text.starts_with('/')) {
        return bad("must be an absolute path");
    }
    return text.size() <= path_bytes_max ? Result<void>{} : bad("longer than 4095 bytes");
}

// scheme://host[:port][/path], without user, query or fragment: those would be credentials.
Result<void> check_http_url(std::string_view text, bool with_path) {
    std::string_view rest = text;
    if (rest.starts_with("https://")) {
        rest.remove_prefix(8);
    } else if (rest.starts_with("http://")) {
        rest.remove_prefix(7);
    } else {
        return bad("must begin with https:// or http://");
    }
    if (rest.find_first_of("?#@ ") != std::string_view::npos) {
        return bad(
            "an address without user, query or fragment; credentials have settings of "
            "their own");
    }
    const std::size_t slash = std::min(rest.find('/'), rest.size());
    const std::string_view authority = rest.substr(0, slash);
    if (!with_path && rest.size() > slash + 1) {
        return bad("an address without a path");
    }
    const bool has_port =
        authority.rfind(':') != std::string_view::npos && !authority.ends_with(']');
    const Result<HostPort> host =
        parse_host_port(has_port ? std::string(authority) : std::string(authority) + ":0");
    if (!host || host->host.empty()) {
        return bad("'" + std::string(authority) + "' is not a host, or host:port");
    }
    return {};
}

Result<void> check_service(std::string_view text) {
    return check_http_url(text, true);
}

Result<void> check_proxy(std::string_view text) {
    return check_http_url(text, false);
}

Result<void> check_vault_url(std::string_view text) {
    constexpr std::string_view directory = "dir://";
    if (text.starts_with(directory)) {
        return text.substr(directory.size()).starts_with('/')
                   ? check_path(text.substr(directory.size()))
                   : bad("dir:// takes an absolute path: dir:///srv/vault");
    }
    if (!text.starts_with("http")) {
        return bad("must begin with dir:/// or https://");
    }
    return check_http_url(text, true);
}

bool is_minute(std::string_view text) noexcept {
    const auto digit = [&](std::size_t i) { return text[i] >= '0' && text[i] <= '9'; };
    return text.size() == 5 && digit(0) && digit(1) && text[2] == ':' && digit(3) && digit(4) &&
           text.substr(0, 2) <= "24" && text.substr(3) < "60" &&
           (text.substr(0, 2) != "24" || text.substr(3) == "00");
}

Result<void> check_hours(std::string_view text) {
    const bool sound = text.size() == 11 && text[5] == '-' && is_minute(text.substr(0, 5)) &&
                       is_minute(text.substr(6));
    return sound ? Result<void>{} : bad("must be written like 22:00-06:00");
}

struct TextRule {
    std::string_view name;
    Result<void> (*check)(std::string_view);
    bool may_be_empty;
};
constexpr TextRule rules[] = {
    {"server.name", check_name, true},
    {"server.state_dir", check_path, false},
    {"ingest.listen", check_address, false},
    {"cache.path", check_path, false},
    {"vault.url", check_vault_url, true},
    {"vault.key_file", check_path, true},
    {"vault.sas_file", check_path, true},
    {"vault.token_file", check_path, true},
    {"vault.client_secret_file", check_path, true},
    {"vault.identity_endpoint", check_service, true},
    {"vault.ca_file", check_path, true},
    {"vault.proxy", check_proxy, true},
    {"resync.window", check_hours, true},
    {"security.ca_file", check_path, false},
    {"security.cert_file", check_path, false},
    {"security.key_file", check_path, false},
    {"security.kek_file", check_path, false},
    {"security.revoked_file", check_path, true},
    {"control.listen", check_address, true},
};

}  // namespace

Result<void> check_text(std::string_view name, std::string_view text) {
    if (!is_printable(text)) {
        return bad("holds a control character");
    }
    const auto* const rule = std::ranges::find(rules, name, &TextRule::name);
    if (rule == std::end(rules) || (text.empty() && rule->may_be_empty)) {
        return {};
    }
    return rule->check(text);
}

}  // namespace cw::config
