// The text of addresses; sockets are in net.cc.
#include "base/net.h"

#include <charconv>

namespace cw {
namespace {

constexpr std::string_view name_characters =
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._";
// With a zone: fe80::1%eth0.
constexpr std::string_view v6_characters =
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._:%";

bool consists_of(std::string_view text, std::string_view characters) noexcept {
    return text.find_first_not_of(characters) == std::string_view::npos;
}

}  // namespace

Result<HostPort> parse_host_port(std::string_view text) {
    const std::size_t colon = text.rfind(':');
    if (colon == std::string_view::npos) {
        return fail(Errc::usage, "an address is written host:port");
    }
    std::string_view host = text.substr(0, colon);
    const std::string_view port_text = text.substr(colon + 1);
    if (host.starts_with('[') && host.ends_with(']')) {
        host = host.substr(1, host.size() - 2);
        if (host.find(':') == std::string_view::npos || !consists_of(host, v6_characters)) {
            return fail(Errc::usage, "only an IPv6 address is written in brackets");
        }
    } else if (!consists_of(host, name_characters)) {
        return fail(Errc::usage, "a host is a name, an IPv4 address or [an IPv6 address]");
    }
    if (host.size() > 253) {
        return fail(Errc::usage, "a host name has at most 253 characters");
    }
    std::uint16_t port = 0;
    const char* const end = port_text.data() + port_text.size();
    const auto [stop, error] = std::from_chars(port_text.data(), end, port);
    if (error != std::errc{} || stop != end) {
        return fail(Errc::usage, "a port is a number from 0 to 65535");
    }
    return HostPort{std::string(host), port};
}

std::string to_string(const HostPort& address) {
    const bool v6 = address.host.find(':') != std::string::npos;
    const std::string host = v6 ? '[' + address.host + ']' : address.host;
    return host + ':' + std::to_string(address.port);
}

}  // namespace cw
