#include "agent/qemu/qmp_client.h"

#include "base/log.h"

#include <array>
#include <cerrno>
#include <cstring>

#include <sys/socket.h>
#include <sys/un.h>

namespace cw::agent {
namespace {

constexpr std::size_t read_bytes = 64 * 1024;

Result<Fd> connect_unix(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.empty() || path.size() >= sizeof address.sun_path) {
        return fail(Errc::usage, "socket path is empty or longer than 107 bytes: " + path);
    }
    std::memcpy(address.sun_path, path.data(), path.size());
    Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!socket.valid() ||
        ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
        return fail_errno(Errc::qmp_failed, "connect to " + path, errno);
    }
    return socket;
}

int wait_ms_until(Clock& clock, Nanos deadline) {
    const std::int64_t left = deadline - clock.boot();
    return left <= 0 ? 0 : static_cast<int>((left + ns_per_ms - 1) / ns_per_ms);
}

}  // namespace

Result<std::unique_ptr<QmpClient>> QmpClient::connect(const std::string& path, Dialect dialect,
                                                      Clock& clock, std::int64_t timeout_ns) {
    CW_TRY_ASSIGN(auto client, open(path, dialect, clock));
    CW_TRY(client->greet(dialect, timeout_ns));
    return client;
}

Result<std::unique_ptr<QmpClient>> QmpClient::open(const std::string& path, Dialect dialect,
                                                   Clock& clock) {
    CW_TRY_ASSIGN(Fd socket, connect_unix(path));
    std::unique_ptr<QmpClient> client(new QmpClient(std::move(socket), clock, path));
    if (dialect == Dialect::guest_agent) {
        // What an earlier client left unread has numbers below ours and is dropped.
        client->last_number_ = static_cast<std::uint64_t>(clock.boot()) / ns_per_us;
        client->greeted_ = true;
    }
    return client;
}

Result<void> QmpClient::greet(Dialect dialect, std::int64_t timeout_ns) {
    const Nanos deadline = clock_.boot() + timeout_ns;
    if (dialect == Dialect::guest_agent) {
        const std::string number = std::to_string(last_number_);
        CW_TRY_ASSIGN(const std::string back,
                      execute("guest-sync", R"({"id":)" + number + "}", timeout_ns));
        return back == number ? Result<void>{}
                              : fail(Errc::qmp_failed, path_ + ": guest-sync answered " + back);
    }
    while (!greeted_) {
        const int wait = wait_ms_until(clock_, deadline);
        if (wait == 0) {
            // A monitor serves one client at a time; the next one waits in silence.
            return fail(Errc::qmp_failed, path_ + " says nothing: is another client connected?");
        }
        CW_TRY(pump(wait));
    }
    CW_TRY(execute("qmp_capabilities", "{}", timeout_ns));
    return {};
}

Result<std::string> QmpClient::execute(std::string_view command, std::string_view arguments,
                                       std::int64_t timeout_ns) {
    const Nanos deadline = clock_.boot() + timeout_ns;
    CW_TRY_ASSIGN(const std::uint64_t number, send(command, arguments));
    for (;;) {
        if (auto answer = take_reply(number)) {
            return std::move(*answer);
        }
        const int wait = wait_ms_until(clock_, deadline);
        if (wait == 0) {
            forget(number);
            return fail(Errc::qmp_failed, std::string(command) + ": no answer in time");
        }
        CW_TRY(pump(wait));
    }
}

Result<std::uint64_t> QmpClient::send(std::string_view command, std::string_view arguments) {
    const std::uint64_t number = ++last_number_;
    std::string line = R"({"execute":")" + std::string(command) + R"(","arguments":)";
    line += std::string(arguments) + R"(,"id":)" + std::to_string(number) + "}\n";
    CW_TRY(write_all(line, clock_.boot() + patience_ns));
    asked_.emplace(number, command);
    return number;
}

std::optional<Result<std::string>> QmpClient::take_reply(std::uint64_t number) {
    const auto it = answered_.find(number);
    if (it == answered_.end()) {
        return std::nullopt;
    }
    auto answer = std::move(it->second);
    answered_.erase(it);
    return answer;
}

void QmpClient::forget(std::uint64_t number) {
    asked_.erase(number);
    answered_.erase(number);
}

Result<void> QmpClient::pump(int wait_ms) {
    CW_TRY(wait_fd(socket_.get(), false, wait_ms));
    // Bounded work per call, whatever the monitor says.
    for (int i = 0; i < 64; ++i) {
        std::array<std::byte, read_bytes> piece;
        const ssize_t n = ::recv(socket_.get(), piece.data(), piece.size(), 0);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            break;
        }
        if (n < 0) {
            return fail_errno(Errc::qmp_failed, "receive from " + path_, errno);
        }
        if (n == 0) {
            return fail(Errc::qmp_failed, path_ + " closed the connection");
        }
        lines_.feed(Bytes(piece).first(static_cast<std::size_t>(n)));
        for (;;) {
            CW_TRY_ASSIGN(const auto line, lines_.next());
            if (!line) {
                break;
            }
            CW_TRY(take_line(*line));
        }
    }
    return {};
}

Result<void> QmpClient::take_line(const std::string& line) {
    if (line.empty()) {
        return {};
    }
    CW_TRY_ASSIGN(QmpMessage message, parse_qmp_message(line));
    using Kind = QmpMessage::Kind;
    if (message.kind == Kind::greeting) {
        greeted_ = true;
        return {};
    }
    if (message.kind == Kind::event) {
        if (events_.size() == events_max) {
            events_.pop_front();
        }
        events_.push_back({std::move(message.name), std::move(message.text)});
        return {};
    }
    const auto asked = asked_.find(message.id);
    if (asked == asked_.end()) {
        return {};  // Given up meanwhile, or of an earlier client.
    }
    if (message.kind == Kind::reply) {
        answered_.emplace(message.id, std::move(message.text));
    } else {
        answered_.emplace(message.id,
                          fail(Errc::qmp_failed, asked->second + ": " + message.name + ": " +
                                                     escape_for_display(message.text, 512)));
    }
    asked_.erase(asked);
    return {};
}

std::optional<QmpEvent> QmpClient::next_event() {
    if (events_.empty()) {
        return std::nullopt;
    }
    QmpEvent event = std::move(events_.front());
    events_.pop_front();
    return event;
}

Result<void> QmpClient::write_all(std::string_view text, Nanos deadline) {
    while (!text.empty()) {
        const ssize_t n = ::send(socket_.get(), text.data(), text.size(), MSG_NOSIGNAL);
        if (n > 0) {
            text.remove_prefix(static_cast<std::size_t>(n));
            continue;
        }
        if (n < 0 && errno == EINTR) {
            continue;
        }
        const int wait = wait_ms_until(clock_, deadline);
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK) && wait > 0) {
            CW_TRY(wait_fd(socket_.get(), true, wait));
            continue;
        }
        return fail_errno(Errc::qmp_failed, "send to " + path_, errno);
    }
    return {};
}

}  // namespace cw::agent
