// QmpClient: commands to QEMU's monitor (QMP) or to the guest agent inside the machine, over a Unix
// socket.
//
// execute() waits, at most for its timeout; send() and take_reply() do not. Replies are matched by
// number, so an answer that comes after its command was given up is dropped. Thread-safety: none.
#pragma once

#include "agent/qemu/qmp_message.h"
#include "base/clock.h"
#include "base/net.h"

#include <deque>
#include <map>
#include <memory>
#include <set>

namespace cw::agent {

struct QmpEvent {
    std::string name;
    std::string data;  // JSON
};

class QmpClient {
public:
    enum class Dialect : std::uint8_t {
        monitor,      // Greets; commands are "execute".
        guest_agent,  // Silent; may hold what an earlier client left.
    };
    static constexpr std::int64_t patience_ns = 20 * ns_per_s;
    static constexpr std::size_t events_max = 1024;

    // Connects and agrees on capabilities. Errors: qmp_failed.
    static Result<std::unique_ptr<QmpClient>> connect(const std::string& path, Dialect dialect,
                                                      Clock& clock,
                                                      std::int64_t timeout_ns = patience_ns);

    // Connects and asks nothing yet.
    static Result<std::unique_ptr<QmpClient>> open(const std::string& path, Dialect dialect,
                                                   Clock& clock);

    // The reply's data as JSON. `arguments`: a JSON object. Errors: qmp_failed, with the command
    // and QEMU's own words.
    Result<std::string> execute(std::string_view command, std::string_view arguments = "{}",
                                std::int64_t timeout_ns = patience_ns);

    // Sends without waiting for the answer; returns its number.
    Result<std::uint64_t> send(std::string_view command, std::string_view arguments = "{}");
    // The answer to `number`, once; nullopt while there is none.
    std::optional<Result<std::string>> take_reply(std::uint64_t number);
    // Nobody will ask for this answer any more.
    void forget(std::uint64_t number);

    // Reads what has come, waiting up to `wait_ms` for the first of it. Errors: qmp_failed: the
    // connection is over.
    Result<void> pump(int wait_ms);
    // The oldest event not taken yet. When nobody takes them only the newest 1,024 are kept.
    std::optional<QmpEvent> next_event();
    [[nodiscard]] int fd() const noexcept { return socket_.get(); }

private:
    QmpClient(Fd socket, Clock& clock, std::string path)
        : socket_(std::move(socket)), clock_(clock), path_(std::move(path)) {}
    Result<void> greet(Dialect dialect, std::int64_t timeout_ns);
    Result<void> write_all(std::string_view text, Nanos deadline);
    Result<void> take_line(const std::string& line);

    Fd socket_;
    Clock& clock_;
    std::string path_;
    QmpLines lines_;
    bool greeted_ = false;
    std::uint64_t last_number_ = 0;
    std::map<std::uint64_t, std::string> asked_;  // Number and command, not answered yet.
    std::map<std::uint64_t, Result<std::string>> answered_;
    std::deque<QmpEvent> events_;
};

}  // namespace cw::agent
