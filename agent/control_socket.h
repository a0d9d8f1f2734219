// The agent's control socket: a Unix socket, mode 0600, in the state directory. One line of JSON
// asks, one line answers; a reply may come later (a point that is waited for).
//
// ControlServer is driven by the agent's loop and never waits; at most 8 clients, lines <= 4 KiB.
#pragma once

#include "base/net.h"

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <vector>

struct pollfd;

namespace cw::agent {

class ControlServer {
public:
    static constexpr std::size_t clients_max = 8, line_bytes_max = 4096;
    // Answers through reply() with the same client number, now or later.
    using Handler = std::function<void(std::uint64_t client, const std::string& line)>;

    // Takes the place of a socket that nobody listens on. Errors: target_unsafe when an agent
    // already runs on this directory; io_error.
    static Result<std::unique_ptr<ControlServer>> listen(const std::string& path, Handler handler);
    ~ControlServer();

    // For the loop's poll(2): appends the descriptors to watch; serve() after it.
    void watch(std::vector<pollfd>& out) const;
    void serve();
    // A client that has gone is ignored. The connection is closed after it.
    void reply(std::uint64_t client, const std::string& line);

private:
    struct Client {
        std::uint64_t number = 0;
        Fd socket;
        std::string in;
        bool asked = false;
    };
    ControlServer(Fd listener, std::string path, Handler handler);
    bool read_from(Client& client);

    Fd listener_;
    std::string path_;
    Handler handler_;
    std::list<Client> clients_;
    std::uint64_t next_ = 1;
};

// Sends one line, waits for one. Errors: unreachable (no agent runs there), cancelled (timeout).
Result<std::string> ask_agent(const std::string& path, const std::string& line, int timeout_ms);

}  // namespace cw::agent
