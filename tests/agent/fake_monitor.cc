#include "tests/agent/fake_monitor.h"

#include <cstring>

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

namespace cw::agent::test {

FakeMonitor::FakeMonitor(std::string path, std::string greeting, Answer answer)
    : path_(std::move(path)),
      greeting_(std::move(greeting)),
      answer_(std::move(answer)),
      listener_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    CW_ASSERT(path_.size() < sizeof address.sun_path);
    std::memcpy(address.sun_path, path_.data(), path_.size());
    ::unlink(path_.c_str());
    CW_ASSERT(
        ::bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 &&
        ::listen(listener_.get(), 4) == 0);
    thread_ = std::thread([this] { serve(); });
}

FakeMonitor::~FakeMonitor() {
    stop_ = true;
    thread_.join();
    ::unlink(path_.c_str());
}

std::vector<std::string> FakeMonitor::lines() {
    const std::lock_guard lock(mutex_);
    return lines_;
}

void FakeMonitor::serve() {
    while (!stop_) {
        pollfd waiting{listener_.get(), POLLIN, 0};
        if (::poll(&waiting, 1, 20) > 0) {
            const Fd client(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
            talk(client.get());
        }
    }
}

void FakeMonitor::talk(int client) {
    const auto say = [&](const std::string& text) {
        return ::send(client, text.data(), text.size(), MSG_NOSIGNAL) ==
               static_cast<ssize_t>(text.size());
    };
    std::string in;
    if (!greeting_.empty() && !say(greeting_)) {
        return;
    }
    while (!stop_) {
        pollfd waiting{client, POLLIN, 0};
        if (::poll(&waiting, 1, 20) <= 0) {
            continue;
        }
        std::array<char, 4096> piece;
        const ssize_t n = ::recv(client, piece.data(), piece.size(), 0);
        if (n <= 0) {
            return;
        }
        in.append(piece.data(), static_cast<std::size_t>(n));
        for (std::size_t end = in.find('\n'); end != std::string::npos; end = in.find('\n')) {
            const std::string line = in.substr(0, end);
            in.erase(0, end + 1);
            {
                const std::lock_guard lock(mutex_);
                lines_.push_back(line);
            }
            std::string out = answer_(line);
            for (std::size_t at = out.find("$ID"); at != std::string::npos; at = out.find("$ID")) {
                out.replace(at, 3, number_in(line));
            }
            if (out == "hang up" || !say(out)) {
                return;
            }
        }
    }
}

std::string FakeMonitor::number_in(const std::string& line) {
    const std::size_t at = line.rfind("\"id\":");
    return at == std::string::npos ? "0" : line.substr(at + 5, line.size() - at - 6);
}

}  // namespace cw::agent::test
