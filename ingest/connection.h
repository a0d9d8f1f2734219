// Connection: one accepted socket from TLS handshake over the HTTP head to frames.
//
// Driven by its reactor: turn() does as much as it can within a budget and says what it waits for.
// It never waits itself. Payload bytes go from the TLS library straight into slabs.
// Thread-safety: none; belongs to its reactor's thread. Lifetime: the Hub outlives it.
#pragma once

#include "base/conditions.h"
#include "base/net.h"
#include "ingest/frame_reader.h"
#include "ingest/http_gate.h"
#include "ingest/session.h"

#include <memory>
#include <optional>
#include <string>

#include <openssl/ssl.h>

namespace cw::ingest {

// Where a session's outbox goes; the reactor implements it with its rings.
class SessionPorts {
public:
    virtual ~SessionPorts() = default;
    // Empties the outbox as far as the rings have room. False if a record had to stay.
    virtual bool deliver(Session& session) = 0;
};

// A condition while a certificate has less than a week left (negative: none): time to renew it.
// True if it stands.
bool show_expiry(Conditions& conditions, const std::string& subject, std::int64_t left_s);

// What a connection needs of its reactor.
struct Hub {
    Session::Context session;
    pipeline::SlabPool& pool;
    SessionPorts& ports;
    Conditions& conditions;
    const RevocationList* revoked;  // Null: none.
    Counter& refusals;              // Handshakes and heads that were turned away.
    bool draining = false;
    // Lines that strangers may still cause in this tick: a flood of refusals must not fill the log.
    // The metrics count them all.
    unsigned log_lines = log_lines_per_tick;

    static constexpr unsigned log_lines_per_tick = 8;
    bool may_log() noexcept { return log_lines > 0 && log_lines-- > 0; }
};

class Connection {
public:
    // What a turn ended with; none set: waits for the session (an answer, a ring, a tick).
    struct Turn {
        bool want_read = false;
        bool want_write = false;
        bool again = false;   // The budget is used up: there is more to do at once.
        bool memory = false;  // No slab is free.
        bool closed = false;  // Destroy it.
    };

    // `over_limit`: will be told 503 as soon as it can hear that.
    Connection(Hub& hub, SSL_CTX* tls, Fd socket, std::uint64_t token, bool over_limit);
    ~Connection();
    Connection(const Connection&) = delete;
    Connection& operator=(const Connection&) = delete;

    Turn turn(std::size_t byte_budget);
    // Time limits. True if a turn() should follow.
    bool tick(Nanos now);
    void drain();

    [[nodiscard]] int fd() const noexcept { return socket_.get(); }
    [[nodiscard]] std::uint64_t token() const noexcept { return token_; }
    // Null until the upgrade.
    [[nodiscard]] Session* session() noexcept { return session_.get(); }
    // Whether it counts as not yet authenticated.
    [[nodiscard]] bool anonymous() const noexcept { return stage_ == Stage::handshake; }

private:
    enum class Stage : std::uint8_t { handshake, head, frames, last_words, linger, closed };

    void enter(Stage stage);
    void handshake(Turn& turn);
    void read_head(Turn& turn);
    void answer(std::size_t head_bytes);
    void read_frames(Turn& turn, std::size_t& budget);
    bool deliver_frame();
    void write_output(Turn& turn);
    void linger(Turn& turn);
    // SSL_read into `target`; 0 after noting in `turn` what is waited for.
    std::size_t receive(MutableBytes target, Turn& turn);
    void note_want(int ssl_result, Turn& turn);
    [[nodiscard]] ByteVector& output() noexcept;
    bool check_rates(Nanos now);
    Result<void> check_certificate();

    Hub& hub_;
    Fd socket_;
    std::unique_ptr<SSL, decltype(&SSL_free)> ssl_;
    std::uint64_t token_;
    bool over_limit_;
    std::string peer_;
    Stage stage_ = Stage::handshake;
    std::int64_t certificate_ends_s_ = 0;    // Wall seconds.
    std::uint64_t revocations_seen_ = 0;     // Generation of the list that let this peer in.
    std::optional<bool> expiry_shown_soon_;  // What people were told last.
    Nanos since_;                            // When the stage was entered.
    Nanos last_byte_;                        // When the peer was last heard.
    Nanos frame_since_{};  // When the frame under way began to count against the rate.
    std::uint64_t frame_bytes_ = 0;
    std::optional<Nanos> unsent_since_;  // Output has not moved since then.
    ByteVector head_;
    ByteVector answer_;  // Before there is a session.
    std::unique_ptr<Session> session_;
    std::unique_ptr<FrameReader> reader_;
    bool header_checked_ = false;
};

}  // namespace cw::ingest
