// GuestFreeze: asks the guest agent inside a virtual machine to freeze the file systems (with its
// own hooks for applications), and always thaws them again.
//
// Nothing is asked before the guest agent has answered a first question: a freeze that lies unread
// in its channel would be carried out when nobody waits for it any more. While the guest is frozen
// a helper process thaws it when the agent dies or the time is over. A thaw that was not answered,
// or could not be sent, is sent again over a new channel until one is: nothing else would ever thaw
// the guest.
//
// That the guest was frozen for a cut is known only when it has been thawed: neither may the helper
// have thawed it before (the agent may have stood still for longer than the limit, its host may
// have slept), nor anybody within the guest, of which the thaw's answer tells by its count. Until
// then error() may still come. Passive: step() never waits except in connecting to a local socket.
// Thread-safety: none; the agent's loop.
#pragma once

#include "agent/qemu/qmp_client.h"
#include "agent/scan/source_freeze.h"

#include <memory>
#include <optional>
#include <string>

namespace cw::agent {

class GuestFreeze final : public SourceFreeze {
public:
    struct Options {
        std::string socket;
        std::int64_t answer_ns = 5 * ns_per_s;   // For the first question.
        std::int64_t freeze_ns = 20 * ns_per_s;  // For the freeze, hooks included.
        std::int64_t hold_ns = 10 * ns_per_s;    // Frozen at most; then the helper thaws.
        std::int64_t retry_ns = ns_per_s;        // From a thaw that failed to the next; doubles.
    };
    GuestFreeze(Options options, Clock& clock) : options_(std::move(options)), clock_(clock) {}
    ~GuestFreeze() override;

    [[nodiscard]] State state() const noexcept override { return state_; }
    void begin() override;
    State step() override;
    void thaw() override;
    // Errors: guest_unfrozen.
    [[nodiscard]] const std::optional<Error>& error() const noexcept override { return error_; }
    [[nodiscard]] std::optional<Error> hindrance() const override;
    [[nodiscard]] Errc unfrozen() const noexcept override { return Errc::guest_unfrozen; }
    [[nodiscard]] std::string summary() const override { return summary_; }
    [[nodiscard]] int fd() const noexcept override { return client_ ? client_->fd() : -1; }

private:
    void ask(std::string_view command, std::string_view arguments, std::int64_t limit_ns);
    void take(const std::string& answer);
    void take_frozen(const std::string& answer);
    void take_thawed(const std::string& answer);
    void give_up(const std::string& why);
    void thaw_again();
    void withdraw(const std::string& why);
    [[nodiscard]] bool late() const { return clock_.boot() - deadline_ >= 0; }
    bool start_helper();
    // False: it has thawed the guest.
    bool end_helper();

    const Options options_;
    Clock& clock_;
    State state_ = State::idle;
    std::unique_ptr<QmpClient> client_;
    std::uint64_t number_ = 0;
    Nanos deadline_{}, frozen_at_{}, thaw_begun_{}, thaw_again_at_{};
    std::int64_t thaw_pause_ns_ = 0;  // More than 0: a thaw failed, for this reason.
    std::string thaw_trouble_;
    Nanos helper_until_{};      // Not before the helper's own limit ends; it may a little later.
    std::uint64_t frozen_ = 0;  // File systems.
    int helper_ = -1;
    Fd helper_pipe_;
    std::optional<Error> error_;
    std::string summary_;
};

}  // namespace cw::agent
