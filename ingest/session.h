// Session: the protocol of one replication connection as a pure state machine.
//
// Whole frames go in, records for the spool and frames to send come out; there is no socket, no
// thread and no waiting in it, so that a reactor, a unit test and a seeded simulator drive the same
// object. What it must not decide alone (which machine may open, what is durable, what a disk's
// digests are) it asks through its outbox and is told through on_…().
//
// Contract: deliver a frame only while ready(); empty the outbox after every call; send output()
// in order; when closing() and the output is sent, close the connection.
// Thread-safety: none; one thread. Lifetime: everything in Context outlives the session.
#pragma once

#include "base/clock.h"
#include "base/metrics.h"
#include "ingest/credit_account.h"
#include "ingest/disk_stream.h"
#include "ingest/mode_news.h"
#include "ingest/options.h"
#include "ingest/policy_table.h"
#include "ingest/ports.h"
#include "ingest/session_table.h"
#include "ingest/wire/frame.h"
#include "ingest/wire/messages.h"
#include "pipeline/extent_table.h"
#include "pipeline/point.h"

#include <deque>
#include <optional>
#include <string>
#include <vector>

namespace cw::ingest {

// One frame as it was received. Stored frames have their table and slabs in `record`, whose header
// only knows its lengths; others have their payload in `control`.
struct InFrame {
    wire::FrameHeader header;
    ByteVector control;
    pipeline::Record record;
};

class Session {
public:
    struct Context {
        Clock& clock;
        SessionTable& table;
        CreditPolicy& credit;
        MetricRegistry& metrics;
        const Authorise& authorise;  // Empty: every machine the CA vouches for.
        const Limits& limits;
        std::uint32_t reactor = 0;
        bool has_digests = false;               // Somebody answers DigestRequest.
        const PolicyTable* policies = nullptr;  // Null: agents go by their own defaults.
        bool keeps_resync_orders = false;       // Somebody hears of resync_required and obeys.
    };
    struct Outbox {
        std::optional<pipeline::Record> record;
        std::optional<pipeline::OpenMachine> open;
        std::deque<DigestRequest> digests;  // At most digests_max with those under way.
        std::deque<AgentNotice> notices;
    };

    // `identity` is the verified peer's, of role machine. `token` comes back in MachineOpened.
    Session(Context context, const Identity& identity, std::string peer, std::uint64_t token);
    ~Session();
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;

    // Whether a frame may be delivered now: not while an answer is awaited, the last record has not
    // been taken, or the peer does not read what it is sent.
    [[nodiscard]] bool ready() const noexcept;
    void on_frame(InFrame frame);
    // Whether memory should be taken for the payload of a frame that begins with this header.
    // Errors (for on_error()): frame_malformed, quota_exceeded.
    [[nodiscard]] Result<void> check_header(const wire::FrameHeader& header) const;
    // The transport met an error in what the peer sent (frame_malformed, peer_slow …).
    void on_error(const Error& error);
    // The connection is gone: nothing can be said any more. Leaves a last notice in the outbox.
    void on_lost();

    void on_opened(pipeline::MachineOpened&& opened);
    void on_spooled(const pipeline::Spooled& notice);
    void on_committed(const pipeline::Committed& notice);
    void on_digests(DigestReply&& reply);
    // Timers: at least twice a second. `last_byte`: when the peer was last heard.
    void on_tick(Nanos last_byte);
    // Stops taking frames; says GOODBYE once what was received is durable, or time is up.
    void drain();

    // Writes due acknowledgements and credit into the output, unless the peer is not reading.
    void flush();
    [[nodiscard]] ByteVector& output() noexcept { return output_; }
    [[nodiscard]] Outbox& outbox() noexcept { return outbox_; }
    [[nodiscard]] bool closing() const noexcept { return state_ == State::closing; }
    [[nodiscard]] const std::optional<Error>& error() const noexcept { return error_; }
    [[nodiscard]] bool live() const noexcept { return state_ == State::live; }

