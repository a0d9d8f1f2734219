#include "ingest/connection.h"

#include "base/assert.h"
#include "base/log.h"

#include <algorithm>
#include <array>
#include <cerrno>

#include <openssl/err.h>
#include <sys/socket.h>

namespace cw::ingest {
namespace {

// Measured best for a receiver: one system call per 64 KiB of records instead of two per record.
constexpr std::size_t read_buffer_bytes = 64 * kib;
constexpr std::int64_t linger_ns = 2 * ns_per_s;
constexpr std::size_t linger_reads = 64;
constexpr std::int64_t us_per_s = 1'000'000;
constexpr std::int64_t expiry_soon_s = 7 * 86'400;

}  // namespace

bool show_expiry(Conditions& conditions, const std::string& subject, std::int64_t left_s) {
    const bool soon = left_s < expiry_soon_s;
    if (soon) {
        conditions.raise(
            Errc::certificate_expired, subject,
            left_s > 0 ? "expires in " + std::to_string(left_s / 3600) + " h" : "has expired");
    } else {
        conditions.clear(Errc::certificate_expired, subject);
    }
    return soon;
}

Connection::Connection(Hub& hub, SSL_CTX* tls, Fd socket, std::uint64_t token, bool over_limit)
    : hub_(hub),
      socket_(std::move(socket)),
      ssl_(SSL_new(tls), &SSL_free),
      token_(token),
      over_limit_(over_limit),
      peer_(peer_name(socket_.get())),
      revocations_seen_(hub.revoked != nullptr ? hub.revoked->generation() : 0),
      since_(hub.session.clock.boot()),
      last_byte_(since_) {
    CW_ASSERT(ssl_ && SSL_set_fd(ssl_.get(), socket_.get()) == 1);
    // Buffers of idle and of not yet authenticated connections go back to the heap.
    SSL_set_mode(ssl_.get(), SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                                 SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_set_accept_state(ssl_.get());
}

Connection::~Connection() = default;

Connection::Turn Connection::turn(std::size_t byte_budget) {
    Turn turn;
    if (stage_ == Stage::handshake) {
        handshake(turn);
    }
    if (stage_ == Stage::head) {
        read_head(turn);
    }
    std::size_t budget = byte_budget;
    if (stage_ == Stage::frames) {
        read_frames(turn, budget);
    }
    if (stage_ == Stage::frames || stage_ == Stage::last_words) {
        write_output(turn);
    }
    if (stage_ == Stage::linger) {
        linger(turn);
    }
    turn.closed = stage_ == Stage::closed;
    return turn;
}

void Connection::enter(Stage stage) {
    stage_ = stage;
    since_ = hub_.session.clock.boot();
}

void Connection::handshake(Turn& turn) {
    ERR_clear_error();
    const int result = SSL_do_handshake(ssl_.get());
    if (result == 1) {
        last_byte_ = hub_.session.clock.boot();
        certificate_ends_s_ = peer_expires_at_s(ssl_.get());
        enter(Stage::head);
        return;
    }
    const int why = SSL_get_error(ssl_.get(), result);
    if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE) {
        (why == SSL_ERROR_WANT_READ ? turn.want_read : turn.want_write) = true;
        return;
    }
    hub_.refusals.add(1);
    const Error error = tls_error("handshake");  // Also empties the queue.
    if (hub_.may_log()) {
        log_warning("ingest.tls.refused", {{"peer", peer_}, {"error", error}});
    }
    // With TLS 1.3 the peer may have sent its head already: the alert says why, a reset would not.
    (void)::shutdown(socket_.get(), SHUT_WR);
    enter(Stage::linger);
}

void Connection::read_head(Turn& turn) {
    while (stage_ == Stage::head) {
        const Result<std::optional<std::size_t>> end = wire::find_head_end(head_);
        if (!end || end->has_value()) {
            answer(end ? **end : 0);
            return;
        }
        const std::size_t at = head_.size();
        head_.resize(std::min(at + 2048, wire::http_head_bytes_max));
        const std::size_t got = receive(MutableBytes(head_).subspan(at), turn);
        head_.resize(at + got);
        if (got == 0) {
            return;
        }
    }
}

// `head_bytes` of head_ are a whole head; 0: it is malformed.
void Connection::answer(std::size_t head_bytes) {
    GateState state;
    state.identity = peer_identity(ssl_.get());
    state.replication = speaks_replication(ssl_.get());
    state.draining = hub_.draining;
    state.full = over_limit_;
    state.retry_after_s = hub_.session.limits.retry_after_s;
    // A client waits for the 101: bytes behind its head are not frames but smuggling.
    const bool whole = head_bytes != 0 && head_bytes == head_.size();
    const Result<wire::HttpRequest> request =
        whole ? wire::parse_request(head_) : fail(Errc::frame_malformed, "HTTP head");
    if (state.identity && state.identity->role == Role::machine && request &&
        request->path == wire::upgrade_path) {
        const auto attempt = hub_.session.table.attempt(MachineId{state.identity->id},
                                                        hub_.session.limits.attempts_burst);
        state.clashing = attempt == SessionTable::Attempt::clashing;
        state.too_often = attempt == SessionTable::Attempt::too_often;
    }
    const GateAnswer answer = answer_head(request, state);
    const Bytes bytes = as_bytes(answer.bytes);
    head_ = ByteVector{};
    if (answer.status != 101) {
        if (answer.status != 200) {
            hub_.refusals.add(1);
            if (hub_.may_log()) {
                log_info("ingest.http.refused", {{"peer", peer_}, {"status", answer.status}});
            }
        }
        answer_.assign(bytes.begin(), bytes.end());
        enter(Stage::last_words);
        return;
    }
    session_ = std::make_unique<Session>(hub_.session, *state.identity, peer_, token_);
    session_->output().assign(bytes.begin(), bytes.end());
    reader_ = std::make_unique<FrameReader>(hub_.pool);
    SSL_set_default_read_buffer_len(ssl_.get(), read_buffer_bytes);
    SSL_set_read_ahead(ssl_.get(), 1);
    enter(Stage::frames);
}

void Connection::read_frames(Turn& turn, std::size_t& budget) {
    bool delivered = hub_.ports.deliver(*session_);
    while (delivered && session_->ready()) {
        if (reader_->complete()) {
            delivered = deliver_frame();
            continue;
        }
        if (budget == 0) {
            turn.again = true;
            return;
        }
        const MutableBytes target = reader_->target();
        if (target.empty()) {
            turn.memory = true;
            break;
        }
        const bool first = reader_->between_frames();
        const std::size_t got = receive(target.first(std::min(target.size(), budget)), turn);
        if (got == 0) {
            return;
        }
        if (first) {
            frame_since_ = last_byte_;
            frame_bytes_ = 0;
        }
        budget -= got;
        frame_bytes_ += got;
        Result<void> sound = reader_->filled(got);
        if (sound && reader_->header() && !header_checked_) {
            header_checked_ = true;
            sound = session_->check_header(*reader_->header());
        }
        if (!sound) {
            session_->on_error(sound.error());
        }
    }
    // Not the peer's fault: the frame under way starts to count again when reading goes on.
    frame_since_ = hub_.session.clock.boot();
    frame_bytes_ = 0;
}

bool Connection::deliver_frame() {
    header_checked_ = false;
    session_->on_frame(reader_->take());
    return hub_.ports.deliver(*session_);
}

std::size_t Connection::receive(MutableBytes target, Turn& turn) {
    ERR_clear_error();
    std::size_t got = 0;
    const int result = SSL_read_ex(ssl_.get(), target.data(), target.size(), &got);
    if (result == 1) {
        last_byte_ = hub_.session.clock.boot();
        return got;
    }
    note_want(result, turn);
    return 0;
}

void Connection::note_want(int ssl_result, Turn& turn) {
    switch (SSL_get_error(ssl_.get(), ssl_result)) {
        case SSL_ERROR_WANT_READ:
            turn.want_read = true;
            return;
        case SSL_ERROR_WANT_WRITE:
            turn.want_write = true;
            return;
        default:
            break;
    }
    // Closed, reset or broken records: nothing more can be said over this TLS connection.
    if (hub_.may_log()) {
        Error error = tls_error("connection");
        error.code = Errc::connection_lost;
        log_info("ingest.connection.lost", {{"peer", peer_}, {"error", error}});
    }
    ERR_clear_error();
    enter(Stage::closed);
}

ByteVector& Connection::output() noexcept {
    return session_ ? session_->output() : answer_;
}

// Gathers everything due into as few and as large records as possible.
void Connection::write_output(Turn& turn) {
    if (session_) {
        session_->flush();
    }
    ByteVector& out = output();
    std::size_t sent = 0;
    while (sent < out.size() && stage_ != Stage::closed) {
        ERR_clear_error();
        std::size_t wrote = 0;
        const int result = SSL_write_ex(ssl_.get(), out.data() + sent, out.size() - sent, &wrote);
        if (result != 1) {
            note_want(result, turn);
            break;
        }
        sent += wrote;
    }
    out.erase(out.begin(), out.begin() + static_cast<std::ptrdiff_t>(sent));
    if (out.empty()) {
        unsent_since_.reset();
    } else if (sent > 0 || !unsent_since_) {
        unsent_since_ = hub_.session.clock.boot();
    }
    const bool last = stage_ == Stage::last_words || (session_ && session_->closing());
    if (last && out.empty() && stage_ != Stage::closed) {
        (void)SSL_shutdown(ssl_.get());  // close_notify; the peer's own is not awaited.
        (void)::shutdown(socket_.get(), SHUT_WR);
        ERR_clear_error();
        enter(Stage::linger);
    }
}

// Reads on for a moment and throws it away: closing with unread data would reset the connection
// and could take our last words with it.
void Connection::linger(Turn& turn) {
    std::array<std::byte, 16 * kib> scrap;
    for (std::size_t i = 0; i < linger_reads; ++i) {
        const ssize_t got = ::recv(socket_.get(), scrap.data(), scrap.size(), MSG_DONTWAIT);
        if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
            turn = Turn{.want_read = true};
            return;
        }
        if (got <= 0) {
            enter(Stage::closed);
            return;
        }
    }
    turn = Turn{.again = true};
}

