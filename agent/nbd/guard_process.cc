// The guard: the process that NbdGuard starts.
#include "agent/nbd/guard_channel.h"
#include "agent/nbd/nbd_guard.h"
#include "base/log.h"

#include <csignal>

#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

namespace cw::agent {
namespace {

class Guard {
public:
    ~Guard() {
        if (board_ != nullptr) {
            ::munmap(const_cast<GuardBoard*>(board_), sizeof(GuardBoard));
        }
    }
    bool take(GuardMessage message);
    void look();

private:
    struct Watched {
        Fd socket;
        StandStill still;
    };
    static bool readable(const Fd& socket) {
        pollfd ready{socket.get(), POLLIN, 0};
        return ::poll(&ready, 1, 0) == 1;
    }
    void refuse_waiting() const;

    const GuardBoard* board_ = nullptr;
    Watched listener_;
    std::array<Watched, guard_slots> watched_;
};

bool Guard::take(GuardMessage message) {
    if (message.what == guard_board && message.fd.valid() && board_ == nullptr) {
        struct stat st{};
        if (::fstat(message.fd.get(), &st) != 0 ||
            st.st_size < static_cast<off_t>(sizeof(GuardBoard))) {
            return false;
        }
        void* const at =
            ::mmap(nullptr, sizeof(GuardBoard), PROT_READ, MAP_SHARED, message.fd.get(), 0);
        board_ = at == MAP_FAILED ? nullptr : static_cast<const GuardBoard*>(at);
        return board_ != nullptr;
    }
    if (message.what == guard_listener) {
        listener_ = {std::move(message.fd), {}};
        return true;
    }
    if (message.slot >= guard_slots) {
        return false;
    }
    watched_[message.slot] = {std::move(message.fd), {}};  // None: forget.
    return message.what == guard_watch || message.what == guard_forget;
}

void Guard::look() {
    if (board_ == nullptr) {
        return;
    }
    const std::uint64_t beat = board_->beat;
    for (std::size_t slot = 0; slot < guard_slots; ++slot) {
        Watched& each = watched_[slot];
        if (!each.socket.valid()) {
            continue;
        }
        int unread = 0;
        ::ioctl(each.socket.get(), FIONREAD, &unread);
        const std::uint64_t turns = board_->turns[slot];
        if (each.still.look(beat, turns, turns % 2 != 0 || unread > 0)) {
            ::shutdown(each.socket.get(), SHUT_RDWR);
            each.socket.reset();
            log_warning("agent.guard.cut", {{"slot", slot}, {"turn", turns}, {"unread", unread}});
        }
    }
    if (listener_.socket.valid() && listener_.still.look(beat, 0, readable(listener_.socket))) {
        refuse_waiting();
    }
}

// Who connects to an agent that stands still would wait for its greeting.
void Guard::refuse_waiting() const {
    for (std::size_t i = 0; i < guard_slots && readable(listener_.socket); ++i) {
        const Fd refused(::accept4(listener_.socket.get(), nullptr, nullptr, SOCK_CLOEXEC));
        log_warning("agent.guard.refused", {{"accepted", refused.valid()}});
    }
}

}  // namespace

int run_guard(int channel, Clock& clock) {
    ::close_range(3, ~0U, 0);  // Nothing of the agent's must live longer than the agent.
    for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGPIPE}) {
        ::signal(signal, SIG_IGN);  // It ends with its agent, not before.
    }
    Guard guard;
    Nanos next = clock.boot() + guard_look_ms * ns_per_ms;
    for (;;) {
        const std::int64_t left = next - clock.boot();
        if (left <= 0) {
            guard.look();
            next = clock.boot() + guard_look_ms * ns_per_ms;
            continue;
        }
        pollfd told{channel, POLLIN, 0};
        if (::poll(&told, 1, static_cast<int>((left + ns_per_ms - 1) / ns_per_ms)) <= 0) {
            continue;
        }
        auto message = receive_guard_message(channel);
        if (!message || !guard.take(std::move(*message))) {
            return message ? 1 : 0;
        }
    }
}

}  // namespace cw::agent
