// Object names of a vault. Only ids and numbers go into names; people's words never do.
//
//   data      <h3>/<machine>/<disk>/<generation>-<epoch>-<first seq>-<attempt>
//             h3 = first 3 hex of SHA-256(machine ‖ disk); numbers 16 hex digits, attempt 32 hex
//   manifest  <machine>/<20-digit number>
//   keys      vault, <machine>
//   control   <machine>/head, gc/<machine>
#pragma once

#include "base/ids.h"
#include "egress/blob/store.h"

#include <array>

namespace cw::vault {

using AttemptId = std::array<std::byte, 16>;  // Random per upload attempt of a segment.

struct SegmentName {
    MachineId machine;
    DiskId disk;
    Generation generation{};
    Epoch epoch{};
    Seq first_seq{};  // A base segment: its fence.
    AttemptId attempt{};
    friend auto operator<=>(const SegmentName&, const SegmentName&) = default;
};
blob::BlobName segment_blob(const SegmentName& name);
// Errors: blob_rejected. For GC and audit; reading never parses names.
Result<SegmentName> parse_segment_blob(const blob::BlobName& name);

blob::BlobName manifest_blob(const MachineId& machine, std::uint64_t number);  // number >= 1
Result<std::uint64_t> parse_manifest_number(const blob::BlobName& name);
std::string manifest_prefix(const MachineId& machine);
blob::BlobName vault_keys_blob();
blob::BlobName machine_keys_blob(const MachineId& machine);
blob::BlobName head_blob(const MachineId& machine);
blob::BlobName gc_boundary_blob(const MachineId& machine);

}  // namespace cw::vault
