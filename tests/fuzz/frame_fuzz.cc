// What a peer sends on a replication connection: a frame header, then the message it announces.
// What decodes must encode to the same bytes again.
#include "base/assert.h"
#include "base/checksum.h"
#include "ingest/wire/frame.h"
#include "ingest/wire/messages.h"
#include "pipeline/point.h"

#include <bit>

namespace {

using namespace cw;

template <typename Message>
void check(Bytes payload) {
    if (const auto message = wire::decode<Message>(payload)) {
        const ByteVector again = wire::encode(*message);
        CW_ASSERT(std::ranges::equal(again, payload));
    }
}

// What a side would say of blocks that it knows, for each super-chunk it was told of.
void check_summaries(Bytes payload) {
    check<wire::Summaries>(payload);
    const auto summaries = wire::decode<wire::Summaries>(payload);
    if (!summaries) {
        return;
    }
    wire::Summaries own{.first = summaries->first, .entries = {}};
    for (const wire::Summaries::Entry& entry : summaries->entries) {
        const auto known = static_cast<std::size_t>(std::popcount(entry.known));
        const std::vector<Fingerprint> fingerprints(known, entry.digest);
        own.entries.push_back(wire::summarise(entry.known, fingerprints, FingerprintSecret{}));
        CW_ASSERT((own.entries.back().digest == Fingerprint{}) == (known == 0));
    }
    const auto again = wire::decode<wire::Summaries>(wire::encode(own));
    CW_ASSERT(again && again->entries.size() == own.entries.size());
}

// `head` is a header that was accepted.
void check_header(const wire::FrameHeader& header, Bytes head, Bytes payload) {
    CW_ASSERT(std::ranges::equal(wire::encode_frame_header(header), head));
    CW_ASSERT(header.table_bytes <= header.payload_bytes);
    CW_ASSERT(header.data_bytes() <= wire::frame_data_bytes_max);
    const auto number = static_cast<std::size_t>(header.type);
    CW_ASSERT(number >= 1 && number <= wire::frame_rules().size());
    const wire::FrameRule& rule = wire::frame_rules()[number - 1];
    CW_ASSERT(rule.type == header.type && rule.name == wire::name_of(header.type));
    CW_ASSERT(header.table_bytes >= rule.table_min && header.table_bytes <= rule.table_max);
    if (header.table_bytes <= payload.size()) {
        const Bytes table = payload.first(header.table_bytes);
        const bool right = crc32c(table) == header.table_crc;
        CW_ASSERT(wire::check_table(header, table).has_value() == right);
    }
    if (header.table_bytes == payload.size() && header.table_bytes == header.payload_bytes) {
        const ByteVector frame = wire::encode_control_frame(header, payload);
        const Bytes own = Bytes(frame).first(wire::frame_header_bytes);
        const auto again = wire::decode_frame_header(own);
        CW_ASSERT(again && again->payload_bytes == payload.size());
        CW_ASSERT(wire::check_table(*again, payload).has_value());
    }
}

void check_point(Bytes payload) {
    if (const auto point = pipeline::decode_point(payload)) {
        CW_ASSERT(pipeline::name_of(point->kind) != "unknown");
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
            return check_summaries(payload);
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
    CW_ASSERT(!wire::decode_frame_header(bytes.first(head.size() - 1)));
    const Bytes payload = bytes.subspan(head.size());
    if (const auto header = wire::decode_frame_header(head)) {
        check_header(*header, head, payload);
    }
    ByteVector mended(head.begin(), head.end());
    ByteWriter(mended).u32(wire::frame_magic);
    const std::uint32_t crc = crc32c(Bytes(mended).first(mended.size() - 4));
    ByteWriter(MutableBytes(mended).last(4)).u32(crc);
    if (const auto header = wire::decode_frame_header(mended)) {
        check_header(*header, mended, payload);
    }
    // The type is taken as it is, so that messages are reached without a right checksum.
    check_payload(static_cast<wire::FrameType>(data[4]), payload);
    return 0;
}
