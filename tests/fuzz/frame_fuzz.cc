// What a peer sends on a replication connection: a frame header, then the message it announces.
// What decodes must encode to the same bytes again.
#include "base/assert.h"
#include "ingest/wire/frame.h"
#include "ingest/wire/messages.h"
#include "pipeline/point.h"

namespace {

using namespace cw;

template <typename Message>
void check(Bytes payload) {
    if (const auto message = wire::decode<Message>(payload)) {
        const ByteVector again = wire::encode(*message);
        CW_ASSERT(std::ranges::equal(again, payload));
    }
}

void check_point(Bytes payload) {
    if (const auto point = pipeline::decode_point(payload)) {
        const ByteVector again = pipeline::encode_point(*point);
        CW_ASSERT(again.size() <= payload.size() &&
                  std::ranges::equal(again, payload.first(again.size())));
    }
    if (const auto result = pipeline::decode_point_result(payload)) {
        const ByteVector again = pipeline::encode_point_result(*result);
        CW_ASSERT(again.size() <= payload.size() &&
                  std::ranges::equal(again, payload.first(again.size())));
    }
}

void check_payload(wire::FrameType type, Bytes payload) {
    switch (type) {
        case wire::FrameType::hello:
            return check<wire::Hello>(payload);
        case wire::FrameType::welcome:
            return check<wire::Welcome>(payload);
        case wire::FrameType::extents:
            return check<wire::Extents>(payload);
        case wire::FrameType::mode:
            return check<wire::Mode>(payload);
        case wire::FrameType::point:
            return check_point(payload);
        case wire::FrameType::point_status:
            return check<wire::PointStatus>(payload);
        case wire::FrameType::ack:
            return check<wire::Ack>(payload);
        case wire::FrameType::credit:
            return check<wire::Credit>(payload);
        case wire::FrameType::nak:
            return check<wire::Nak>(payload);
        case wire::FrameType::resync_begin:
            return check<wire::ResyncBegin>(payload);
        case wire::FrameType::hashes:
            return check<wire::Hashes>(payload);
        case wire::FrameType::hashes_request:
            return check<wire::HashesRequest>(payload);
        case wire::FrameType::resize:
            return check<wire::Resize>(payload);
        case wire::FrameType::ping:
            return check<wire::Ping>(payload);
        case wire::FrameType::error:
            return check<wire::ErrorMessage>(payload);
        case wire::FrameType::goodbye:
            return check<wire::Goodbye>(payload);
        case wire::FrameType::policy:
            return check<wire::Policy>(payload);
        case wire::FrameType::summaries:
            return check<wire::Summaries>(payload);
        case wire::FrameType::summaries_request:
            return check<wire::SummariesRequest>(payload);
        case wire::FrameType::resync_required:
            return check<wire::ResyncRequired>(payload);
        default:
            return;
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const Bytes bytes(reinterpret_cast<const std::byte*>(data), size);
    if (size < wire::frame_header_bytes) {
        return 0;
    }
    const Bytes head = bytes.first(wire::frame_header_bytes);
    if (const auto header = wire::decode_frame_header(head)) {
        CW_ASSERT(std::ranges::equal(wire::encode_frame_header(*header), head));
        CW_ASSERT(header->table_bytes <= header->payload_bytes);
        CW_ASSERT(header->data_bytes() <= wire::frame_data_bytes_max);
    }
    // The type is taken as it is, so that messages are reached without a right checksum.
    check_payload(static_cast<wire::FrameType>(data[4]), bytes.subspan(wire::frame_header_bytes));
    return 0;
}
