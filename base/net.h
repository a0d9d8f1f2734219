// TCP sockets as descriptors with RAII, listening and connecting. Readiness is the caller's
// business (io_uring in the reactors, poll(2) in clients).
#pragma once

#include "base/error.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

namespace cw {

// Owns a file descriptor; move-only.
class Fd {
public:
    Fd() = default;
    explicit Fd(int fd) noexcept : fd_(fd) {}
    Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    Fd& operator=(Fd&& other) noexcept {
        std::swap(fd_, other.fd_);
        return *this;
    }
    ~Fd() { reset(); }
    void reset() noexcept;
    [[nodiscard]] int get() const noexcept { return fd_; }
    [[nodiscard]] int release() noexcept { return std::exchange(fd_, -1); }
    [[nodiscard]] bool valid() const noexcept { return fd_ >= 0; }

private:
    int fd_ = -1;
};

struct HostPort {
    std::string host;  // Name, IPv4 or IPv6 (without brackets)
    std::uint16_t port = 0;
};
// "host:port", "[v6]:port", ":port" (all addresses). Errors: usage.
Result<HostPort> parse_host_port(std::string_view text);
std::string to_string(const HostPort& address);

// Non-blocking listener with SO_REUSEADDR, and SO_REUSEPORT when `share`. Port 0 asks the kernel.
Result<Fd> listen_tcp(const HostPort& address, bool share = false);
Result<std::uint16_t> local_port(const Fd& socket);
// "203.0.113.7:51234" of the connected peer; "?" if unknown.
std::string peer_name(int fd);
// Blocking connect bounded by `timeout_ms`; the socket returned is non-blocking, TCP_NODELAY.
// Errors: unreachable.
Result<Fd> connect_tcp(const HostPort& address, int timeout_ms);
// Waits until `fd` is readable (or writable). false on timeout.
Result<bool> wait_fd(int fd, bool for_write, int timeout_ms);

}  // namespace cw
