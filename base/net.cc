#include "base/net.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace cw {
namespace {

using AddressList = std::unique_ptr<addrinfo, decltype(&freeaddrinfo)>;

Result<AddressList> resolve(const HostPort& address, int flags) {
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = flags | AI_NUMERICSERV;
    addrinfo* list = nullptr;
    const std::string port = std::to_string(address.port);
    const char* const host = address.host.empty() ? nullptr : address.host.c_str();
    const int result = getaddrinfo(host, port.c_str(), &hints, &list);
    if (result != 0) {
        return fail(Errc::unreachable, to_string(address) + ": " + gai_strerror(result));
    }
    return AddressList(list, freeaddrinfo);
}

bool set_option(int fd, int level, int name, int value) noexcept {
    return setsockopt(fd, level, name, &value, sizeof value) == 0;
}

Fd make_socket(const addrinfo& address) noexcept {
    return Fd(socket(address.ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
}

// 0 when connected, else errno.
int connect_one(int fd, const addrinfo& address, int timeout_ms) {
    if (connect(fd, address.ai_addr, address.ai_addrlen) == 0) {
        return 0;
    }
    if (errno != EINPROGRESS && errno != EINTR) {
        return errno;
    }
    const Result<bool> ready = wait_fd(fd, true, timeout_ms);
    if (!ready || !*ready) {
        return ETIMEDOUT;
    }
    int error = 0;
    socklen_t size = sizeof error;
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 ? error : errno;
}

// 0 when listening, else errno.
int listen_one(int fd, const addrinfo& address, bool share) {
    set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (share && !set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1)) {
        return errno;
    }
    if (address.ai_family == AF_INET6 && !set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0)) {
        return errno;
    }
    const bool listening =
        bind(fd, address.ai_addr, address.ai_addrlen) == 0 && listen(fd, SOMAXCONN) == 0;
    return listening ? 0 : errno;
}

std::string name_of_address(const sockaddr_storage& address) {
    std::array<char, INET6_ADDRSTRLEN> text{};
    if (address.ss_family == AF_INET) {
        const auto& v4 = reinterpret_cast<const sockaddr_in&>(address);
        if (inet_ntop(AF_INET, &v4.sin_addr, text.data(), text.size()) != nullptr) {
            return to_string(HostPort{text.data(), ntohs(v4.sin_port)});
        }
    } else if (address.ss_family == AF_INET6) {
        const auto& v6 = reinterpret_cast<const sockaddr_in6&>(address);
        // A v4 peer of a dual-stack listener is shown as what it is.
        const bool mapped = IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr) != 0;
        const void* const bytes =
            mapped ? static_cast<const void*>(v6.sin6_addr.s6_addr + 12) : &v6.sin6_addr;
        if (inet_ntop(mapped ? AF_INET : AF_INET6, bytes, text.data(), text.size()) != nullptr) {
            return to_string(HostPort{text.data(), ntohs(v6.sin6_port)});
        }
    }
    return "?";
}

}  // namespace

void Fd::reset() noexcept {
    if (fd_ >= 0) {
        close(std::exchange(fd_, -1));
    }
}

Result<Fd> listen_tcp(const HostPort& address, bool share) {
    CW_TRY_ASSIGN(const AddressList list, resolve(address, AI_PASSIVE));
    // "All addresses" is the IPv6 wildcard, which takes IPv4 too, where there is IPv6.
    int error = EADDRNOTAVAIL;
    for (const int family : {AF_INET6, AF_INET}) {
        for (const addrinfo* at = list.get(); at != nullptr; at = at->ai_next) {
            if (at->ai_family != family) {
                continue;
            }
            Fd fd = make_socket(*at);
            error = fd.valid() ? listen_one(fd.get(), *at, share) : errno;
            if (error == 0) {
                return fd;
            }
        }
    }
    return fail_errno(Errc::unreachable, "listen on " + to_string(address), error);
}

Result<std::uint16_t> local_port(const Fd& socket) {
    sockaddr_storage address{};
    socklen_t size = sizeof address;
    if (getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0) {
        return fail_errno(Errc::io_error, "getsockname", errno);
    }
    if (address.ss_family == AF_INET) {
        return ntohs(reinterpret_cast<const sockaddr_in&>(address).sin_port);
    }
    if (address.ss_family == AF_INET6) {
        return ntohs(reinterpret_cast<const sockaddr_in6&>(address).sin6_port);
    }
    return fail(Errc::io_error, "not an internet socket");
}

std::string peer_name(int fd) {
    sockaddr_storage address{};
    socklen_t size = sizeof address;
    if (getpeername(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
        return "?";
    }
    return name_of_address(address);
}

Result<Fd> connect_tcp(const HostPort& address, int timeout_ms) {
    CW_TRY_ASSIGN(const AddressList list, resolve(address, AI_ADDRCONFIG));
    int addresses = 0;
    for (const addrinfo* at = list.get(); at != nullptr; at = at->ai_next) {
        ++addresses;
    }
    int error = EADDRNOTAVAIL;
    for (const addrinfo* at = list.get(); at != nullptr; at = at->ai_next) {
        Fd fd = make_socket(*at);
        error =
            fd.valid() ? connect_one(fd.get(), *at, std::max(1, timeout_ms / addresses)) : errno;
        if (error == 0) {
            set_option(fd.get(), IPPROTO_TCP, TCP_NODELAY, 1);
            return fd;
        }
    }
    return fail_errno(Errc::unreachable, "connect to " + to_string(address), error);
}

Result<bool> wait_fd(int fd, bool for_write, int timeout_ms) {
    pollfd wanted{fd, static_cast<short>(for_write ? POLLOUT : POLLIN), 0};
    int result = 0;
    do {
        result = poll(&wanted, 1, timeout_ms);
    } while (result < 0 && errno == EINTR);
    if (result < 0) {
        return fail_errno(Errc::io_error, "poll", errno);
    }
    return result > 0;
}

}  // namespace cw
