#include "agent/session/server_session.h"

#include "base/checksum.h"
#include "base/crash_point.h"

#include <algorithm>
#include <utility>

namespace cw::agent {
namespace {

constexpr std::size_t read_bytes = 64 * kib;

wire::FrameType frame_type_of(pipeline::RecordType type) {
    switch (type) {
        case pipeline::RecordType::write:
            return wire::FrameType::write;
        case pipeline::RecordType::base:
            return wire::FrameType::base;
        case pipeline::RecordType::point:
            return wire::FrameType::point;
        case pipeline::RecordType::resync_begin:
            return wire::FrameType::resync_begin;
        case pipeline::RecordType::resync_end:
            return wire::FrameType::resync_end;
        case pipeline::RecordType::flush:
            return wire::FrameType::flush;
        case pipeline::RecordType::resize:
            return wire::FrameType::resize;
        case pipeline::RecordType::point_result:
            return wire::FrameType::point_result;
    }
    CW_ASSERT(false);
    return {};
}

bool needs_credit(pipeline::RecordType type) noexcept {
    return type == pipeline::RecordType::write || type == pipeline::RecordType::base;
}

}  // namespace

ServerSession::ServerSession(std::unique_ptr<Link> link, Clock& clock)
    : link_(std::move(link)), clock_(clock), last_heard_(clock.boot()) {}

Result<void> ServerSession::send(wire::FrameType type, std::uint16_t slot, Seq seq, Bytes payload,
                                 std::uint32_t ordinal) {
    wire::FrameHeader header;
    header.type = type;
    header.disk_slot = slot;
    header.seq = seq;
    header.session = session_;
    header.ordinal = ordinal;
    return link_->write(wire::encode_control_frame(header, payload));
}

Result<void> ServerSession::send_record(const pipeline::Record& record, std::uint16_t slot) {
    CW_ASSERT(may_send(record.header) && record.has_data());
    wire::FrameHeader header;
    header.type = frame_type_of(record.header.type);
    header.disk_slot = slot;
    header.payload_bytes = record.header.table_bytes + record.header.data_bytes;
    header.table_bytes = record.header.table_bytes;
    header.seq = record.header.type == pipeline::RecordType::point ? Seq{} : record.header.seq;
    header.session = session_;
    header.ordinal = record.header.ordinal;
    header.table_crc = record.header.table_crc;
    ByteVector head(wire::frame_header_bytes + record.header.table_bytes);
    ByteWriter out(head);
    out.bytes(wire::encode_frame_header(header));
    out.bytes(record.table.bytes());  // One TLS record for both.
    CW_TRY(link_->write(head));
    CW_CRASH_POINT("agent.record.begun");
    for (std::uint32_t at = 0; at < record.header.data_bytes; at += pipeline::slab_bytes) {
        const auto step =
            std::min<std::uint32_t>(pipeline::slab_bytes, record.header.data_bytes - at);
        CW_TRY(link_->write(record.data_in_slab(at, step)));
    }
    if (needs_credit(record.header.type)) {
        sent_payload_ += header.payload_bytes;
    }
    CW_CRASH_POINT("agent.record.sent");
    return {};
}

bool ServerSession::may_send(const pipeline::RecordHeader& header) const noexcept {
    const std::uint64_t payload = std::uint64_t{header.table_bytes} + header.data_bytes;
    return !needs_credit(header.type) || sent_payload_ + payload <= credit_;
}

Result<std::optional<InFrame>> ServerSession::next() {
    CW_TRY_ASSIGN(auto frame, parse());
    if (frame) {
        return frame;
    }
    in_.erase(in_.begin(), in_.begin() + static_cast<std::ptrdiff_t>(std::exchange(at_, 0)));
    fresh_.resize(read_bytes);
    CW_TRY_ASSIGN(const std::size_t n, link_->read(fresh_));
    if (n == 0) {
        return std::nullopt;
    }
    in_.insert(in_.end(), fresh_.begin(), fresh_.begin() + static_cast<std::ptrdiff_t>(n));
    last_heard_ = clock_.boot();
    return parse();
}

Result<std::optional<InFrame>> ServerSession::parse() {
    const Bytes have = Bytes(in_).subspan(at_);
    if (have.size() < wire::frame_header_bytes) {
        return std::nullopt;
    }
    CW_TRY_ASSIGN(const auto header,
                  wire::decode_frame_header(have.first(wire::frame_header_bytes)));
    if (header.payload_bytes > wire::control_payload_bytes_max || header.data_bytes() != 0) {
        return fail(Errc::frame_malformed,
                    "the server sent " + std::string(wire::name_of(header.type)));
    }
    if (have.size() - wire::frame_header_bytes < header.payload_bytes) {
        return std::nullopt;
    }
    const Bytes payload = have.subspan(wire::frame_header_bytes, header.payload_bytes);
    CW_TRY(wire::check_table(header, payload));
    at_ += wire::frame_header_bytes + header.payload_bytes;
    return InFrame{header, ByteVector(payload.begin(), payload.end())};
}

void ServerSession::welcomed(SessionId session, std::uint64_t credit) noexcept {
    session_ = session;
    credit_ = credit;
    sent_payload_ = 0;
}

}  // namespace cw::agent
