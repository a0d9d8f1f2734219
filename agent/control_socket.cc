#include "agent/control_socket.h"

#include "base/assert.h"

#include <cerrno>
#include <cstring>
#include <utility>

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

namespace cw::agent {
namespace {

constexpr std::size_t answer_bytes_max = 4 * 1024 * 1024;

Result<sockaddr_un> address_of(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path) {
        return fail(Errc::usage, "socket path is longer than 107 bytes: " + path);
    }
    std::memcpy(address.sun_path, path.data(), path.size());
    return address;
}

Result<Fd> connect_unix(const std::string& path) {
    CW_TRY_ASSIGN(const sockaddr_un address, address_of(path));
    Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!socket.valid() ||
        ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
        return fail_errno(Errc::unreachable, "no agent answers on " + path, errno);
    }
    return socket;
}

bool send_all(int socket, std::string_view text) {
    while (!text.empty()) {
        const ssize_t n = ::send(socket, text.data(), text.size(), MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return false;
        }
        text.remove_prefix(static_cast<std::size_t>(n));
    }
    return true;
}

}  // namespace

Result<std::unique_ptr<ControlServer>> ControlServer::listen(const std::string& path,
                                                             Handler handler) {
    CW_TRY_ASSIGN(const sockaddr_un address, address_of(path));
    if (connect_unix(path)) {
        return fail(Errc::target_unsafe, "an agent already runs on " + path);
    }
    ::unlink(path.c_str());
    Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    // The mode of the socket is the mode of the name that bind makes.
    if (!socket.valid() || ::fchmod(socket.get(), 0600) != 0 ||
        ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
        ::listen(socket.get(), 8) != 0) {
        return fail_errno(Errc::io_error, "listen on " + path, errno);
    }
    return std::unique_ptr<ControlServer>(
        new ControlServer(std::move(socket), path, std::move(handler)));
}

ControlServer::ControlServer(Fd listener, std::string path, Handler handler)
    : listener_(std::move(listener)), path_(std::move(path)), handler_(std::move(handler)) {}

ControlServer::~ControlServer() {
    ::unlink(path_.c_str());
}

void ControlServer::watch(std::vector<pollfd>& out) const {
    out.push_back({listener_.get(), POLLIN, 0});
    for (const Client& client : clients_) {
        out.push_back({client.socket.get(), POLLIN, 0});
    }
}

void ControlServer::serve() {
    for (;;) {
        Fd socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
        if (!socket.valid()) {
            break;
        }
        if (clients_.size() < clients_max) {
            clients_.push_back({next_++, std::move(socket), {}, false});
        }
    }
    std::vector<std::pair<std::uint64_t, std::string>> asked;
    for (auto it = clients_.begin(); it != clients_.end();) {
        const bool keep = read_from(*it);
        const std::size_t end = it->in.find('\n');
        if (keep && !it->asked && end != std::string::npos) {
            it->asked = true;
            asked.emplace_back(it->number, it->in.substr(0, end));
        }
        it = keep ? std::next(it) : clients_.erase(it);
    }
    for (const auto& [client, line] : asked) {
        handler_(client, line);
    }
}

// False: the client is gone or says too much.
bool ControlServer::read_from(Client& client) {
    std::array<char, 1024> piece;
    for (;;) {
        const ssize_t n = ::recv(client.socket.get(), piece.data(), piece.size(), 0);
        if (n < 0) {
            return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
        }
        if (n == 0 || client.in.size() + static_cast<std::size_t>(n) > line_bytes_max) {
            return false;
        }
        client.in.append(piece.data(), static_cast<std::size_t>(n));
    }
}

void ControlServer::reply(std::uint64_t client, const std::string& line) {
    for (auto it = clients_.begin(); it != clients_.end(); ++it) {
        if (it->number != client) {
            continue;
        }
        // An answer is far smaller than a socket's buffer times two; a client that does not read
        // gets a short wait and then nothing.
        const timeval limit{1, 0};
        ::setsockopt(it->socket.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
        ::fcntl(it->socket.get(), F_SETFL, 0);
        (void)send_all(it->socket.get(), line + "\n");
        clients_.erase(it);
        return;
    }
}

Result<std::string> ask_agent(const std::string& path, const std::string& line, int timeout_ms) {
    CW_TRY_ASSIGN(const Fd socket, connect_unix(path));
    if (!send_all(socket.get(), line + "\n")) {
        return fail_errno(Errc::unreachable, "ask the agent", errno);
    }
    std::string answer;
    while (answer.find('\n') == std::string::npos) {
        CW_TRY_ASSIGN(const bool ready, wait_fd(socket.get(), false, timeout_ms));
        if (!ready) {
            return fail(Errc::cancelled, "the agent did not answer in time");
        }
        std::array<char, 4096> piece;
        const ssize_t n = ::recv(socket.get(), piece.data(), piece.size(), 0);
        if (n <= 0 || answer.size() > answer_bytes_max) {
            return fail(Errc::unreachable, "the agent closed the control connection");
        }
        answer.append(piece.data(), static_cast<std::size_t>(n));
    }
    answer.resize(answer.find('\n'));
    return answer;
}

}  // namespace cw::agent
