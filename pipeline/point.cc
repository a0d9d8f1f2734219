#include "pipeline/point.h"

#include "base/bytes.h"

#include <algorithm>

namespace cw::pipeline {
namespace {

constexpr std::uint32_t point_magic = 0x31505743,
                        point_result_magic = 0x32505743;  // "CWP1", "CWP2"
constexpr std::uint8_t flag_provisional = 1;
constexpr std::size_t hook_results_bytes_max = 16 * 1024;

bool known_kind(std::uint8_t kind) noexcept {
    return kind >= static_cast<std::uint8_t>(PointKind::crash) &&
           kind <= static_cast<std::uint8_t>(PointKind::planned);
}

// The payload lies in a zero-padded block: nothing else may follow.
Result<void> expect_padding(ByteReader& in, const char* what) {
    CW_TRY_ASSIGN(const Bytes rest, in.take(in.remaining()));
    if (!std::ranges::all_of(rest, [](std::byte b) { return b == std::byte{0}; })) {
        return fail(Errc::frame_malformed, std::string(what) + ": bytes behind the payload");
    }
    return {};
}

Result<DiskCut> read_cut(ByteReader& in) {
    DiskCut cut;
    CW_TRY_ASSIGN(cut.disk.bytes, in.array<16>());
    CW_TRY_ASSIGN(const std::uint64_t generation, in.u64());
    CW_TRY_ASSIGN(const std::uint64_t seq, in.u64());
    CW_TRY_ASSIGN(cut.stream_hash, in.array<32>());
    cut.generation = Generation{generation};
    cut.cut = Seq{seq};
    return cut;
}

bool by_disk(const DiskCut& a, const DiskCut& b) noexcept {
    return a.disk < b.disk;
}

// Every disk once, in order: a point that named a disk twice could have two cuts for it.
bool strictly_ascending(const std::vector<DiskCut>& cuts) noexcept {
    return std::adjacent_find(cuts.begin(), cuts.end(), [](const DiskCut& a, const DiskCut& b) {
               return !by_disk(a, b);
           }) == cuts.end();
}

}  // namespace

ByteVector encode_point(const Point& point) {
    CW_ASSERT(point.cuts.size() <= disks_per_machine_max && strictly_ascending(point.cuts));
    CW_ASSERT(point.tag.size() <= point_tag_bytes_max);
    CW_ASSERT(point.hook_results.size() <= hook_results_bytes_max);
    ByteVector bytes;
    ByteAppender out(bytes);
    out.u32(point_magic);
    out.u8(static_cast<std::uint8_t>(point.kind));
    out.u8(point.provisional ? flag_provisional : 0);
    out.u16(static_cast<std::uint16_t>(point.cuts.size()));
    out.bytes(point.id.bytes);
    out.bytes(point.group.bytes);
    out.u64(static_cast<std::uint64_t>(raw(point.source_time)));
    out.u32(point.uncertainty_us);
    out.text16(point.tag);
    out.text16(point.hook_results);
    for (const DiskCut& cut : point.cuts) {
        out.bytes(cut.disk.bytes);
        out.u64(raw(cut.generation));
        out.u64(raw(cut.cut));
        out.bytes(cut.stream_hash);
    }
    return bytes;
}

Result<Point> decode_point(Bytes payload) {
    ByteReader in(payload, Errc::frame_malformed);
    CW_TRY_ASSIGN(const std::uint32_t magic, in.u32());
    CW_TRY_ASSIGN(const std::uint8_t kind, in.u8());
    CW_TRY_ASSIGN(const std::uint8_t flags, in.u8());
    CW_TRY_ASSIGN(const std::uint16_t disks, in.u16());
    if (magic != point_magic || !known_kind(kind) || flags > flag_provisional ||
        disks > disks_per_machine_max) {
        return fail(Errc::frame_malformed, "point: magic, kind, flags or disk count");
    }
    Point point;
    point.kind = static_cast<PointKind>(kind);
    point.provisional = flags == flag_provisional;
    CW_TRY_ASSIGN(point.id.bytes, in.array<16>());
    CW_TRY_ASSIGN(point.group.bytes, in.array<16>());
    CW_TRY_ASSIGN(const std::uint64_t source_time, in.u64());
    CW_TRY_ASSIGN(point.uncertainty_us, in.u32());
    CW_TRY_ASSIGN(point.tag, in.text16(point_tag_bytes_max));
    CW_TRY_ASSIGN(point.hook_results, in.text16(hook_results_bytes_max));
    point.source_time = WallMicros{static_cast<std::int64_t>(source_time)};
    if (point.id.is_nil()) {
        return fail(Errc::frame_malformed, "point: nil id");
    }
    point.cuts.reserve(disks);
    for (std::uint16_t i = 0; i < disks; ++i) {
        CW_TRY_ASSIGN(const DiskCut cut, read_cut(in));
        point.cuts.push_back(cut);
    }
    if (!strictly_ascending(point.cuts)) {
        return fail(Errc::frame_malformed, "point: disks are not in order");
    }
    CW_TRY(expect_padding(in, "point"));
    return point;
}

ByteVector encode_point_result(const PointResult& result) {
    ByteVector bytes;
    ByteAppender out(bytes);
    out.u32(point_result_magic);
    out.u8(result.committed ? 1 : 2);
    out.zeros(3);
    out.bytes(result.id.bytes);
    out.bytes(result.group.bytes);
    return bytes;
}

Result<PointResult> decode_point_result(Bytes payload) {
    ByteReader in(payload, Errc::frame_malformed);
    CW_TRY_ASSIGN(const std::uint32_t magic, in.u32());
    CW_TRY_ASSIGN(const std::uint8_t outcome, in.u8());
    CW_TRY_ASSIGN(const auto zeros, in.array<3>());
    if (magic != point_result_magic || (outcome != 1 && outcome != 2) ||
        zeros != std::array<std::byte, 3>{}) {
        return fail(Errc::frame_malformed, "point result: magic or outcome");
    }
    PointResult result;
    result.committed = outcome == 1;
    CW_TRY_ASSIGN(result.id.bytes, in.array<16>());
    CW_TRY_ASSIGN(result.group.bytes, in.array<16>());
    if (result.id.is_nil()) {
        return fail(Errc::frame_malformed, "point result: nil id");
    }
    CW_TRY(expect_padding(in, "point result"));
    return result;
}

std::string_view name_of(PointKind kind) noexcept {
    switch (kind) {
        case PointKind::crash:
            return "crash";
        case PointKind::filesystem:
            return "filesystem";
        case PointKind::app:
            return "app";
        case PointKind::planned:
            return "planned";
    }
    return "unknown";
}

}  // namespace cw::pipeline
