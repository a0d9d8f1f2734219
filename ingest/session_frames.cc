// What a live session does with each frame: check everything, then make a record of it.
#include "base/assert.h"
#include "base/log.h"
#include "ingest/session.h"
#include "pipeline/fence.h"

#include <algorithm>

namespace cw::ingest {
namespace {

using enum wire::FrameType;

pipeline::RecordType record_type_of(wire::FrameType type) {
    switch (type) {
        case write:
            return pipeline::RecordType::write;
        case base:
            return pipeline::RecordType::base;
        case point:
            return pipeline::RecordType::point;
        case point_result:
            return pipeline::RecordType::point_result;
        case resync_begin:
            return pipeline::RecordType::resync_begin;
        case resync_end:
            return pipeline::RecordType::resync_end;
        case wire::FrameType::flush:
            return pipeline::RecordType::flush;
        case resize:
            return pipeline::RecordType::resize;
        default:
            break;
    }
    CW_ASSERT(false && "not a stored frame");
    return {};
}

// What a NAK is called in the log: the protocol's numbers mean nothing to an operator.
Errc code_of(wire::NakReason reason) noexcept {
    switch (reason) {
        case wire::NakReason::gap:
            return Errc::seq_gap;
        case wire::NakReason::corrupt:
            return Errc::payload_corrupt;
        case wire::NakReason::generation:
            return Errc::generation_mismatch;
        case wire::NakReason::size:
            return Errc::size_mismatch;
        case wire::NakReason::quota:
            return Errc::quota_exceeded;
        case wire::NakReason::conflict:
            return Errc::seq_conflict;
    }
    return Errc::internal;
}

bool carries_credit(wire::FrameType type) noexcept {
    return type == write || type == base;
}

// Of a disk, and without a place in its order.
bool stores_nothing(wire::FrameType type) noexcept {
    return type == extents || type == hashes_request || type == hashes || type == resync_required ||
           type == summaries_request || type == summaries;
}

std::unexpected<Error> violation(std::string detail) {
    return fail(Errc::frame_malformed, std::move(detail));
}

}  // namespace

void Session::dispatch(InFrame&& frame) {
    const bool paid = carries_credit(frame.header.type);
    if (paid && !credit_.receive(frame.header.payload_bytes)) {
        close_with({Errc::quota_exceeded, std::to_string(frame.header.payload_bytes) +
                                              " bytes on a credit of " +
                                              std::to_string(credit_.available())});
        return;
    }
    if (frame.header.type == hello) {
        close_with({Errc::frame_malformed, "HELLO comes once"});
        return;
    }
    if (frame.header.session != admission_.session) {
        discard(frame);
        return;
    }
    if (state_ == State::leaving && frame.header.type != ping && frame.header.type != pong) {
        discard(frame);
        close_with({Errc::frame_malformed, "a frame after GOODBYE"});
        return;
    }
    const bool sequenced =
        frame.header.disk_slot != wire::machine_slot && !stores_nothing(frame.header.type);
    const Result<void> done =
        sequenced ? on_sequenced(std::move(frame)) : on_control(std::move(frame));
    if (!done) {
        close_with(done.error());
    }
}

Result<void> Session::on_sequenced(InFrame&& frame) {
    const Result<DiskStream*> stream = stream_of(frame.header.disk_slot);
    if (!stream) {
        discard(frame);
        return std::unexpected(stream.error());
    }
    switch (frame.header.type) {
        case write:
            return on_write(**stream, std::move(frame));
        case base:
            return on_base(**stream, std::move(frame));
        case wire::FrameType::flush:
            return on_flush(**stream, std::move(frame));
        default:
            return on_mark(**stream, std::move(frame));
    }
}

Result<void> Session::on_write(DiskStream& stream, InFrame&& frame) {
    const wire::FrameHeader& header = frame.header;
    if (stream.stopped() && header.seq != stream.next_seq()) {
        discard(frame);  // Cheaply: a peer may have much under way when it is stopped.
        return {};
    }
    if (!wire::check_table(header, frame.record.table.bytes())) {
        discard(frame);
        nak(stream, wire::NakReason::corrupt, "extent table checksum");
        return {};
    }
    const auto table = pipeline::read_extent_table(frame.record.table.bytes(), header.data_bytes(),
                                                   stream.size_bytes());
    if (!table) {
        discard(frame);
        if (table.error().code != Errc::size_mismatch) {
            return std::unexpected(table.error());
        }
        nak(stream, wire::NakReason::size, table.error().detail);
        return {};
    }
    const auto count = static_cast<std::uint32_t>(table->extents.size());
    if (!is_what_it_was(stream, header, count)) {
        discard(frame);
        return {};
    }
    if (!admit(stream, frame, count)) {
        return {};
    }
    if (const auto sound = pipeline::check_extents(frame.record, *table); !sound) {
        discard(frame);
        nak(stream, wire::NakReason::corrupt, sound.error().detail);
        return {};
    }
    stream.take(header.type, header.seq, count);
    pipeline::Record record = std::move(frame.record);
    record.header.seq_count = count;
    hand_over(std::move(record), frame, &stream);
    return {};
}

// BASE is commutative beneath its fence: it is taken also while the disk's writes are stopped.
Result<void> Session::on_base(DiskStream& stream, InFrame&& frame) {
    const wire::FrameHeader& header = frame.header;
    if (stream.rejected() || raw(stream.fence()) == 0 || header.seq != stream.fence()) {
        discard(frame);
        if (!stream.stopped()) {
            const bool rejected = stream.rejected();
            nak(stream, rejected ? wire::NakReason::quota : wire::NakReason::generation,
                "BASE of a fence that is not open");
        }
        return {};
    }
    const std::uint64_t first = std::uint64_t{header.ordinal} * wire::super_chunk_bytes;
    const auto table_sound = wire::check_table(header, frame.record.table.bytes());
    if (!table_sound) {
        discard(frame);
        return table_sound;
    }
    const auto table = pipeline::read_extent_table(frame.record.table.bytes(), header.data_bytes(),
                                                   stream.size_bytes());
    if (!table) {
        discard(frame);
        return std::unexpected(table.error());
    }
    for (const pipeline::Extent& extent : table->extents) {
        if (extent.offset < first || extent.length > wire::super_chunk_bytes ||
            extent.offset - first > wire::super_chunk_bytes - extent.length) {
            discard(frame);
            return fail(Errc::size_mismatch, "BASE beyond its super-chunk");
        }
    }
    if (const auto sound = pipeline::check_extents(frame.record, *table); !sound) {
        discard(frame);
        return sound;
    }
    pipeline::Record record = std::move(frame.record);
    record.header.ordinal = header.ordinal;
    stream.take_base(header.ordinal);
    hand_over(std::move(record), frame, &stream);
    return {};
}

// RESYNC_BEGIN, RESYNC_END, RESIZE: each consumes one sequence.
Result<void> Session::on_mark(DiskStream& stream, InFrame&& frame) {
    const wire::FrameHeader& header = frame.header;
    CW_TRY(wire::check_table(header, frame.control));
    pipeline::Record record;
    wire::ResyncBegin begin;
    std::optional<std::uint32_t> follows;
    if (header.type == resync_begin) {
        CW_TRY_ASSIGN(begin, wire::decode<wire::ResyncBegin>(frame.control));
        record.header.aux = static_cast<std::uint64_t>(begin.kind);
        if (begin.kind == wire::ResyncKind::resume) {
            static_assert(raw(wire::ResyncKind::resume) == pipeline::resync_kind_resume);
            record.header.ordinal = header.ordinal;
            follows = header.ordinal;
        } else if (header.ordinal != 0) {
            return violation("a RESYNC_BEGIN that covers everything follows nothing");
        }
    } else if (header.type == resize) {
        CW_TRY_ASSIGN(const auto resized, wire::decode<wire::Resize>(frame.control));
        record.header.aux = resized.size_bytes;
    } else if (header.type != resync_end) {
        return violation(std::string(wire::name_of(header.type)) + " from an agent");
    }
    if (!admit(stream, frame, 1, follows)) {
        return {};
    }
    if (header.type == resync_end && raw(stream.fence()) == 0) {
        return violation("RESYNC_END without an open fence");
    }
    if (header.type == resync_end) {
        // An end that is believed over a hole makes points of a disk that never was.
        if (stream.base_held() < header.ordinal) {
            discard(frame);
            nak(stream, wire::NakReason::generation,
                "RESYNC_END after " + std::to_string(header.ordinal) + " super-chunks, of which " +
                    std::to_string(stream.base_held()) + " are here");
            return {};
        }
        record.header.ordinal = header.ordinal;
    }
    if (header.type == resize) {
        stream.resize(record.header.aux);
    }
    if (header.type == resync_begin && begin.kind == wire::ResyncKind::catch_up) {
        static_assert(raw(wire::ResyncKind::catch_up) == pipeline::resync_kind_catch_up);
        record.header.ordinal = pipeline::ordinal_of(stream.received());
    }
    stream.take(header.type, header.seq, 1);
    note_mark(stream, header.type, std::move(begin));
    record.header.seq_count = 1;
    hand_over(std::move(record), frame, &stream);
    return {};
}

// For people: why a disk is compared, and that it was.
void Session::note_mark(const DiskStream& stream, wire::FrameType type, wire::ResyncBegin begin) {
    if (type != resize) {
        const bool begins = type == resync_begin;
        AgentNotice notice = resync_notice(
            begins ? AgentNotice::Kind::resync_begin : AgentNotice::Kind::resync_end, stream);
        notice.resync = begin.kind;
        notice.reason = std::move(begin.reason);
        note(std::move(notice));
    }
}

Result<void> Session::on_flush(DiskStream& stream, InFrame&& frame) {
    if (frame.header.seq != stream.received() || stream.rejected()) {
        if (stream.stopped()) {
            return {};
        }
        return violation("FLUSH at a sequence that is not the last one");
    }
    hand_over(pipeline::Record{}, frame, &stream);
    return {};
}

// Whether a WRITE that may have come before has the content it had then; if not, the disk is
// quarantined: neither content can be trusted, and the first is never overwritten.
bool Session::is_what_it_was(DiskStream& stream, const wire::FrameHeader& header,
                             std::uint32_t count) {
    if (stream.rejected() || header.seq > stream.next_seq() ||
        admission_.memory->note(stream.id(), stream.generation(), header.seq, count,
                                header.table_crc)) {
        return true;
    }
    const auto why = admission_.memory->quarantined(stream.id(), stream.generation());
    CW_ASSERT(why.has_value());
    context_.table.quarantine({machine_, stream.id(), stream.generation(), *why});
    stream.reject();
    nak(stream, wire::NakReason::conflict, *why);
    return false;
}

// A sequenced frame's place in its stream. False: it was dealt with, and is not to be stored.
bool Session::admit(DiskStream& stream, const InFrame& frame, std::uint32_t count,
                    std::optional<std::uint32_t> follows) {
    switch (stream.judge(frame.header.type, frame.header.seq, count, follows)) {
        case Verdict::accept:
            return true;
        case Verdict::duplicate:
            stream.tell_again();
            break;
        case Verdict::discard:
            break;
        case Verdict::nak_gap:
            nak(stream, wire::NakReason::gap,
                "came: " + std::to_string(raw(frame.header.seq)) + ", " + std::to_string(count));
            break;
        case Verdict::nak_generation:
            nak(stream, wire::NakReason::generation, "RESYNC_BEGIN must come first");
            break;
        case Verdict::nak_quota:
            nak(stream, wire::NakReason::quota, "the disk was rejected");
            break;
    }
    discard(frame);
    return false;
}

void Session::discard(const InFrame& frame) {
    if (carries_credit(frame.header.type)) {
        credit_.discard(frame.header.payload_bytes);
    }
}

void Session::nak(DiskStream& stream, wire::NakReason reason, std::string_view detail) {
    stream.stop();
    const auto slot = static_cast<std::uint16_t>(&stream - streams_.data());
    log_warning("ingest.nak", {{"machine", machine_},
                               {"disk", stream.id()},
                               {"code", name_of(code_of(reason))},
                               {"expected", stream.next_seq()},
                               {"detail", detail}});
    send(wire::FrameType::nak,
         wire::encode(wire::Nak{slot, reason, stream.next_seq(),
                                std::string(detail.substr(0, wire::reason_bytes_max))}));
}

Result<DiskStream*> Session::stream_of(std::uint16_t slot) {
    if (slot >= streams_.size()) {
        return violation("slot " + std::to_string(slot));
    }
    return &streams_[slot];
}

void Session::hand_over(pipeline::Record&& record, const InFrame& frame, const DiskStream* stream) {
    CW_ASSERT(!outbox_.record);
    record.header.type = record_type_of(frame.header.type);
    record.header.key.machine = machine_;
    if (stream != nullptr) {
        record.header.key.disk = stream->id();
        record.header.key.generation = stream->generation();
        if (record.header.type != pipeline::RecordType::flush) {
            record.header.aux |= stream->size_bytes();
        }
    }
    record.header.session = admission_.session;
    record.header.seq = frame.header.seq;
    if (!record.table.empty()) {
        record.header.table_crc = frame.header.table_crc;
    }
    record.received = context_.clock.boot();
    if (carries_credit(frame.header.type)) {
        bytes_total_->add(frame.header.payload_bytes);
    } else {
        credit_.charge(std::uint64_t{record.header.table_bytes} + record.header.data_bytes);
    }
    outbox_.record = std::move(record);
}

}  // namespace cw::ingest
