// Replicator: keeps one machine's server up to date. Owns the session, decides what is sent next,
// and carries out what WELCOME asks for: continue, initial, resync, catch-up.
//
// A passive object: step() does bounded work and never waits. Time, links and randomness come in.
// Thread-safety: none; the agent's loop. The captures may be written to by other threads meanwhile.
#pragma once

#include "agent/session/retry_policy.h"
#include "agent/session/server_session.h"
#include "agent/state_file.h"
#include "agent/stream/base_sender.h"
#include "agent/stream/disk_capture.h"
#include "agent/stream/mode_report.h"
#include "agent/stream/own_sequences.h"
#include "agent/stream/pause_report.h"
#include "agent/stream/point_tracker.h"
#include "agent/stream/standstill.h"
#include "agent/stream/witness_keeper.h"

#include <deque>
#include <memory>
#include <string>
#include <vector>

namespace cw::agent {

enum class LinkState : std::uint8_t { waiting, connecting, greeting, live, critical, ended };
std::string_view name_of(LinkState state) noexcept;

class Replicator {
public:
    struct Options {
        MachineId machine;
        std::string machine_name, software;
        std::int64_t linger_ns = 20 * ns_per_ms;
        // Less than so much of a disk is caught up with without a comparison.
        std::uint64_t compare_bytes_min = 256 * mib;
        std::uint64_t features = wire::feature_policy;  // As HELLO names them.
    };
    struct Context {
        Connector& connector;
        Outbox& outbox;
        pipeline::SlabPool& pool;       // Of the log.
        pipeline::SlabPool& base_pool;  // Of BASE: at least 4 slabs.
        StateFile& state;
        Clock& clock;
        Random& random;
        AdmissionGate* gate = nullptr;  // The one that the captures have.
    };
    struct DiskStatus {
        std::string name;
        DiskId id;
        std::string phase;   // "protected", "initial sync", "degraded", …
        std::string reason;  // Why not protected.
        Generation generation{};
        Seq next{}, spooled{}, committed{};
        BaseSender::Progress base;
        wire::ReplicationMode mode{};
        std::uint64_t missed_bytes = 0, uncommitted_bytes = 0;
        std::size_t missed_ranges = 0;       // In mode METADATA.
        std::uint64_t fence_read_bytes = 0;  // Read of the disk beneath fences, since the start.
    };
    struct Status {
        LinkState link = LinkState::waiting;
        std::string peer;
        std::optional<Error> last_error;
        std::uint64_t sent_bytes = 0, queued_bytes = 0;
        std::int64_t rpo_ms = -1;  // -1: no committed point yet.
        wire::Mode mode;           // Of the worst disk, with all that is to be sent.
        std::vector<DiskStatus> disks;
    };

    // Everything in `context` outlives the replicator, as do the captures.
    Replicator(Options options, Context context);
    // In slot order, before the first step. `provable`: the history may be continued.
    void add_disk(DiskCapture& capture, std::string name, bool provable);

    // One round: connect, receive, send. True if it did something.
    bool step();
    // When step() has something to do by itself.
    [[nodiscard]] Nanos next_deadline() const noexcept { return deadline_; }
    [[nodiscard]] int fd() const noexcept { return session_ ? session_->link().fd() : -1; }
    [[nodiscard]] bool wants_write() const noexcept {
        return session_ && session_->link().wants_write();
    }