    [[nodiscard]] const MachineId& machine() const noexcept { return machine_; }
    [[nodiscard]] SessionId id() const noexcept { return admission_.session; }
    [[nodiscard]] std::uint64_t token() const noexcept { return token_; }
    [[nodiscard]] const std::vector<DiskStream>& streams() const noexcept { return streams_; }
    [[nodiscard]] const CreditAccount& credit() const noexcept { return credit_; }

private:
    enum class State : std::uint8_t { await_hello, opening, live, leaving, closing };

    // session.cc
    void close_with(Error error, std::uint32_t retry_after_s = 0);
    void send(wire::FrameType type, Bytes payload, std::uint16_t slot = wire::machine_slot);
    void note(AgentNotice notice);
    bool fenced();
    void append_acks();
    void say(const std::vector<pipeline::PointStatus>& points);
    void finish_if_done();
    [[nodiscard]] bool all_spooled() const;

    // session_open.cc
    void on_hello(Bytes payload);
    Result<void> accept_hello(const wire::Hello& hello);
    void welcome(pipeline::MachineOpened& opened);
    void reject_quarantined(pipeline::MachineOpened& opened);
    void tell_policy();

    // session_frames.cc
    void dispatch(InFrame&& frame);
    Result<void> on_sequenced(InFrame&& frame);
    Result<void> on_write(DiskStream& stream, InFrame&& frame);
    Result<void> on_base(DiskStream& stream, InFrame&& frame);
    void note_mark(const DiskStream& stream, wire::FrameType type, wire::ResyncBegin begin);
    Result<void> on_mark(DiskStream& stream, InFrame&& frame);
    Result<void> on_flush(DiskStream& stream, InFrame&& frame);
    Result<void> on_point(InFrame&& frame);
    Result<void> on_point_result(InFrame&& frame);
    Result<void> on_control(InFrame&& frame);
    Result<void> on_extents(const DiskStream& stream, Bytes payload);
    void tell_mode();
    Result<void> on_hashes_request(std::uint16_t slot, Bytes payload);
    Result<void> on_summaries_request(std::uint16_t slot, Bytes payload);
    void ask_digests(std::uint16_t slot, DigestRequest request);
    Result<void> on_resync_required(std::uint16_t slot, Bytes payload);
    // A notice of what becomes of a disk.
    AgentNotice resync_notice(AgentNotice::Kind kind, const DiskStream& stream) const;
    Result<void> on_goodbye(Bytes payload);
    bool is_what_it_was(DiskStream& stream, const wire::FrameHeader& header, std::uint32_t count);
    bool admit(DiskStream& stream, const InFrame& frame, std::uint32_t count,
               std::optional<std::uint32_t> follows = std::nullopt);
    void discard(const InFrame& frame);
    void nak(DiskStream& stream, wire::NakReason reason, std::string_view detail);
    std::string flaw_of_cuts(const pipeline::Point& point) const;
    void drop_point(const PointId& id, std::string reason);
    void hand_over(pipeline::Record&& record, const InFrame& frame, const DiskStream* stream);
    Result<DiskStream*> stream_of(std::uint16_t slot);

    Context context_;
    MachineId machine_;
    Identity identity_;
    std::string peer_;
    std::uint64_t token_;
    State state_ = State::await_hello;
    Nanos since_;  // When the state was entered.
    Admission admission_;
    CreditAccount credit_;
    std::vector<pipeline::DiskHello> hello_disks_;
    std::vector<DiskStream> streams_;
    std::vector<pipeline::Committed> early_;  // Came before WELCOME was sent; told after it.
    ByteVector output_;
    Outbox outbox_;
    std::optional<Error> error_;
    Counter* bytes_total_ = nullptr;
    std::uint64_t manifest_number_ = 0;
    Sha256 manifest_hash_{};
    bool manifest_news_ = false;
    std::size_t digests_under_way_ = 0;
    bool ping_sent_ = false;
    Nanos pinged_for_{};  // The silence that was pinged already began here.
    bool draining_ = false;
    bool takes_policy_ = false;  // The agent understands POLICY.
    std::string machine_name_;   // As the agent calls it: data.
    FingerprintSecret fingerprint_secret_{};
    std::uint64_t policies_seen_ = 0;  // Version of the table that was looked at.
    std::optional<wire::Policy> policy_told_;
    std::optional<wire::Goodbye> goodbye_;
    ModeNews mode_news_;
};

}  // namespace cw::ingest
