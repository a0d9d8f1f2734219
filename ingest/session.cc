#include "ingest/session.h"

#include "base/assert.h"
#include "base/log.h"

#include <algorithm>
#include <bit>

namespace cw::ingest {
namespace {

// Above this the peer is not reading: nothing more is taken from it until it does.
constexpr std::size_t output_bytes_max = 256 * kib;
constexpr std::size_t digests_max = 8, notices_max = 64;

// One entry for each super-chunk that the reply covers: whole ones.
wire::Summaries summaries_of(const DigestReply& reply, const FingerprintSecret& secret) {
    constexpr std::size_t blocks = wire::super_chunk_bytes / wire::hash_block_bytes;
    CW_ASSERT(reply.first_block % blocks == 0 && reply.known.size() % blocks == 0);
    wire::Summaries out;
    out.first = static_cast<std::uint32_t>(reply.first_block / blocks);
    std::span<const Fingerprint> left(reply.fingerprints);
    for (std::size_t at = 0; at < reply.known.size(); at += blocks) {
        std::uint64_t known = 0;
        for (std::size_t i = 0; i < blocks; ++i) {
            known |= std::uint64_t{reply.known[at + i]} << i;
        }
        const auto count = static_cast<std::size_t>(std::popcount(known));
        out.entries.push_back(wire::summarise(known, left.first(count), secret));
        left = left.subspan(count);
    }
    return out;
}

std::string clipped(std::string_view text) {
    return std::string(text.substr(0, wire::reason_bytes_max));
}

}  // namespace

Session::Session(Context context, const Identity& identity, std::string peer, std::uint64_t token)
    : context_(context),
      machine_{identity.id},
      identity_(identity),
      peer_(std::move(peer)),
      token_(token),
      since_(context.clock.boot()),
      credit_(context.credit) {
    CW_ASSERT(identity.role == Role::machine);
}

Session::~Session() {
    if (outbox_.record) {  // Never handed on: its reservation comes back.
        const pipeline::RecordHeader& header = outbox_.record->header;
        credit_.discard(std::uint64_t{header.table_bytes} + header.data_bytes);
    }
    if (raw(admission_.session) != 0) {
        context_.table.leave(machine_, admission_.session);
    }
}

bool Session::ready() const noexcept {
    const bool expects = state_ == State::await_hello || state_ == State::live ||
                         (state_ == State::leaving && !draining_);
    return expects && !draining_ && !outbox_.record && output_.size() < output_bytes_max &&
           digests_under_way_ < digests_max;
}

void Session::on_frame(InFrame frame) {
    CW_ASSERT(ready());
    if (state_ == State::await_hello) {
        if (frame.header.type != wire::FrameType::hello) {
            close_with({Errc::frame_malformed, "the first frame must be HELLO"});
            return;
        }
        on_hello(frame.control);
        return;
    }
    if (fenced()) {
        return;  // Nothing of a stale session is taken, whatever it says.
    }
    dispatch(std::move(frame));
}

Result<void> Session::check_header(const wire::FrameHeader& header) const {
    using enum wire::FrameType;
    if (state_ == State::await_hello && header.type != hello) {
        return fail(Errc::frame_malformed, "the first frame must be HELLO");
    }
    const bool paid = header.type == write || header.type == base;
    if (paid && header.payload_bytes > credit_.available()) {
        return fail(Errc::quota_exceeded, std::to_string(header.payload_bytes) +
                                              " bytes on a credit of " +
                                              std::to_string(credit_.available()));
    }
    return {};
}

void Session::on_error(const Error& error) {
    close_with(error);
}

void Session::on_lost() {
    if (state_ != State::closing && raw(admission_.session) != 0) {
        note({.kind = AgentNotice::Kind::closed,
              .machine = machine_,
              .session = id(),
              .reason = "connection lost"});
        state_ = State::closing;
    }
}

void Session::on_spooled(const pipeline::Spooled& notice) {
    CW_ASSERT(notice.key.machine == machine_);
    if (notice.session == admission_.session) {
        credit_.settle(notice.bytes);
    }
    for (DiskStream& stream : streams_) {
        if (stream.id() != notice.key.disk || stream.generation() != notice.key.generation) {
            continue;
        }
        stream.on_spooled(notice);
        if (notice.session == admission_.session) {
            stream.tell_again();  // Also when a duplicate moved no watermark.
        }
        if (notice.expected && stream.rewind(*notice.expected)) {
            nak(stream, wire::NakReason::gap, "the spool lacks this sequence");
        }
        // Or its agent would wait for the acknowledgement for ever; connected anew, it is told what
        // the cache has.
        if (notice.session == admission_.session && stream.refused(notice.refused_fence)) {
            nak(stream, wire::NakReason::generation, "the spool knows this fence as over");
        }
    }
    for (const PointId& id : notice.points) {
        if (state_ == State::live || state_ == State::leaving) {
            send(wire::FrameType::point_status,
                 wire::encode(wire::PointStatus{id, wire::PointState::durable, 0, {}}));
        }
    }
}

void Session::on_committed(const pipeline::Committed& notice) {
    CW_ASSERT(notice.machine == machine_);
    if (state_ == State::opening) {
        early_.push_back(notice);  // The publisher has answered, and its answer is on its way.
        return;
    }
    if (state_ != State::live && state_ != State::leaving) {
        return;
    }
    for (const pipeline::Committed::Disk& disk : notice.disks) {
        for (DiskStream& stream : streams_) {
            if (stream.id() == disk.disk && stream.generation() == disk.generation) {
                stream.on_committed(disk);
            }
        }
    }
    if (notice.manifest_number > manifest_number_) {
        manifest_number_ = notice.manifest_number;
        manifest_hash_ = notice.manifest_hash;
        manifest_news_ = true;
    }
    append_acks();  // Before the statuses: a committed point's sequences are committed too.
    say(notice.points);
}

void Session::say(const std::vector<pipeline::PointStatus>& points) {
    for (const pipeline::PointStatus& point : points) {
        send(wire::FrameType::point_status,
             wire::encode(wire::PointStatus{point.id,
                                            static_cast<wire::PointState>(raw(point.state)),
                                            point.manifest_number, clipped(point.reason)}));
    }
}

void Session::on_digests(DigestReply&& reply) {
    if (reply.session != admission_.session || state_ != State::live) {
        return;
    }
    CW_ASSERT(digests_under_way_ > 0);
    --digests_under_way_;
    if (reply.summaries) {
        send(wire::FrameType::summaries, wire::encode(summaries_of(reply, fingerprint_secret_)),
             reply.slot);
        return;
    }
    const wire::Hashes hashes{reply.first_block, std::move(reply.known),
                              std::move(reply.fingerprints)};
    send(wire::FrameType::hashes, wire::encode(hashes), reply.slot);
}

void Session::on_tick(Nanos last_byte) {
    const Nanos now = context_.clock.boot();
    const Limits& limits = context_.limits;
    if (state_ == State::closing || (raw(admission_.session) != 0 && fenced())) {
        return;
    }
    if (draining_ && now - since_ > limits.drain_ns) {
        close_with({Errc::server_busy, "draining"}, limits.retry_after_s);
    } else if (state_ == State::await_hello && now - since_ > limits.head_ns) {
        close_with({Errc::peer_slow, "no HELLO"});
    } else if (state_ == State::opening && now - since_ > limits.open_ns) {
        close_with({Errc::server_busy, "the machine could not be opened in time"},
                   limits.retry_after_s);
    } else if (now - last_byte > limits.idle_ns) {
        close_with({Errc::connection_lost, "silent"});
    } else if (now - last_byte > limits.ping_ns && state_ == State::live &&
               !(ping_sent_ && pinged_for_ == last_byte)) {
        ping_sent_ = true;
        pinged_for_ = last_byte;
        send(wire::FrameType::ping, wire::encode(wire::Ping{static_cast<std::uint64_t>(raw(now))}));
    }
    credit_.tick();
    if (state_ == State::live && !draining_) {
        tell_policy();
    }
    if (state_ == State::live) {
        tell_mode();
    }
    if (state_ == State::live && credit_.hoards() && context_.credit.wants_back()) {
        log_info("ingest.session.credit_wanted_back",
                 {{"machine", machine_}, {"session", id()}, {"credit", credit_.available()}});
        drain();  // The agent comes back at once, with a window of the least size.
    }
    flush();
}

void Session::drain() {
    if (draining_ || state_ == State::closing) {
        return;
    }
    draining_ = true;
    since_ = context_.clock.boot();
    if (state_ == State::await_hello || state_ == State::opening) {
        close_with({Errc::server_busy, "draining"}, context_.limits.retry_after_s);
        return;
    }
    flush();
}

void Session::flush() {
    if ((state_ != State::live && state_ != State::leaving) || output_.size() >= output_bytes_max) {
        return;
    }
    append_acks();
    if (!draining_ && state_ == State::live && credit_.grow()) {
        send(wire::FrameType::credit, wire::encode(wire::Credit{credit_.granted()}));
    }
    finish_if_done();
}

void Session::append_acks() {
    while (output_.size() < output_bytes_max) {
        wire::Ack ack;
        std::size_t ordinals = wire::ack_ordinals_max;
        for (std::size_t slot = 0; slot < streams_.size(); ++slot) {
            if (streams_[slot].has_news()) {
                ack.disks.push_back(
                    streams_[slot].take_news(static_cast<std::uint16_t>(slot), ordinals));
                const wire::Ack::Disk& disk = ack.disks.back();
                ordinals -= disk.base_spooled.size() + disk.base_committed.size();
            }
        }
        if (ack.disks.empty() && !manifest_news_) {
            return;
        }
        manifest_news_ = false;
        ack.manifest_number = manifest_number_;
        ack.manifest_hash = manifest_hash_;
        send(wire::FrameType::ack, wire::encode(ack));
    }
}

bool Session::all_spooled() const {
    return std::ranges::all_of(goodbye_->disks, [this](const wire::Goodbye::Disk& disk) {
        return streams_[disk.slot].spooled() >= disk.final_seq;
    });
}

void Session::finish_if_done() {
    const bool agent_leaves = state_ == State::leaving && goodbye_ && all_spooled();
    const bool server_drains = draining_ && credit_.in_flight() == 0 && !outbox_.record;
    if (agent_leaves || server_drains) {
        append_acks();
        send(wire::FrameType::goodbye, wire::encode(wire::Goodbye{}));
        note({.kind = AgentNotice::Kind::closed,
              .machine = machine_,
              .session = id(),
              .reason = agent_leaves ? "goodbye" : "draining"});
        state_ = State::closing;
    }
}

void Session::close_with(Error error, std::uint32_t retry_after_s) {
    if (state_ == State::closing) {
        return;
    }
    log_warning("ingest.session.error",
                {{"machine", machine_}, {"session", id()}, {"peer", peer_}, {"error", error}});
    const wire::ErrorMessage message{static_cast<std::uint16_t>(error.code), clipped(error.detail),
                                     retry_after_s};
    send(wire::FrameType::error, wire::encode(message));
    if (raw(admission_.session) != 0) {
        note({.kind = AgentNotice::Kind::closed,
              .machine = machine_,
              .session = id(),
              .reason = error.detail});
    }
    error_ = std::move(error);
    outbox_.open.reset();
    state_ = State::closing;
}

void Session::send(wire::FrameType type, Bytes payload, std::uint16_t slot) {
    if (state_ == State::closing) {
        return;  // The last word has been said.
    }
    const wire::FrameHeader header{.type = type, .disk_slot = slot, .session = admission_.session};
    const ByteVector frame = wire::encode_control_frame(header, payload);
    output_.insert(output_.end(), frame.begin(), frame.end());
}

// Status is for people: when nobody takes it, the oldest goes.
void Session::note(AgentNotice notice) {
    if (outbox_.notices.size() == notices_max) {
        outbox_.notices.pop_front();
    }
    outbox_.notices.push_back(std::move(notice));
}

bool Session::fenced() {
    if (!admission_.fenced || !admission_.fenced->load(std::memory_order_acquire)) {
        return false;
    }
    close_with(
        {Errc::stale_session, "this session was replaced by a newer one or ended by the server"});
    return true;
}

}  // namespace cw::ingest
