#include "agent/nbd/nbd_server.h"

#include "agent/nbd/nbd_connection.h"
#include "base/log.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

namespace cw::agent {
namespace {

constexpr int beat_ms = 100, beats_per_look = 10;

Result<Fd> bind_unix(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path) {
        return fail(Errc::usage, "socket path is longer than 107 bytes: " + path);
    }
    std::memcpy(address.sun_path, path.data(), path.size());
    struct stat st{};
    if (::lstat(path.c_str(), &st) == 0) {
        if (!S_ISSOCK(st.st_mode)) {
            return fail(Errc::file_exists, path + " is not a socket");
        }
        ::unlink(path.c_str());  // Left by a killed agent; a live one holds the image's lock.
    }
    Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    // fchmod before bind sets the mode of the name that bind creates: no moment with a wider one.
    if (!socket.valid() || ::fchmod(socket.get(), 0600) != 0 ||
        ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
        ::chmod(path.c_str(), 0600) != 0 || ::listen(socket.get(), 16) != 0) {
        return fail_errno(Errc::io_error, "listen on " + path, errno);
    }
    return socket;
}

bool is_loopback(const std::string& host) {
    in_addr v4{};
    in6_addr v6{};
    if (::inet_pton(AF_INET, host.c_str(), &v4) == 1) {
        return (ntohl(v4.s_addr) >> 24) == 127;
    }
    if (::inet_pton(AF_INET6, host.c_str(), &v6) == 1) {
        return IN6_IS_ADDR_LOOPBACK(&v6);
    }
    return host == "localhost";
}

void set_blocking(int fd) {
    ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) & ~O_NONBLOCK);
    const int one = 1;
    ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one,
                 sizeof one);  // Fails on Unix sockets: no harm.
}

}  // namespace

Result<std::unique_ptr<NbdServer>> NbdServer::listen_unix(const std::string& path,
                                                          std::vector<Disk> disks, Hanging hanging,
                                                          const std::string& guard) {
    CW_TRY_ASSIGN(Fd listener, bind_unix(path));
    std::unique_ptr<NbdServer> server(
        new NbdServer(std::move(listener), path, std::move(disks), hanging));
    if (!guard.empty()) {
        server->guard_ = std::make_unique<NbdGuard>(guard, server->listener_.get());
    }
    server->acceptor_ = std::thread([raw = server.get()] { raw->accept_loop(); });
    return server;
}

Result<std::unique_ptr<NbdServer>> NbdServer::listen_loopback(const HostPort& address,
                                                              std::vector<Disk> disks) {
    if (!is_loopback(address.host)) {
        return fail(Errc::usage, "NBD has no authentication: " + to_string(address) +
                                     " is not a loopback address");
    }
    CW_TRY_ASSIGN(Fd listener, listen_tcp(address));
    CW_TRY_ASSIGN(const std::uint16_t port, local_port(listener));
    std::unique_ptr<NbdServer> server(
        new NbdServer(std::move(listener), "", std::move(disks), Hanging::wait));
    server->port_ = port;
    server->acceptor_ = std::thread([raw = server.get()] { raw->accept_loop(); });
    return server;
}

NbdServer::NbdServer(Fd listener, std::string path, std::vector<Disk> disks, Hanging hanging)
    : listener_(std::move(listener)),
      stop_(::eventfd(0, EFD_CLOEXEC)),
      path_(std::move(path)),
      hanging_(hanging),
      disks_(std::move(disks)) {
    CW_ASSERT(stop_.valid() && !disks_.empty());
    for (const Disk& disk : disks_) {
        exports_.push_back({disk.name, disk.capture->image().size()});
        captures_.push_back(disk.capture);
    }
}

NbdServer::~NbdServer() {
    const std::uint64_t one = 1;
    CW_ASSERT(::write(stop_.get(), &one, sizeof one) == sizeof one);
    acceptor_.join();
    if (!path_.empty()) {
        ::unlink(path_.c_str());
    }
}

void NbdServer::accept_loop() {
    for (;;) {
        std::array<pollfd, 2> waiting{pollfd{listener_.get(), POLLIN, 0},
                                      pollfd{stop_.get(), POLLIN, 0}};
        const int wait_ms = hanging_ == Hanging::close ? beat_ms : -1;
        const bool came = ::poll(waiting.data(), waiting.size(), wait_ms) != 0;
        beat();
        if (!came) {
            continue;
        }
        if ((waiting[1].revents & POLLIN) != 0) {
            break;
        }
        reap(false);
        Fd socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
        if (socket.valid() && connections_.size() < connections_max) {
            admit(std::move(socket));
        }  // Else it is closed at once: the client sees it.
    }
    reap(true);
}

void NbdServer::beat() {
    if (guard_) {
        guard_->beat();
    }
    if (hanging_ == Hanging::close && ++beats_ % beats_per_look == 0) {
        close_hanging();
    }
}

void NbdServer::admit(Fd socket) {
    std::size_t slot = 0;
    while (std::ranges::find(connections_, slot, &Connection::slot) != connections_.end()) {
        ++slot;
    }
    Connection& connection = connections_.emplace_back();
    connection.socket = std::move(socket);
    connection.slot = slot;
    connection.turns = guard_ ? &guard_->turns(slot) : &connection.own_turns;
    if (guard_) {
        guard_->watch(slot, connection.socket.get());
    }
    set_blocking(connection.socket.get());
    ++live_;
    connection.thread = std::thread([this, &connection] {
        const auto ended =
            NbdConnection(connection.socket.get(), exports_, captures_, *connection.turns).run();
        if (!ended) {
            log_info("agent.nbd.ended", {{"error", ended.error()}});
        }
        ::shutdown(connection.socket.get(), SHUT_RDWR);
        connection.done = true;
        --live_;
    });
}

void NbdServer::close_hanging() {
    for (Connection& connection : connections_) {
        const std::uint64_t turns = *connection.turns;
        if (turns % 2 != 0 && turns == connection.turns_before && !connection.done) {
            log_warning("agent.nbd.hanging", {{"turn", turns}});
            ::shutdown(connection.socket.get(), SHUT_RDWR);
        }
        connection.turns_before = turns;
    }
}

void NbdServer::reap(bool all) {
    for (auto it = connections_.begin(); it != connections_.end();) {
        if (all) {
            ::shutdown(it->socket.get(), SHUT_RDWR);
        }
        if (all || it->done) {
            it->thread.join();
            if (guard_) {
                guard_->forget(it->slot);
            }
            it = connections_.erase(it);
        } else {
            ++it;
        }
    }
}

}  // namespace cw::agent
