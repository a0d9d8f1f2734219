// Taking connections: as many as handshakes can be afforded, and never so many that memory or
// descriptors run out.
#include "base/assert.h"
#include "base/log.h"
#include "ingest/reactor.h"

#include <algorithm>
#include <cerrno>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

namespace cw::ingest {
namespace {

constexpr std::size_t accepts_per_round = 64;

// Without a farewell and without TIME_WAIT: nothing is owed to a connection that was never taken.
void reset_connection(Fd socket) {
    const linger at_once{.l_onoff = 1, .l_linger = 0};
    (void)::setsockopt(socket.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
}

}  // namespace

void Reactor::accept_some() {
    for (std::size_t i = 0; i < accepts_per_round; ++i) {
        if (!refill_handshakes(shared_.clock.boot())) {
            accept_paused_ = true;  // The rest waits in the kernel's queue until the next tick.
            return;
        }
        Fd socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
        if (socket.valid()) {
            handshakes_ -= 1;
            accept_one(std::move(socket));
            continue;
        }
        if (errno == EMFILE || errno == ENFILE) {
            shed_one_connection();
            accept_paused_ = true;
            return;
        }
        if (errno != ECONNABORTED && errno != EINTR) {
            break;
        }
    }
    poller_->arm(listener_.get(), listener_token, false);
}

void Reactor::accept_one(Fd socket) {
    const std::size_t limit = shared_.limits.connections;
    if (connections_.size() >= limit + limit / 8 + 16) {
        hub_.refusals.add(1);
        reset_connection(std::move(socket));
        return;
    }
    const int on = 1;
    (void)::setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    (void)::setsockopt(socket.get(), SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    accepted_.add(1);
    const std::uint64_t token = ++last_token_;
    const bool over_limit = connections_.size() >= limit;
    const TlsContext tls = shared_.tls.current();
    Entry entry{.connection = std::make_unique<Connection>(hub_, tls.get(), std::move(socket),
                                                           token, over_limit)};
    connections_.emplace(token, std::move(entry));
    count_ = connections_.size();
    connections_gauge_.set(static_cast<double>(connections_.size()));
    enqueue(token);
}

// A token bucket: a burst of one second's worth. True while a handshake can be afforded.
bool Reactor::refill_handshakes(Nanos now) {
    const double rate = shared_.limits.handshakes_per_s;
    const double earned = rate * static_cast<double>(now - handshakes_at_) / ns_per_s;
    handshakes_ = std::min(rate, handshakes_ + earned);
    handshakes_at_ = now;
    return handshakes_ >= 1;
}

// Out of descriptors: a connection left in the queue would keep the listener ready for ever, so the
// spare one is given up to take it and turn it away.
void Reactor::shed_one_connection() {
    log_warning("ingest.descriptors_exhausted", {{"connections", connections_.size()}});
    spare_.reset();
    Fd socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (socket.valid()) {
        hub_.refusals.add(1);
        reset_connection(std::move(socket));
    }
    spare_ = Fd(::dup(doorbell_.fd()));
}

}  // namespace cw::ingest
