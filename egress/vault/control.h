// The notes in `control`: the head hint and GC's boundary. Hints for the impatient and orders
// between GC and writers; nothing here is needed to read a vault. Both are signed by a certified
// server, so that whoever can write to `control` can lose a note but not invent one. FORMAT.md.
#pragma once

#include "egress/vault/manifest.h"

#include <optional>
#include <string>
#include <vector>

namespace cw::vault {

// control/<machine>/head: the newest manifest its writer knew to be committed.
struct HeadHint {
    std::uint64_t number = 0;
    Sha256 hash{};
    Epoch epoch{};
    WriterId writer{};
    ServerId server;  // Read: who signed. Written: the signer's.
};

// control/gc/<machine>: manifests numbered below `boundary` may be gone (genesis and the newest
// checkpoint at or below it never are); unnamed segments of `sweep_epoch` with these attempts are
// about to be deleted.
struct GcBoundary {
    std::uint64_t boundary = 0;
    Epoch sweep_epoch{};
    std::vector<AttemptId> sweep;
};
inline constexpr std::size_t sweep_attempts_max = 65536;

ByteVector encode_head(const HeadHint& head, const MachineId& machine, const ServerSigner& signer);
// Errors: object_corrupt, format_unsupported.
Result<HeadHint> decode_head(Bytes object, const VaultIdentity& vault, const MachineId& machine);
ByteVector encode_gc_boundary(const GcBoundary& boundary, const MachineId& machine,
                              const ServerSigner& signer);
Result<GcBoundary> decode_gc_boundary(Bytes object, const VaultIdentity& vault,
                                      const MachineId& machine);

// Blocking forms. Reading: nullopt if there is none. Errors: those of the store and of decode.
//
// Writes the head unless one that is as new or newer is there; never overwrites what it has not
// read. Errors also: blob_conflict (others keep writing it).
Result<void> advance_head(blob::BlobStore& store, const VaultIdentity& vault,
                          const MachineId& machine, const HeadHint& head,
                          const ServerSigner& signer);
Result<std::optional<HeadHint>> read_head(blob::BlobStore& store, const VaultIdentity& vault,
                                          const MachineId& machine);
Result<std::optional<GcBoundary>> read_gc_boundary(blob::BlobStore& store,
                                                   const VaultIdentity& vault,
                                                   const MachineId& machine);
// Who has a machine: the clear part of its newest manifest, found from the head on. The bodies and
// the chain's hashes are not looked at. nullopt: it has no manifest yet.
Result<std::optional<ManifestHeader>> newest_header(blob::BlobStore& store,
                                                    const VaultIdentity& vault,
                                                    const MachineId& machine);

}  // namespace cw::vault
