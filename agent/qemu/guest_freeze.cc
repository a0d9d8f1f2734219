#include "agent/qemu/guest_freeze.h"

#include "base/log.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

namespace cw::agent {
namespace {

constexpr std::int64_t thaw_pause_max_ns = 30 * ns_per_s;
constexpr std::string_view thaw_line = "{\"execute\":\"guest-fsfreeze-thaw\"}\n";

// The helper. Only async-signal-safe calls: it was forked from a process with threads.
[[noreturn]] void hold(int guest, int pipe, int limit_ms) {
    pollfd told{pipe, POLLIN, 0};
    ::poll(&told, 1, limit_ms);
    char word = 0;
    if (::recv(pipe, &word, 1, MSG_DONTWAIT) != 1) {  // The agent died, or the time is over.
        (void)::send(guest, thaw_line.data(), thaw_line.size(), MSG_NOSIGNAL);
        ::_exit(1);
    }
    ::_exit(0);
}

// How many file systems an answer counts; an answer that is no number counts none.
std::uint64_t count_in(const std::string& answer) {
    std::uint64_t count = 0;
    std::from_chars(answer.data(), answer.data() + answer.size(), count);
    return count;
}

}  // namespace

GuestFreeze::~GuestFreeze() {
    const bool owes = state_ == State::freezing || state_ == State::frozen || !client_;
    if (owes && state_ != State::idle) {
        if (!client_) {
            auto client = QmpClient::open(options_.socket, QmpClient::Dialect::guest_agent, clock_);
            client_ = client ? std::move(*client) : nullptr;
        }
        if (client_) {
            (void)client_->send("guest-fsfreeze-thaw");
        }
    }
    (void)end_helper();
}

void GuestFreeze::begin() {
    CW_ASSERT(state_ == State::idle);
    error_.reset();
    summary_.clear();
    frozen_ = 0;
    thaw_pause_ns_ = 0;
    auto client = QmpClient::open(options_.socket, QmpClient::Dialect::guest_agent, clock_);
    if (!client) {
        error_ = Error{Errc::guest_unfrozen, to_string(client.error())};
        return;
    }
    client_ = std::move(*client);
    state_ = State::asking;
    ask("guest-ping", "{}", options_.answer_ns);
}

void GuestFreeze::ask(std::string_view command, std::string_view arguments, std::int64_t limit_ns) {
    deadline_ = clock_.boot() + limit_ns;
    if (const auto sent = client_->send(command, arguments)) {
        number_ = *sent;
    } else {
        give_up(to_string(sent.error()));
    }
}

GuestFreeze::State GuestFreeze::step() {
    if (state_ == State::idle || state_ == State::frozen) {
        if (state_ == State::frozen && late()) {
            withdraw("nobody made the cut in time");
            thaw();
        }
        return state_;
    }
    if (!client_) {
        thaw_again();
        return state_;
    }
    if (const auto pumped = client_->pump(0); !pumped) {
        give_up(to_string(pumped.error()));
        return state_;
    }
    while (client_->next_event()) {
    }
    if (const auto answer = client_->take_reply(number_)) {
        if (*answer) {
            take(**answer);
        } else {
            give_up(answer->error().detail);
        }
    } else if (late()) {
        give_up(state_ == State::asking ? "qemu-guest-agent does not answer"
                                        : "qemu-guest-agent did not answer in time");
    }
    return state_;
}

void GuestFreeze::take(const std::string& answer) {
    if (state_ == State::asking) {
        if (!start_helper()) {
            give_up("the helper that would thaw it cannot be started");
            return;
        }
        state_ = State::freezing;
        frozen_at_ = clock_.boot();
        ask("guest-fsfreeze-freeze", "{}", options_.freeze_ns);
    } else if (state_ == State::freezing) {
        take_frozen(answer);
    } else {
        take_thawed(answer);
    }
}

void GuestFreeze::take_frozen(const std::string& answer) {
    if (late()) {  // It may have lain here for long: we stood still, and the helper did not.
        give_up("the answer to the freeze was seen too late");
        return;
    }
    state_ = State::frozen;
    frozen_at_ = clock_.boot();
    deadline_ = std::min(frozen_at_ + options_.hold_ns, helper_until_);
    frozen_ = count_in(answer);
    summary_ = "guest-fsfreeze-freeze: " + answer + " file systems";
    if (frozen_ == 0) {
        withdraw("the guest has no file system to freeze");
        thaw();
    }
}

void GuestFreeze::take_thawed(const std::string& answer) {
    log_info("agent.guest.thawed",
             {{"file_systems", answer}, {"frozen_ms", (clock_.boot() - frozen_at_) / ns_per_ms}});
    if (count_in(answer) < frozen_) {
        withdraw("of " + std::to_string(frozen_) + " frozen file systems " + answer +
                 " were still frozen at the thaw");
    }
    state_ = State::idle;
    client_.reset();
}

void GuestFreeze::thaw() {
    CW_ASSERT(state_ == State::frozen);
    const bool over = late();
    state_ = State::thawing;
    thaw_begun_ = clock_.boot();
    ask("guest-fsfreeze-thaw", "{}", options_.freeze_ns);
    if (!end_helper() || over) {
        withdraw("it was frozen for longer than its limit before the cut was made");
    }
}

std::optional<Error> GuestFreeze::hindrance() const {
    const std::int64_t owed_ns = clock_.boot() - thaw_begun_;
    if (state_ != State::thawing || (thaw_pause_ns_ == 0 && owed_ns < proof_limit_ns)) {
        return std::nullopt;
    }
    return Error{Errc::guest_unfrozen,
                 "the guest has not answered the thaw of the freeze before for " +
                     std::to_string(owed_ns / ns_per_s) + " s" +
                     (thaw_pause_ns_ == 0 ? "" : " (" + thaw_trouble_ + ")") +
                     "; the agent goes on asking it to thaw, and freezes it again only then"};
}

void GuestFreeze::withdraw(const std::string& why) {
    if (!error_) {
        error_ = Error{Errc::guest_unfrozen, why};
    }
}

void GuestFreeze::give_up(const std::string& why) {
    log_warning("agent.guest.unfrozen", {{"reason", why}});
    withdraw(why);
    if (state_ == State::freezing) {
        // It may still freeze: the thaw behind it in the channel undoes that.
        state_ = State::thawing;
        thaw_begun_ = clock_.boot();
        ask("guest-fsfreeze-thaw", "{}", options_.freeze_ns);
        (void)end_helper();
        return;
    }
    (void)end_helper();
    client_.reset();
    if (state_ == State::thawing) {
        thaw_pause_ns_ =
            std::max(options_.retry_ns, std::min(2 * thaw_pause_ns_, thaw_pause_max_ns));
        thaw_trouble_ = why;
        log_error("agent.guest.thaw", {{"reason", why}, {"again_ms", thaw_pause_ns_ / ns_per_ms}});
        thaw_again_at_ = clock_.boot() + thaw_pause_ns_;
    } else {
        state_ = State::idle;
    }
}

void GuestFreeze::thaw_again() {
    if (clock_.boot() - thaw_again_at_ < 0) {
        return;
    }
    auto client = QmpClient::open(options_.socket, QmpClient::Dialect::guest_agent, clock_);
    if (!client) {
        give_up(to_string(client.error()));
        return;
    }
    client_ = std::move(*client);
    ask("guest-fsfreeze-thaw", "{}", options_.freeze_ns);
}

bool GuestFreeze::start_helper() {
    std::array<int, 2> ends{};
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) {
        return false;
    }
    Fd ours(ends[0]), theirs(ends[1]);
    const std::int64_t limit_ns = options_.freeze_ns + options_.hold_ns;
    helper_until_ = clock_.boot() + limit_ns;
    const int pid = ::fork();
    if (pid < 0) {
        return false;
    }
    if (pid == 0) {
        ::close(ours.get());  // Else its own copy would keep the pipe open.
        hold(client_->fd(), theirs.get(), static_cast<int>(limit_ns / ns_per_ms));
    }
    helper_ = pid;
    helper_pipe_ = std::move(ours);
    return true;
}

// Our own thaw is on its way, or nothing was asked.
bool GuestFreeze::end_helper() {
    if (helper_ < 0) {
        return true;
    }
    const char word = 1;
    (void)::send(helper_pipe_.get(), &word, 1, MSG_NOSIGNAL);
    helper_pipe_.reset();
    int status = 0;
    ::waitpid(std::exchange(helper_, -1), &status, 0);
    return !WIFEXITED(status) || WEXITSTATUS(status) == 0;
}

}  // namespace cw::agent
