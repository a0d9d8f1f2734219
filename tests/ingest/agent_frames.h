// The agent's side for tests: whole frames as bytes, with real extent tables, CRCs and points.
#pragma once

#include "ingest/wire/frame.h"
#include "ingest/wire/messages.h"
#include "pipeline/extent_table.h"
#include "pipeline/point.h"

#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace cw::test {

inline constexpr std::uint64_t test_disk_bytes = 64 * mib;

template <typename Id>
Id id_of(std::uint8_t seed) {
    Id id;
    id.bytes.fill(static_cast<std::byte>(seed));
    return id;
}

// One extent to send: `length` bytes of `fill` at `offset`.
struct Piece {
    std::uint64_t offset = 0;
    std::uint32_t length = 4096;
    std::uint8_t fill = 1;
    pipeline::ExtentOp op = pipeline::ExtentOp::write;
};

// Sequence and session of a frame on one disk slot.
struct Place {
    SessionId session{};
    std::uint16_t slot = 0;
    Seq seq{};
    std::uint32_t ordinal = 0;
};

ByteVector write_frame(const Place& place, const std::vector<Piece>& pieces);
ByteVector base_frame(const Place& place, const std::vector<Piece>& pieces);
// RESYNC_END, FLUSH: frames without payload.
ByteVector empty_frame(wire::FrameType type, const Place& place);
// Of kind resume, `place.ordinal` says what it follows.
ByteVector resync_begin_frame(const Place& place, wire::ResyncKind kind);
ByteVector resize_frame(const Place& place, std::uint64_t bytes);
ByteVector point_frame(SessionId session, const pipeline::Point& point);
// With `payload` as it is, whatever it says.
ByteVector point_frame_of(SessionId session, ByteVector payload);
ByteVector point_result_frame(SessionId session, const pipeline::PointResult& result);

template <typename Message>
ByteVector message_frame(wire::FrameType type, SessionId session, const Message& message,
                         std::uint16_t slot = wire::machine_slot) {
    return wire::encode_control_frame({.type = type, .disk_slot = slot, .session = session},
                                      wire::encode(message));
}

// A HELLO with `disks` disks of test_disk_bytes, ids id_of(1), id_of(2) …, nothing sent yet.
wire::Hello plain_hello(std::size_t disks = 1, std::uint64_t boot_counter = 1);
// A point over those disks, generation 1, cut at `cuts`.
pipeline::Point plain_point(std::uint8_t id, const std::vector<std::uint64_t>& cuts);

// A frame a server sent.
struct OutFrame {
    wire::FrameHeader header;
    ByteVector payload;

    template <typename Message>
    [[nodiscard]] Message as() const {
        auto decoded = wire::decode<Message>(payload);
        EXPECT_TRUE(decoded) << wire::name_of(header.type);
        return decoded ? std::move(*decoded) : Message{};
    }
};
// Takes whole frames off the front of `bytes`. Asserts that they are valid.
std::vector<OutFrame> take_frames(ByteVector& bytes);

}  // namespace cw::test
