#include "egress/volume/volume_state.h"

#include "base/checksum.h"

namespace cw::volume {
namespace {

// u32 CRC-32C of the rest, u32 magic "CWV1", u8 phase, u8 bit 0 point held, bit 1 merging without
// undo, bit 2 the held point has words, then the fields in order, then those words (u8 kind, tag).
constexpr std::uint32_t state_magic = 0x31565743;
constexpr std::size_t state_bytes_max = 16 * 1024, text_bytes_max = 4096;

bool has_words(const HeldPoint& point) {
    return point.kind != pipeline::PointKind::crash || !point.tag.empty();
}

Result<VolumeState> parse(ByteReader& in) {
    VolumeState state;
    CW_TRY_ASSIGN(const std::uint32_t magic, in.u32());
    CW_TRY_ASSIGN(const std::uint8_t phase, in.u8());
    CW_TRY_ASSIGN(const std::uint8_t held, in.u8());
    if (magic != state_magic || phase < 1 || phase > 4 || held > 7) {
        return fail(Errc::record_corrupt, "volume state: magic or phase");
    }
    state.phase = static_cast<Phase>(phase);
    state.without_undo = (held & 2) != 0;
    CW_TRY_ASSIGN(state.disk.bytes, in.array<16>());
    CW_TRY_ASSIGN(state.size_bytes, in.u64());
    CW_TRY_ASSIGN(state.target_path, in.text16(text_bytes_max));
    CW_TRY_ASSIGN(state.target_identity, in.text16(text_bytes_max));
    CW_TRY_ASSIGN(state.log_number, in.u64());
    CW_TRY_ASSIGN(const std::uint64_t generation, in.u64());
    CW_TRY_ASSIGN(const std::uint64_t received, in.u64());
    state.generation = Generation{generation};
    state.received = Seq{received};
    if ((held & 1) != 0) {
        CW_TRY_ASSIGN(state.point, read_held_point(in));
    }
    if ((held & 4) != 0) {
        if (!state.point) {
            return fail(Errc::record_corrupt, "volume state: words of no point");
        }
        CW_TRY(read_point_words(in, *state.point));
        if (!has_words(*state.point)) {
            return fail(Errc::record_corrupt, "volume state: words that say nothing");
        }
    }
    if (!in.at_end()) {
        return fail(Errc::record_corrupt, "volume state: bytes behind it");
    }
    return state;
}

}  // namespace

std::string_view name_of(Phase phase) noexcept {
    switch (phase) {
        case Phase::collecting:
            return "collecting";
        case Phase::switching:
            return "switching";
        case Phase::done:
            return "done";
        case Phase::returning:
            return "returning";
    }
    return "?";
}

void append_held_point(ByteAppender& out, const HeldPoint& point) {
    out.bytes(point.id.bytes);
    out.u64(raw(point.generation));
    out.u64(raw(point.cut));
    out.u64(static_cast<std::uint64_t>(raw(point.source_time)));
}

Result<HeldPoint> read_held_point(ByteReader& in) {
    HeldPoint point;
    CW_TRY_ASSIGN(point.id.bytes, in.array<16>());
    CW_TRY_ASSIGN(const std::uint64_t generation, in.u64());
    CW_TRY_ASSIGN(const std::uint64_t cut, in.u64());
    CW_TRY_ASSIGN(const std::uint64_t time, in.u64());
    point.generation = Generation{generation};
    point.cut = Seq{cut};
    point.source_time = WallMicros{static_cast<std::int64_t>(time)};
    return point;
}

void append_point_words(ByteAppender& out, const HeldPoint& point) {
    out.u8(has_words(point) ? static_cast<std::uint8_t>(point.kind) : 0);
    out.text16(point.tag);
}

Result<void> read_point_words(ByteReader& in, HeldPoint& point) {
    CW_TRY_ASSIGN(const std::uint8_t kind, in.u8());
    CW_TRY_ASSIGN(point.tag, in.text16(pipeline::point_tag_bytes_max));
    if (kind > static_cast<std::uint8_t>(pipeline::PointKind::planned)) {
        return fail(Errc::record_corrupt, "a point of an unknown kind");
    }
    point.kind = kind == 0 ? pipeline::PointKind::crash : static_cast<pipeline::PointKind>(kind);
    return {};
}

Result<VolumeState> read_volume_state(Disk& disk, const std::string& path) {
    CW_TRY_ASSIGN(const ByteVector bytes, read_file(disk, path, state_bytes_max));
    ByteReader in(bytes, Errc::record_corrupt);
    CW_TRY_ASSIGN(const std::uint32_t crc, in.u32());
    if (crc != crc32c(Bytes(bytes).subspan(4))) {
        return fail(Errc::record_corrupt, path);
    }
    return parse(in);
}

Result<void> write_volume_state(Disk& disk, const std::string& path, const VolumeState& state) {
    CW_ASSERT(state.target_path.size() <= text_bytes_max);
    CW_ASSERT(state.target_identity.size() <= text_bytes_max);
    ByteVector body;
    ByteAppender out(body);
    out.u32(state_magic);
    out.u8(static_cast<std::uint8_t>(state.phase));
    out.u8(static_cast<std::uint8_t>((state.point ? 1 : 0) | (state.without_undo ? 2 : 0) |
                                     (state.point && has_words(*state.point) ? 4 : 0)));
    out.bytes(state.disk.bytes);
    out.u64(state.size_bytes);
    out.text16(state.target_path);
    out.text16(state.target_identity);
    out.u64(state.log_number);
    out.u64(raw(state.generation));
    out.u64(raw(state.received));
    if (state.point) {
        append_held_point(out, *state.point);
        if (has_words(*state.point)) {
            append_point_words(out, *state.point);
        }
    }
    ByteVector bytes;
    ByteAppender(bytes).u32(crc32c(body));
    ByteAppender(bytes).bytes(body);
    return write_file_atomically(disk, path, bytes);
}

}  // namespace cw::volume
