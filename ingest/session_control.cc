// Frames of the whole machine and those that store nothing: points, modes, digests, farewell.
#include "base/assert.h"
#include "ingest/session.h"

#include <algorithm>

namespace cw::ingest {
namespace {

using enum wire::FrameType;

std::unexpected<Error> violation(std::string detail) {
    return fail(Errc::frame_malformed, std::move(detail));
}

}  // namespace

Result<void> Session::on_control(InFrame&& frame) {
    const wire::FrameType type = frame.header.type;
    const bool stored = type == point || type == point_result;
    CW_TRY(wire::check_table(frame.header,
                             stored ? Bytes(frame.record.table.bytes()) : Bytes(frame.control)));
    switch (type) {
        case point:
            return on_point(std::move(frame));
        case point_result:
            return on_point_result(std::move(frame));
        case extents: {
            CW_TRY_ASSIGN(const DiskStream* stream, stream_of(frame.header.disk_slot));
            return on_extents(*stream, frame.control);
        }
        case hashes_request:
            return on_hashes_request(frame.header.disk_slot, frame.control);
        case summaries_request:
            return on_summaries_request(frame.header.disk_slot, frame.control);
        case resync_required:
            return on_resync_required(frame.header.disk_slot, frame.control);
        case mode: {
            CW_TRY_ASSIGN(wire::Mode message, wire::decode<wire::Mode>(frame.control));
            mode_news_.take(std::move(message));
            tell_mode();
            return {};
        }
        case ping: {
            CW_TRY_ASSIGN(const wire::Ping message, wire::decode<wire::Ping>(frame.control));
            send(pong, wire::encode(message));
            return {};
        }
        case pong:
            return {};
        case wire::FrameType::error: {
            CW_TRY_ASSIGN(const auto message, wire::decode<wire::ErrorMessage>(frame.control));
            return fail(Errc::connection_lost, "the agent reports " + std::to_string(message.code) +
                                                   ": " + message.detail);
        }
        case goodbye:
            return on_goodbye(frame.control);
        default:
            return violation(std::string(wire::name_of(type)) + " from an agent");
    }
}

Result<void> Session::on_point(InFrame&& frame) {
    CW_TRY_ASSIGN(const pipeline::Point message,
                  pipeline::decode_point(frame.record.table.bytes()));
    if (std::string flaw = flaw_of_cuts(message); !flaw.empty()) {
        drop_point(message.id, std::move(flaw));
        return {};
    }
    pipeline::Record record = std::move(frame.record);
    hand_over(std::move(record), frame, nullptr);
    return {};
}

Result<void> Session::on_point_result(InFrame&& frame) {
    CW_TRY(pipeline::decode_point_result(frame.record.table.bytes()));
    pipeline::Record record = std::move(frame.record);
    hand_over(std::move(record), frame, nullptr);
    return {};
}

// A point holds no write newer than its cut and misses none before it: on this ordered connection
// every cut must be exactly the last sequence received.
std::string Session::flaw_of_cuts(const pipeline::Point& message) const {
    std::size_t wanted = 0;
    for (const DiskStream& stream : streams_) {
        if (stream.rejected()) {
            continue;
        }
        ++wanted;
        const std::string disk = "disk " + to_string(stream.id());
        const auto cut = std::ranges::find(message.cuts, stream.id(), &pipeline::DiskCut::disk);
        if (cut == message.cuts.end()) {
            return disk + " has no cut";
        }
        if (cut->generation != stream.generation()) {
            return disk + " has another generation";
        }
        if (stream.stopped() || stream.awaits_fence() || raw(stream.fence()) != 0) {
            return disk + (stream.stopped() ? " awaits a re-send" : " is being synchronised");
        }
        if (cut->cut != stream.received()) {
            return disk + " was cut at " + std::to_string(raw(cut->cut)) + ", received is " +
                   std::to_string(raw(stream.received()));
        }
    }
    return message.cuts.size() == wanted ? std::string{} : "a cut of a disk that is not protected";
}

void Session::drop_point(const PointId& id, std::string reason) {
    reason.resize(std::min(reason.size(), wire::reason_bytes_max));
    send(point_status,
         wire::encode(wire::PointStatus{id, wire::PointState::dropped, 0, std::move(reason)}));
}

Result<void> Session::on_extents(const DiskStream& stream, Bytes payload) {
    CW_TRY_ASSIGN(const wire::Extents message, wire::decode<wire::Extents>(payload));
    ModeNews::Unread unread{.disk = stream.id(),
                            .ranges = static_cast<std::uint32_t>(message.ranges.size())};
    for (const wire::Extents::Range& range : message.ranges) {
        if (range.offset + range.length > stream.size_bytes()) {
            return fail(Errc::size_mismatch, "EXTENTS beyond the end of the disk");
        }
        unread.bytes += range.length;
    }
    mode_news_.take(unread);
    tell_mode();
    return {};
}

void Session::tell_mode() {
    while (auto news = mode_news_.next(context_.clock.boot())) {
        AgentNotice notice{.machine = machine_, .session = id()};
        if (auto* const mode = std::get_if<wire::Mode>(&*news)) {
            notice.kind = AgentNotice::Kind::mode;
            notice.mode = mode->mode;
            notice.backlog_bytes = mode->backlog_bytes;
            notice.reason = std::move(mode->reason);
        } else {
            const auto& unread = std::get<ModeNews::Unread>(*news);
            notice.kind = AgentNotice::Kind::extents;
            notice.disk = unread.disk;
            notice.unread_bytes = unread.bytes;
            notice.unread_ranges = unread.ranges;
        }
        note(std::move(notice));
    }
}

Result<void> Session::on_hashes_request(std::uint16_t slot, Bytes payload) {
    CW_TRY(stream_of(slot));
    CW_TRY_ASSIGN(const auto request, wire::decode<wire::HashesRequest>(payload));
    DigestRequest wanted;
    wanted.first_block = request.first_block;
    wanted.count = request.count;
    ask_digests(slot, wanted);
    return {};
}

Result<void> Session::on_summaries_request(std::uint16_t slot, Bytes payload) {
    CW_TRY(stream_of(slot));
    CW_TRY_ASSIGN(const auto request, wire::decode<wire::SummariesRequest>(payload));
    constexpr std::uint32_t blocks = wire::super_chunk_bytes / wire::hash_block_bytes;
    DigestRequest wanted;
    wanted.first_block = std::uint64_t{request.first} * blocks;
    wanted.count = request.count * blocks;
    wanted.summaries = true;
    ask_digests(slot, wanted);
    return {};
}

void Session::ask_digests(std::uint16_t slot, DigestRequest request) {
    const DiskStream& stream = streams_.at(slot);
    request.machine = machine_;
    request.disk = stream.id();
    request.generation = stream.generation();
    request.fence = stream.fence();
    request.session = admission_.session;
    request.reactor = context_.reactor;
    request.slot = slot;
    ++digests_under_way_;
    if (context_.has_digests) {
        outbox_.digests.push_back(request);
        return;
    }
    on_digests({.machine = machine_,  // Unknown counts as different: everything is sent.
                .session = admission_.session,
                .slot = slot,
                .first_block = request.first_block,
                .known = std::vector<bool>(request.count, false),
                .fingerprints = {},
                .summaries = request.summaries});
}

AgentNotice Session::resync_notice(AgentNotice::Kind kind, const DiskStream& stream) const {
    const auto slot = static_cast<std::size_t>(&stream - streams_.data());
    AgentNotice notice;
    notice.kind = kind;
    notice.machine = machine_;
    notice.session = id();
    notice.disk = stream.id();
    notice.subject = machine_name_ + "/" + hello_disks_.at(slot).name;
    return notice;
}

Result<void> Session::on_resync_required(std::uint16_t slot, Bytes payload) {
    CW_TRY_ASSIGN(const DiskStream* stream, stream_of(slot));
    CW_TRY_ASSIGN(wire::ResyncRequired message, wire::decode<wire::ResyncRequired>(payload));
    AgentNotice notice = resync_notice(AgentNotice::Kind::resync_required, *stream);
    notice.unread_bytes = message.missed_bytes;
    notice.reason = std::move(message.reason);
    note(std::move(notice));
    return {};
}

Result<void> Session::on_goodbye(Bytes payload) {
    CW_TRY_ASSIGN(wire::Goodbye message, wire::decode<wire::Goodbye>(payload));
    for (const wire::Goodbye::Disk& disk : message.disks) {
        CW_TRY_ASSIGN(const DiskStream* stream, stream_of(disk.slot));
        if (disk.final_seq > stream->received()) {
            return violation("GOODBYE at a sequence that never came");
        }
    }
    note({.kind = AgentNotice::Kind::goodbye,
          .machine = machine_,
          .session = id(),
          .planned_failover = message.planned_failover});
    goodbye_ = std::move(message);
    state_ = State::leaving;
    flush();
    return {};
}

}  // namespace cw::ingest
