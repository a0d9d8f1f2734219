#include "egress/vault/manifest_body.h"

#include "base/assert.h"
#include "egress/vault/manifest_entries.h"

namespace cw::vault {
namespace {

void append_i64(ByteAppender& out, WallMicros time) {
    out.u64(static_cast<std::uint64_t>(raw(time)));
}
Result<WallMicros> read_i64(ByteReader& in) {
    CW_TRY_ASSIGN(const std::uint64_t value, in.u64());
    return WallMicros{static_cast<std::int64_t>(value)};
}

template <typename T, typename Append>
void append_list(ByteAppender& out, const std::vector<T>& list, Append append) {
    CW_ASSERT(list.size() <= UINT32_MAX);
    out.u32(static_cast<std::uint32_t>(list.size()));
    for (const T& entry : list) {
        append(out, entry);
    }
}

template <typename T, typename Read>
Result<std::vector<T>> read_list(ByteReader& in, std::size_t entry_min, Read read) {
    CW_TRY_ASSIGN(const std::uint32_t count, in.u32());
    if (count > in.remaining() / entry_min) {
        return fail(Errc::object_corrupt, "a list is longer than its bytes");
    }
    std::vector<T> list;
    list.reserve(count);
    for (std::uint32_t i = 0; i < count; ++i) {
        CW_TRY_ASSIGN(T entry, read(in));
        list.push_back(std::move(entry));
    }
    return list;
}

}  // namespace

ByteVector encode_manifest_body(const Manifest& manifest) {
    CW_ASSERT(manifest.machine_name.size() <= display_name_bytes_max);
    CW_ASSERT(manifest.disks.size() <= disks_per_manifest_max);
    ByteVector body;
    ByteAppender out(body);
    append_i64(out, manifest.time);
    out.u32(manifest.time_uncertainty_us);
    out.u64(manifest.boundary);
    out.u64(manifest.checkpoint);
    out.text16(manifest.machine_name);
    append_list(out, manifest.disks, append_disk);
    append_list(out, manifest.added, [&](ByteAppender& to, const SegmentRef& ref) {
        CW_ASSERT(ref.name.machine == manifest.machine);
        append_segment(to, ref);
    });
    append_list(out, manifest.dropped, [&](ByteAppender& to, const SegmentName& name) {
        CW_ASSERT(name.machine == manifest.machine);
        append_name(to, name);
    });
    append_list(out, manifest.points, [&](ByteAppender& to, const PointEntry& point) {
        append_point(to, point, manifest.number);
    });
    append_list(out, manifest.pruned,
                [](ByteAppender& to, const PointId& id) { to.bytes(id.bytes); });
    append_list(out, manifest.deks, [](ByteAppender& to, const WrappedDek& dek) {
        CW_ASSERT(dek.wrapped.size() <= wrapped_dek_bytes_max);
        to.u32(dek.version);
        to.text16(as_text(dek.wrapped));
    });
    append_list(out, manifest.lineage, append_generation);
    out.u32(manifest.run_counter);
    append_list(out, manifest.runs, append_run);
    return body;
}

Result<void> decode_manifest_body(Bytes body, std::uint16_t version, Manifest& manifest) {
    ByteReader in(body, Errc::object_corrupt);
    const MachineId machine = manifest.machine;
    CW_TRY_ASSIGN(manifest.time, read_i64(in));
    CW_TRY_ASSIGN(manifest.time_uncertainty_us, in.u32());
    CW_TRY_ASSIGN(manifest.boundary, in.u64());
    CW_TRY_ASSIGN(manifest.checkpoint, in.u64());
    CW_TRY_ASSIGN(manifest.machine_name, in.text16(display_name_bytes_max));
    CW_TRY_ASSIGN(manifest.disks, read_list<DiskEntry>(in, disk_entry_min, read_disk));
    CW_TRY_ASSIGN(manifest.added,
                  read_list<SegmentRef>(in, segment_ref_bytes, [&](ByteReader& from) {
                      return read_segment(from, machine);
                  }));
    CW_TRY_ASSIGN(manifest.dropped,
                  read_list<SegmentName>(in, dropped_bytes, [&](ByteReader& from) {
                      return read_name(from, machine);
                  }));
    CW_TRY_ASSIGN(manifest.points,
                  read_list<PointEntry>(in, point_entry_min, [&](ByteReader& from) {
                      return read_point(from, manifest.number);
                  }));
    CW_TRY_ASSIGN(manifest.pruned,
                  read_list<PointId>(in, point_id_bytes, [](ByteReader& from) -> Result<PointId> {
                      CW_TRY_ASSIGN(const auto bytes, from.array<16>());
                      return PointId{bytes};
                  }));
    CW_TRY_ASSIGN(manifest.deks, read_list<WrappedDek>(in, dek_entry_min, read_dek));
    CW_TRY_ASSIGN(manifest.lineage,
                  read_list<GenerationEntry>(in, generation_entry_bytes, read_generation));
    if (version >= 2) {
        CW_TRY_ASSIGN(manifest.run_counter, in.u32());
        CW_TRY_ASSIGN(manifest.runs, read_list<IndexRunRef>(in, run_ref_min, read_run));
    }
    if (!in.at_end() || manifest.disks.size() > disks_per_manifest_max) {
        return fail(Errc::object_corrupt, "the manifest's body has the wrong length");
    }
    return {};
}

}  // namespace cw::vault