    // Of the clock that dates points.
    [[nodiscard]] WallMicros now() const { return context_.clock.wall(); }
    // A moment that was before: the disks are of it, and who made it kept writers waiting so long.
    struct Moment {
        Moment(WallMicros when, std::int64_t pause = 0) : at(when), pause_ns(pause) {}
        WallMicros at;
        std::int64_t pause_ns;
    };
    // A barrier across all disks. `of`: the moment that the disks are of, if it is not now.
    // With a group it is provisional: see decide_point().
    // Errors: not_ready while a disk is not consistent; out_of_budget when the queue is full;
    // held_too_long when writers would be kept for longer than point_pause_max_ns (they are not).
    Result<PointId> make_point(pipeline::PointKind kind, std::string tag, std::string hooks = {},
                               std::optional<Moment> of = {}, const GroupId& group = {});
    // What the point just made will be called is known later: it is not sent before
    // settle_point(), nor is anything behind it.
    void hold_point(const PointId& id) { unsettled_ = id; }
    void settle_point(pipeline::PointKind kind, const std::string& hooks);
    [[nodiscard]] bool is_held(const PointId& id) const noexcept { return unsettled_ == id; }
    // What became of a point that was made with a group: until then the server keeps it back. If
    // this is lost with a connection the server makes it an ordinary point.
    void decide_point(const PointId& id, const GroupId& group, bool committed);
    // True if every disk could take part in a point now.
    [[nodiscard]] bool consistent();
    // Nothing changed since the last point, and that one is still on its way.
    [[nodiscard]] bool point_would_repeat();
    [[nodiscard]] PointTracker& points() noexcept { return points_; }
    // What points cost writers.
    [[nodiscard]] const PauseReport& pauses() const noexcept { return pauses_; }
    [[nodiscard]] Status status();
    // The server's secret for fingerprints; zeros before the first WELCOME.
    [[nodiscard]] const FingerprintSecret& secret() const noexcept { return secret_; }
    // What the server said last of how often to make points; none: it never did.
    [[nodiscard]] const std::optional<wire::Policy>& policy() const noexcept { return policy_; }
    // The newest commit the server has told of: number and hash of its manifest.
    [[nodiscard]] std::pair<std::uint64_t, Sha256> witness() const noexcept {
        return {witness_.number(), witness_.hash()};
    }
    BaseSender& base(std::size_t slot) { return *disks_.at(slot).base; }
    // Fences are not ended while they are held: what lies beneath them becomes no point.
    void hold_fences(bool hold) noexcept { hold_fences_ = hold; }
    // A held fence with nothing beneath it, in place of the open one if there is one. When its
    // sequence is committed, so is everything before it. Errors: io_error.
    Result<Seq> begin_bare_fence(std::size_t slot);

    // Sends what is logged, says GOODBYE and ends; gives up after `limit_ns`.
    void begin_stop(bool planned, std::int64_t limit_ns);
    [[nodiscard]] bool ended() const noexcept { return link_state_ == LinkState::ended; }
    // Why nothing is tried any more until a person has done something; null while it is.
    [[nodiscard]] const Error* critical() const noexcept {
        return link_state_ == LinkState::critical ? &*last_error_ : nullptr;
    }
    // Everything logged is spooled at the server: the exact sequences may be kept.
    [[nodiscard]] bool all_spooled();

private:
    struct EndedFence {
        Seq fence{}, end{};
        std::vector<std::uint32_t> held;  // Super-chunks beneath it, ascending.
    };
    struct Disk {
        DiskCapture* capture = nullptr;
        std::string name;
        std::unique_ptr<BaseSender> base;
        bool provable = false;
        bool rejected = false;
        bool announced = false;  // This session has seen the fence's RESYNC_BEGIN.
        bool untouched = false;  // This session has seen nothing of it yet.
        OwnSequences own;
        std::string reason;        // WELCOME's, or why it waits for an order.
        std::string fence_reason;  // Why the last fence was opened.
        std::string_view phase = "connecting";
        std::string_view fence_phase = "catching up";  // While the fence is open.
        Seq hello_next{}, spooled{}, committed{};
        // Fences whose RESYNC_END the server may still lack: what it must hold to be sent the end.
        std::deque<EndedFence> ended;
        bool begin_anew = false;  // It does not: the next HELLO asks for a new fence.
        Seq nak_expected{};       // Of the last NAK, and how often it came with this number.
        unsigned naks = 0;
        std::optional<Nanos> order_asked;  // It waits for the server's order of a resync.
    };

