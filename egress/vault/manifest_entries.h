// One entry of each list of a manifest's body as bytes: FORMAT.md. Shared by manifests and index
// runs. Private to the vault room.
#pragma once

#include "egress/vault/manifest.h"

namespace cw::vault {

// Least encoded sizes: no count read from an object may promise more entries than its bytes hold.
inline constexpr std::size_t disk_entry_min = 71, segment_ref_bytes = 197, dropped_bytes = 56;
inline constexpr std::size_t point_entry_min = 65, cut_bytes = 72, point_id_bytes = 16;
inline constexpr std::size_t dek_entry_min = 6, generation_entry_bytes = 48, run_ref_min = 80;

// Appending asserts the limits of manifest_body.h; reading: object_corrupt.
void append_disk(ByteAppender& out, const DiskEntry& disk);
Result<DiskEntry> read_disk(ByteReader& in);
void append_name(ByteAppender& out, const SegmentName& name);
Result<SegmentName> read_name(ByteReader& in, const MachineId& machine);
void append_segment(ByteAppender& out, const SegmentRef& ref);
Result<SegmentRef> read_segment(ByteReader& in, const MachineId& machine);
// `number`: of the manifest that carries it; of an index run: the newest its points may name.
void append_point(ByteAppender& out, const PointEntry& point, std::uint64_t number);
Result<PointEntry> read_point(ByteReader& in, std::uint64_t number);
Result<WrappedDek> read_dek(ByteReader& in);
void append_generation(ByteAppender& out, const GenerationEntry& entry);
Result<GenerationEntry> read_generation(ByteReader& in);
void append_run(ByteAppender& out, const IndexRunRef& run);
Result<IndexRunRef> read_run(ByteReader& in);

}  // namespace cw::vault