bool Connection::tick(Nanos now) {
    const Limits& limits = hub_.session.limits;
    if (stage_ == Stage::handshake && now - since_ > limits.handshake_ns) {
        hub_.refusals.add(1);
        enter(Stage::closed);
    } else if (stage_ == Stage::head && now - since_ > limits.head_ns) {
        hub_.refusals.add(1);
        enter(Stage::closed);
    } else if (stage_ == Stage::linger && now - since_ > linger_ns) {
        enter(Stage::closed);
    } else if (unsent_since_ && now - *unsent_since_ > limits.rate_grace_ns) {
        log_info("ingest.peer.not_reading", {{"peer", peer_}});
        enter(Stage::closed);
    } else if (stage_ == Stage::head && !check_certificate()) {
        hub_.refusals.add(1);
        enter(Stage::closed);
    } else if (stage_ == Stage::frames) {
        if (const Result<void> sound = check_certificate(); !sound) {
            session_->on_error(sound.error());
        } else if (!check_rates(now)) {
            session_->on_error({Errc::peer_slow, "slower than the minimum rate within a frame"});
        }
        session_->on_tick(last_byte_);
        return session_->closing() || !session_->output().empty() || session_->outbox().record;
    }
    return stage_ == Stage::closed;
}

// Whoever was let in is looked at again: a session may outlive its certificate by months.
Result<void> Connection::check_certificate() {
    const std::int64_t left = certificate_ends_s_ - raw(hub_.session.clock.wall()) / us_per_s;
    if (left <= 0) {
        return fail(Errc::certificate_expired, "it expired during the session");
    }
    if (hub_.revoked != nullptr && hub_.revoked->generation() != revocations_seen_) {
        revocations_seen_ = hub_.revoked->generation();
        if (peer_revoked(ssl_.get(), *hub_.revoked)) {
            return fail(Errc::certificate_revoked, "it was revoked during the session");
        }
    }
    if (session_ && expiry_shown_soon_ != (left < expiry_soon_s)) {
        expiry_shown_soon_ = show_expiry(
            hub_.conditions, "certificate of machine " + to_string(session_->machine()), left);
    }
    return {};
}

// A frame that has begun must go on at the minimum rate.
bool Connection::check_rates(Nanos now) {
    if (reader_->between_frames() || reader_->complete() || !session_->ready()) {
        return true;
    }
    const std::int64_t elapsed = now - frame_since_;
    if (elapsed <= hub_.session.limits.rate_grace_ns) {
        return true;
    }
    const double wanted = static_cast<double>(hub_.session.limits.rate_bytes_min) *
                          static_cast<double>(elapsed - hub_.session.limits.rate_grace_ns) /
                          static_cast<double>(ns_per_s);
    return static_cast<double>(frame_bytes_) >= wanted;
}

void Connection::drain() {
    if (session_) {
        session_->drain();
    } else if (stage_ == Stage::handshake || stage_ == Stage::head) {
        enter(Stage::closed);
    }
}

}  // namespace cw::ingest
