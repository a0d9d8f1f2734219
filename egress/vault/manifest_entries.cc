#include "egress/vault/manifest_entries.h"

#include "base/assert.h"
#include "egress/vault/manifest_body.h"

namespace cw::vault {
namespace {

constexpr std::uint8_t disk_flag_protected = 1;

void append_i64(ByteAppender& out, WallMicros time) {
    out.u64(static_cast<std::uint64_t>(raw(time)));
}
Result<WallMicros> read_i64(ByteReader& in) {
    CW_TRY_ASSIGN(const std::uint64_t value, in.u64());
    return WallMicros{static_cast<std::int64_t>(value)};
}

template <typename E>
Result<E> read_number(ByteReader& in) {
    CW_TRY_ASSIGN(const std::uint64_t value, in.u64());
    return E{value};
}

Result<bool> read_bool(ByteReader& in) {
    CW_TRY_ASSIGN(const std::uint8_t value, in.u8());
    if (value > 1) {
        return fail(Errc::object_corrupt, "a flag that is neither 0 nor 1");
    }
    return value == 1;
}

}  // namespace

void append_disk(ByteAppender& out, const DiskEntry& disk) {
    CW_ASSERT(disk.name.size() <= display_name_bytes_max);
    out.bytes(disk.disk.bytes);
    out.text16(disk.name);
    out.u64(disk.size_bytes);
    out.u64(raw(disk.generation));
    out.u64(raw(disk.parent_generation));
    out.u64(raw(disk.parent_seq));
    out.u64(raw(disk.committed));
    out.u8(disk.protected_ ? disk_flag_protected : 0);
    out.u64(raw(disk.open_fence));
    out.u32(static_cast<std::uint32_t>(disk.base_done.size()));
    out.bytes(disk.base_done);
}

Result<DiskEntry> read_disk(ByteReader& in) {
    DiskEntry disk;
    CW_TRY_ASSIGN(disk.disk.bytes, in.array<16>());
    CW_TRY_ASSIGN(disk.name, in.text16(display_name_bytes_max));
    CW_TRY_ASSIGN(disk.size_bytes, in.u64());
    CW_TRY_ASSIGN(disk.generation, read_number<Generation>(in));
    CW_TRY_ASSIGN(disk.parent_generation, read_number<Generation>(in));
    CW_TRY_ASSIGN(disk.parent_seq, read_number<Seq>(in));
    CW_TRY_ASSIGN(disk.committed, read_number<Seq>(in));
    CW_TRY_ASSIGN(disk.protected_, read_bool(in));
    CW_TRY_ASSIGN(disk.open_fence, read_number<Seq>(in));
    CW_TRY_ASSIGN(const std::uint32_t bitmap_bytes, in.u32());
    CW_TRY_ASSIGN(const Bytes bitmap, in.take(bitmap_bytes));
    disk.base_done.assign(bitmap.begin(), bitmap.end());
    if (disk.size_bytes % sector_bytes != 0) {
        return fail(Errc::object_corrupt, "a disk that is not whole sectors");
    }
    return disk;
}

void append_name(ByteAppender& out, const SegmentName& name) {
    out.bytes(name.disk.bytes);
    out.u64(raw(name.generation));
    out.u64(raw(name.epoch));
    out.u64(raw(name.first_seq));
    out.bytes(name.attempt);
}

Result<SegmentName> read_name(ByteReader& in, const MachineId& machine) {
    SegmentName name;
    name.machine = machine;
    CW_TRY_ASSIGN(name.disk.bytes, in.array<16>());
    CW_TRY_ASSIGN(name.generation, read_number<Generation>(in));
    CW_TRY_ASSIGN(name.epoch, read_number<Epoch>(in));
    CW_TRY_ASSIGN(name.first_seq, read_number<Seq>(in));
    CW_TRY_ASSIGN(name.attempt, in.array<16>());
    return name;
}

void append_segment(ByteAppender& out, const SegmentRef& ref) {
    append_name(out, ref.name);
    out.bytes(ref.segment_id);
    out.bytes(ref.salt);
    out.u32(ref.dek_version);
    out.u8(ref.base ? 1 : 0);
    out.u64(raw(ref.last_seq));
    out.u32(ref.chunk_count);
    out.u64(ref.object_bytes);
    out.u64(ref.index_offset);
    out.u32(ref.index_bytes);
    out.u64(ref.raw_bytes);
    out.bytes(ref.index_tag);
    out.bytes(ref.root);
}

Result<SegmentRef> read_segment(ByteReader& in, const MachineId& machine) {
    SegmentRef ref;
    CW_TRY_ASSIGN(ref.name, read_name(in, machine));
    CW_TRY_ASSIGN(ref.segment_id, in.array<16>());
    CW_TRY_ASSIGN(ref.salt, in.array<32>());
    CW_TRY_ASSIGN(ref.dek_version, in.u32());
    CW_TRY_ASSIGN(ref.base, read_bool(in));
    CW_TRY_ASSIGN(ref.last_seq, read_number<Seq>(in));
    CW_TRY_ASSIGN(ref.chunk_count, in.u32());
    CW_TRY_ASSIGN(ref.object_bytes, in.u64());
    CW_TRY_ASSIGN(ref.index_offset, in.u64());
    CW_TRY_ASSIGN(ref.index_bytes, in.u32());
    CW_TRY_ASSIGN(ref.raw_bytes, in.u64());
    CW_TRY_ASSIGN(ref.index_tag, in.array<16>());
    CW_TRY_ASSIGN(ref.root, in.array<32>());
    CW_TRY(check_segment_ref(ref));
    return ref;
}

void append_point(ByteAppender& out, const PointEntry& point, std::uint64_t number) {
    CW_ASSERT(point.tag.size() <= display_name_bytes_max);
    CW_ASSERT(point.cuts.size() <= disks_per_manifest_max);
    out.bytes(point.id.bytes);
    out.u8(static_cast<std::uint8_t>(point.kind));
    out.bytes(point.group.bytes);
    append_i64(out, point.source_time);
    append_i64(out, point.valid_until);
    out.u32(point.uncertainty_us);
    out.u64(point.manifest != 0 ? point.manifest : number);
    out.text16(point.tag);
    out.u16(static_cast<std::uint16_t>(point.cuts.size()));
    for (const PointEntry::Cut& cut : point.cuts) {
        out.bytes(cut.disk.bytes);
        out.u64(raw(cut.generation));
        out.u64(raw(cut.cut));
        out.bytes(cut.stream_hash);
        out.u64(cut.size_bytes);
    }
}

Result<PointEntry> read_point(ByteReader& in, std::uint64_t number) {
    PointEntry point;
    CW_TRY_ASSIGN(point.id.bytes, in.array<16>());
    CW_TRY_ASSIGN(const std::uint8_t kind, in.u8());
    CW_TRY_ASSIGN(point.group.bytes, in.array<16>());
    CW_TRY_ASSIGN(point.source_time, read_i64(in));
    CW_TRY_ASSIGN(point.valid_until, read_i64(in));
    CW_TRY_ASSIGN(point.uncertainty_us, in.u32());
    CW_TRY_ASSIGN(point.manifest, in.u64());
    CW_TRY_ASSIGN(point.tag, in.text16(display_name_bytes_max));
    CW_TRY_ASSIGN(const std::uint16_t cuts, in.u16());
    if (kind < 1 || kind > static_cast<std::uint8_t>(PointKind::planned) ||
        cuts > disks_per_manifest_max || cuts > in.remaining() / cut_bytes || point.manifest == 0 ||
        point.manifest > number) {
        return fail(Errc::object_corrupt, "a recovery point of an impossible form");
    }
    point.kind = PointKind{kind};
    for (std::uint16_t i = 0; i < cuts; ++i) {
        PointEntry::Cut cut;
        CW_TRY_ASSIGN(cut.disk.bytes, in.array<16>());
        CW_TRY_ASSIGN(cut.generation, read_number<Generation>(in));
        CW_TRY_ASSIGN(cut.cut, read_number<Seq>(in));
        CW_TRY_ASSIGN(cut.stream_hash, in.array<32>());
        CW_TRY_ASSIGN(cut.size_bytes, in.u64());
        point.cuts.push_back(cut);
    }
    return point;
}

Result<WrappedDek> read_dek(ByteReader& in) {
    WrappedDek dek;
    CW_TRY_ASSIGN(dek.version, in.u32());
    CW_TRY_ASSIGN(const std::string wrapped, in.text16(wrapped_dek_bytes_max));
    const Bytes bytes = as_bytes(wrapped);
    dek.wrapped.assign(bytes.begin(), bytes.end());
    return dek;
}

void append_generation(ByteAppender& out, const GenerationEntry& entry) {
    out.bytes(entry.disk.bytes);
    out.u64(raw(entry.generation));
    out.u64(raw(entry.parent_generation));
    out.u64(raw(entry.parent_seq));
    out.u64(entry.size_bytes);
}

Result<GenerationEntry> read_generation(ByteReader& in) {
    GenerationEntry entry;
    CW_TRY_ASSIGN(entry.disk.bytes, in.array<16>());
    CW_TRY_ASSIGN(entry.generation, read_number<Generation>(in));
    CW_TRY_ASSIGN(entry.parent_generation, read_number<Generation>(in));
    CW_TRY_ASSIGN(entry.parent_seq, read_number<Seq>(in));
    CW_TRY_ASSIGN(entry.size_bytes, in.u64());
    return entry;
}

void append_run(ByteAppender& out, const IndexRunRef& run) {
    out.u32(run.id);
    out.u64(raw(run.epoch));
    out.bytes(run.attempt);
    out.u32(run.segments);
    out.u32(run.points);
    out.u64(run.object_bytes);
    out.bytes(run.hash);
    out.u32(static_cast<std::uint32_t>(run.dead.size()));
    out.bytes(run.dead);
}

Result<IndexRunRef> read_run(ByteReader& in) {
    IndexRunRef run;
    CW_TRY_ASSIGN(run.id, in.u32());
    CW_TRY_ASSIGN(run.epoch, read_number<Epoch>(in));
    CW_TRY_ASSIGN(run.attempt, in.array<16>());
    CW_TRY_ASSIGN(run.segments, in.u32());
    CW_TRY_ASSIGN(run.points, in.u32());
    CW_TRY_ASSIGN(run.object_bytes, in.u64());
    CW_TRY_ASSIGN(run.hash, in.array<32>());
    CW_TRY_ASSIGN(const std::uint32_t bitmap_bytes, in.u32());
    CW_TRY_ASSIGN(const Bytes bitmap, in.take(bitmap_bytes));
    run.dead.assign(bitmap.begin(), bitmap.end());
    const std::uint64_t entries = std::uint64_t{run.segments} + run.points;
    const std::uint64_t least = std::uint64_t{run.segments} * segment_ref_bytes +
                                std::uint64_t{run.points} * point_entry_min;
    if (run.id == 0 || entries == 0 || run.dead.size() > entries / 8 + 1 ||
        least > run.object_bytes || run.object_bytes > index_run_bytes_max) {
        return fail(Errc::object_corrupt, "an index run of an impossible form");
    }
    return run;
}

}  // namespace cw::vault
