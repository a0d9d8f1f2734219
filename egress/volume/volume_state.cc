#include "egress/volume/volume_state.h"

#include "base/checksum.h"

#include <algorithm>

namespace cw::volume {
namespace {

// u32 CRC-32C of the rest, u32 magic "CWV1", u8 phase, u8 what is there, then the fields in order,
// then what is there: the held point, its words (u8 kind, tag), its group (16 bytes, u8 1 if it is
// promised, 2 if it is decided), the machine's name, the decided points (u16 count, 16 bytes each),
// when the target was last written (i64 ns, not 0).
// A bit that is not known, and bytes that no bit tells of, are a later program's: refused.
constexpr std::uint32_t state_magic = 0x31565743;
constexpr std::uint8_t has_point_bit = 1, without_undo_bit = 2, has_words_bit = 4,
                       has_group_bit = 8, has_name_bit = 16, has_decided_bit = 32,
                       has_written_bit = 64, known_bits = 127;
constexpr std::uint8_t group_promised = 1, group_decided = 2;
constexpr std::size_t state_bytes_max = 16 * 1024, text_bytes_max = 4096;

bool has_words(const HeldPoint& point) {
    return point.kind != pipeline::PointKind::crash || !point.tag.empty();
}

std::uint8_t bits_of(const VolumeState& state) {
    unsigned bits = state.without_undo ? without_undo_bit : 0;
    bits |= state.point ? has_point_bit : 0U;
    bits |= state.point && has_words(*state.point) ? has_words_bit : 0U;
    bits |= state.point && !state.point->group.is_nil() ? has_group_bit : 0U;
    bits |= !state.machine_name.empty() ? has_name_bit : 0U;
    bits |= !state.decided.empty() ? has_decided_bit : 0U;
    bits |= state.target_written_ns != 0 ? has_written_bit : 0U;
    return static_cast<std::uint8_t>(bits);
}

Result<void> parse_point(ByteReader& in, std::uint8_t bits, std::optional<HeldPoint>& point) {
    if ((bits & has_point_bit) == 0) {
        return (bits & (has_words_bit | has_group_bit)) == 0
                   ? Result<void>{}
                   : fail(Errc::record_corrupt, "volume state: words of no point");
    }
    CW_TRY_ASSIGN(point, read_held_point(in));
    if ((bits & has_words_bit) != 0) {
        CW_TRY(read_point_words(in, *point));
        if (!has_words(*point)) {
            return fail(Errc::record_corrupt, "volume state: words that say nothing");
        }
    }
    if ((bits & has_group_bit) != 0) {
        CW_TRY(read_point_group(in, *point));
        if (point->group.is_nil()) {
            return fail(Errc::record_corrupt, "volume state: a group that is none");
        }
    }
    return {};
}

Result<void> parse_decided(ByteReader& in, std::vector<PointId>& decided) {
    CW_TRY_ASSIGN(const std::uint16_t count, in.u16());
    if (count == 0 || count > decided_points_max) {
        return fail(Errc::record_corrupt, "volume state: decided points");
    }
    decided.resize(count);
    for (PointId& point : decided) {
        CW_TRY_ASSIGN(point.bytes, in.array<16>());
    }
    return {};
}

Result<VolumeState> parse(ByteReader& in) {
    VolumeState state;
    CW_TRY_ASSIGN(const std::uint32_t magic, in.u32());
    CW_TRY_ASSIGN(const std::uint8_t phase, in.u8());
    CW_TRY_ASSIGN(const std::uint8_t bits, in.u8());
    if (magic != state_magic || phase < 1 || phase > 4 || bits > known_bits) {
        return fail(Errc::record_corrupt, "volume state: magic or phase");
    }
    state.phase = static_cast<Phase>(phase);
    state.without_undo = (bits & without_undo_bit) != 0;
    CW_TRY_ASSIGN(state.disk.bytes, in.array<16>());
    CW_TRY_ASSIGN(state.size_bytes, in.u64());
    CW_TRY_ASSIGN(state.target_path, in.text16(text_bytes_max));
    CW_TRY_ASSIGN(state.target_identity, in.text16(text_bytes_max));
    CW_TRY_ASSIGN(state.log_number, in.u64());
    CW_TRY_ASSIGN(const std::uint64_t generation, in.u64());
    CW_TRY_ASSIGN(const std::uint64_t received, in.u64());
    state.generation = Generation{generation};
    state.received = Seq{received};
    CW_TRY(parse_point(in, bits, state.point));
    if ((bits & has_name_bit) != 0) {
        CW_TRY_ASSIGN(state.machine_name, in.text16(machine_name_bytes_max));
        if (state.machine_name.empty()) {
            return fail(Errc::record_corrupt, "volume state: a name that is none");
        }
    }
    if ((bits & has_decided_bit) != 0) {
        CW_TRY(parse_decided(in, state.decided));
    }
    if ((bits & has_written_bit) != 0) {
        CW_TRY_ASSIGN(const std::uint64_t written, in.u64());
        state.target_written_ns = static_cast<std::int64_t>(written);
        if (written == 0) {
            return fail(Errc::record_corrupt, "volume state: a time that is none");
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

void append_point_group(ByteAppender& out, const HeldPoint& point) {
    out.bytes(point.group.bytes);
    out.u8(point.group.is_nil() ? 0 : point.provisional ? group_promised : group_decided);
}

Result<void> read_point_group(ByteReader& in, HeldPoint& point) {
    CW_TRY_ASSIGN(point.group.bytes, in.array<16>());
    CW_TRY_ASSIGN(const std::uint8_t decided, in.u8());
    if (decided > group_decided || point.group.is_nil() != (decided == 0)) {
        return fail(Errc::record_corrupt, "a group that is half there");
    }
    point.provisional = decided == group_promised;
    return {};
}

HeldPoint with_decision(HeldPoint point, const VolumeState& state) {
    point.provisional =
        point.provisional && std::ranges::find(state.decided, point.id) == state.decided.end();
    return point;
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
    CW_ASSERT(state.machine_name.size() <= machine_name_bytes_max);
    CW_ASSERT(state.decided.size() <= decided_points_max);
    ByteVector body;
    ByteAppender out(body);
    out.u32(state_magic);
    out.u8(static_cast<std::uint8_t>(state.phase));
    out.u8(bits_of(state));
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
        if (!state.point->group.is_nil()) {
            append_point_group(out, *state.point);
        }
    }
    if (!state.machine_name.empty()) {
        out.text16(state.machine_name);
    }
    if (!state.decided.empty()) {
        out.u16(static_cast<std::uint16_t>(state.decided.size()));
        for (const PointId& point : state.decided) {
            out.bytes(point.bytes);
        }
    }
    if (state.target_written_ns != 0) {
        out.u64(static_cast<std::uint64_t>(state.target_written_ns));
    }
    ByteVector bytes;
    ByteAppender(bytes).u32(crc32c(body));
    ByteAppender(bytes).bytes(body);
    return write_file_atomically(disk, path, bytes);
}

}  // namespace cw::volume
