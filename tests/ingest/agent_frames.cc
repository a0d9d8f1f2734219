#include "tests/ingest/agent_frames.h"

#include "base/checksum.h"

#include <cstring>

namespace cw::test {
namespace {

ByteVector joined(const wire::FrameHeader& header, Bytes table, Bytes data) {
    const auto head = wire::encode_frame_header(header);
    ByteVector out(head.begin(), head.end());
    out.insert(out.end(), table.begin(), table.end());
    out.insert(out.end(), data.begin(), data.end());
    return out;
}

ByteVector data_frame(wire::FrameType type, const Place& place, const std::vector<Piece>& pieces) {
    pipeline::ExtentTable table;
    ByteVector data;
    for (const Piece& piece : pieces) {
        pipeline::Extent extent{.offset = piece.offset, .length = piece.length, .op = piece.op};
        if (piece.op == pipeline::ExtentOp::write) {
            const ByteVector bytes(piece.length, static_cast<std::byte>(piece.fill));
            extent.data_position = static_cast<std::uint32_t>(data.size());
            extent.crc = crc32c(bytes);
            data.insert(data.end(), bytes.begin(), bytes.end());
            data.resize(align_up(data.size(), block_bytes));
        }
        table.extents.push_back(extent);
    }
    ByteVector head(pipeline::extent_table_bytes(pieces.size()));
    pipeline::write_extent_table(table, head);
    const wire::FrameHeader header{
        .type = type,
        .disk_slot = place.slot,
        .payload_bytes = static_cast<std::uint32_t>(head.size() + data.size()),
        .table_bytes = static_cast<std::uint32_t>(head.size()),
        .seq = place.seq,
        .session = place.session,
        .ordinal = place.ordinal,
        .table_crc = crc32c(head)};
    return joined(header, head, data);
}

ByteVector block_frame(wire::FrameType type, SessionId session, ByteVector payload) {
    payload.resize(align_up(payload.size(), block_bytes));
    const auto bytes = static_cast<std::uint32_t>(payload.size());
    return joined({.type = type,
                   .payload_bytes = bytes,
                   .table_bytes = bytes,
                   .session = session,
                   .table_crc = crc32c(payload)},
                  payload, {});
}

}  // namespace

ByteVector write_frame(const Place& place, const std::vector<Piece>& pieces) {
    return data_frame(wire::FrameType::write, place, pieces);
}

ByteVector base_frame(const Place& place, const std::vector<Piece>& pieces) {
    return data_frame(wire::FrameType::base, place, pieces);
}

ByteVector empty_frame(wire::FrameType type, const Place& place) {
    return wire::encode_control_frame({.type = type,
                                       .disk_slot = place.slot,
                                       .seq = place.seq,
                                       .session = place.session,
                                       .ordinal = place.ordinal},
                                      {});
}

ByteVector resync_begin_frame(const Place& place, wire::ResyncKind kind) {
    return wire::encode_control_frame({.type = wire::FrameType::resync_begin,
                                       .disk_slot = place.slot,
                                       .seq = place.seq,
                                       .session = place.session,
                                       .ordinal = place.ordinal},
                                      wire::encode(wire::ResyncBegin{kind, "test"}));
}

ByteVector resize_frame(const Place& place, std::uint64_t bytes) {
    return wire::encode_control_frame({.type = wire::FrameType::resize,
                                       .disk_slot = place.slot,
                                       .seq = place.seq,
                                       .session = place.session},
                                      wire::encode(wire::Resize{bytes}));
}

ByteVector point_frame(SessionId session, const pipeline::Point& point) {
    return point_frame_of(session, pipeline::encode_point(point));
}

ByteVector point_frame_of(SessionId session, ByteVector payload) {
    return block_frame(wire::FrameType::point, session, std::move(payload));
}

ByteVector point_result_frame(SessionId session, const pipeline::PointResult& result) {
    return block_frame(wire::FrameType::point_result, session,
                       pipeline::encode_point_result(result));
}

wire::Hello plain_hello(std::size_t disks, std::uint64_t boot_counter) {
    wire::Hello hello;
    hello.software = "test-agent";
    hello.machine_name = "test";
    hello.boot_counter = boot_counter;
    for (std::size_t i = 0; i < disks; ++i) {
        hello.disks.push_back({.id = id_of<DiskId>(static_cast<std::uint8_t>(i + 1)),
                               .size_bytes = test_disk_bytes,
                               .generation = Generation{1},
                               .next_seq = Seq{1},
                               .oldest_held = Seq{1},
                               .name = "disk"});
    }
    return hello;
}

pipeline::Point plain_point(std::uint8_t id, const std::vector<std::uint64_t>& cuts) {
    pipeline::Point point;
    point.id = id_of<PointId>(id);
    for (std::size_t i = 0; i < cuts.size(); ++i) {
        point.cuts.push_back({.disk = id_of<DiskId>(static_cast<std::uint8_t>(i + 1)),
                              .generation = Generation{1},
                              .cut = Seq{cuts[i]}});
    }
    return point;
}

std::vector<OutFrame> take_frames(ByteVector& bytes) {
    std::vector<OutFrame> frames;
    std::size_t at = 0;
    while (bytes.size() - at >= wire::frame_header_bytes) {
        const auto header =
            wire::decode_frame_header(Bytes(bytes).subspan(at, wire::frame_header_bytes));
        CW_ASSERT(header);
        const std::size_t end = at + wire::frame_header_bytes + header->payload_bytes;
        if (end > bytes.size()) {
            break;
        }
        const Bytes payload =
            Bytes(bytes).subspan(at + wire::frame_header_bytes, header->payload_bytes);
        CW_ASSERT(wire::check_table(*header, payload));
        frames.push_back({*header, ByteVector(payload.begin(), payload.end())});
        at = end;
    }
    bytes.erase(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(at));
    return frames;
}

}  // namespace cw::test