    // replicator.cc
    bool step_link();
    void connected(std::unique_ptr<Link> link);
    Result<void> greet();
    void lose(const Error& error);
    Result<void> keep_alive();
    Result<void> end_politely();
    // replicator_point.cc
    Result<void> hold_all(Standstill& still);
    Result<void> held_too_long(const Standstill& still);
    // replicator_mode.cc
    [[nodiscard]] wire::Mode sum_mode();
    void tend_mode();
    void tell_mode();
    // replicator_receive.cc
    Result<bool> receive();
    Result<void> handle(const InFrame& frame);
    Result<void> welcome(const wire::Welcome& welcome);
    Result<void> welcome_disk(Disk& disk, const wire::Welcome::Disk& answer);
    static bool lacks_base(const Disk& disk, const wire::Welcome::Disk& answer);
    void forget_ended(Disk& disk, Seq spooled);
    void drop_vanished_points();
    void doubt_points(const wire::Welcome& welcome);
    void drop_lost_points();
    Result<bool> resume_fence(Disk& disk, const wire::Welcome::Disk& answer);
    Result<void> open_fence(Disk& disk, const wire::Welcome::Disk& answer);
    void read_missed(Disk& disk, DiskCapture::Fence fence);
    Result<void> take_ack(const wire::Ack& ack);
    template <typename Digests>
    Result<void> take_digests(const InFrame& frame);
    Result<void> take_error(const wire::ErrorMessage& message);
    Result<void> take_nak(const wire::Nak& nak);
    void reject(Disk& disk, std::string reason);
    // replicator_send.cc
    Result<bool> send_some();
    Result<bool> send_logged();
    Result<bool> send_base();
    Result<bool> send_hash_requests();
    Result<void> tend_fences();
    // replicator_own.cc
    void begin_own(Disk& disk);
    [[nodiscard]] std::uint64_t leap_of(const Disk& disk);
    static void note_leap(Disk& disk, const DiskCapture::Fence& fence);
    [[nodiscard]] Seq held_from(const Disk& disk);
    [[nodiscard]] bool leap_refused(const Disk& disk);
    Result<void> check_own(Disk& disk, const wire::Welcome::Disk& answer);
    // replicator_order.cc
    [[nodiscard]] bool is_left_to_server(std::uint64_t missed, const Disk& disk) const noexcept;
    Result<bool> awaits_order(Disk& disk, const DiskCapture::Position& at);
    void tend_open_records();
    void close_open_records(std::int64_t older_than_ns);
    void wake_at(Nanos when) noexcept { deadline_ = std::min(deadline_, when); }

    const Options options_;
    Context context_;
    std::vector<Disk> disks_;
    std::unique_ptr<ServerSession> session_;
    RetryPolicy retry_;
    PointTracker points_;
    PauseReport pauses_;
    std::optional<PointId> unsettled_;  // See hold_point().
    LinkState link_state_ = LinkState::waiting;
    Nanos retry_at_{}, pinged_{}, live_since_{}, deadline_{};
    Nanos stop_by_{INT64_MAX};
    std::int64_t retry_after_s_ = 0;  // The server's wish, for the next pause.
    bool stopping_ = false, planned_ = false, goodbye_sent_ = false;
    bool hold_fences_ = false;
    std::uint64_t turn_ = 0, sent_before_ = 0, server_features_ = 0;
    WitnessKeeper witness_;
    std::uint64_t boot_counter_;  // As HELLO says it.
    ModeReport mode_;
    FingerprintSecret secret_{};
    // Points made before the session that only its server's statuses after WELCOME can save.
    std::vector<PointId> doubtful_;
    std::optional<Error> last_error_;
    std::optional<wire::Policy> policy_;
};

}  // namespace cw::agent
