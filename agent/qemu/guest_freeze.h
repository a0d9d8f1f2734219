// GuestFreeze: asks the guest agent inside a virtual machine to freeze the file systems (with its
// own hooks for applications), and always thaws them again.
//
// Nothing is asked before the guest agent has answered a first question: a freeze that lies unread
// in its channel would be carried out when nobody waits for it any more. While the guest is frozen
// a helper process thaws it when the agent dies or the time is over. Passive: step() never waits
// except in connecting to a local socket. Thread-safety: none; the agent's loop.
#pragma once

#include "agent/qemu/qmp_client.h"

#include <memory>
#include <optional>
#include <string>

namespace cw::agent {

class GuestFreeze {
public:
    struct Options {
        std::string socket;
        std::int64_t answer_ns = 5 * ns_per_s;   // For the first question.
        std::int64_t freeze_ns = 20 * ns_per_s;  // For the freeze, hooks included.
        std::int64_t hold_ns = 10 * ns_per_s;    // Frozen at most; then the helper thaws.
    };
    GuestFreeze(Options options, Clock& clock) : options_(std::move(options)), clock_(clock) {}
    ~GuestFreeze();

    enum class State : std::uint8_t { idle, asking, freezing, frozen, thawing };
    [[nodiscard]] State state() const noexcept { return state_; }
    // Idle only.
    void begin();
    // Idle again without having been frozen: error() says why.
    State step();
    // After frozen: at once when the cut is made.
    void thaw();
    // Errors: guest_unfrozen.
    [[nodiscard]] const std::optional<Error>& error() const noexcept { return error_; }
    // For the point: what ran and how it went.
    [[nodiscard]] const std::string& summary() const noexcept { return summary_; }
    [[nodiscard]] int fd() const noexcept { return client_ ? client_->fd() : -1; }

private:
    void ask(std::string_view command, std::string_view arguments, std::int64_t limit_ns);
    void take(const std::string& answer);
    void give_up(const std::string& why);
    bool start_helper();
    void end_helper();

    const Options options_;
    Clock& clock_;
    State state_ = State::idle;
    std::unique_ptr<QmpClient> client_;
    std::uint64_t number_ = 0;
    Nanos deadline_{}, frozen_at_{};
    int helper_ = -1;
    Fd helper_pipe_;
    std::optional<Error> error_;
    std::string summary_;
};

}  // namespace cw::agent
