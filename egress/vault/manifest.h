// Manifests: the numbered, create-only, hash-chained truth about one machine. Layout in FORMAT.md.
//
// Clear header: format, machine, number, previous hash, epoch, writer id, nonce, salt, server
// certificate. Body sealed with HKDF(machine key, salt, "manifest"). Ed25519 over header ‖
// ciphertext. The hash of a manifest is SHA-256 of the whole object.
#pragma once

#include "base/clock.h"
#include "egress/vault/chain_trail.h"
#include "egress/vault/keys.h"
#include "egress/vault/segment.h"

#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace cw::vault {

using WriterId = std::array<std::byte, 16>;
using ManifestNonce = std::array<std::byte, 16>;

inline constexpr std::size_t disks_per_manifest_max = 256;
inline constexpr std::size_t manifest_bytes_max = 64ULL << 20;

enum class PointKind : std::uint8_t { crash = 1, filesystem = 2, app = 3, planned = 4 };

struct PointEntry {
    PointId id;
    PointKind kind = PointKind::crash;
    GroupId group;
    WallMicros source_time{};
    WallMicros valid_until{};  // Extended when later points were the same.
    std::uint32_t uncertainty_us = 0;
    std::string tag;
    struct Cut {
        DiskId disk;
        Generation generation{};
        Seq cut{};
        Sha256 stream_hash{};
        std::uint64_t size_bytes = 0;  // Of the disk at the cut; 0: as its DiskEntry says.
    };
    std::vector<Cut> cuts;
    // The manifest that first published it: orders points whatever the clocks did. 0: not yet; the
    // manifest that carries it fills it in.
    std::uint64_t manifest = 0;
    RunPlace place;
};

struct DiskEntry {
    DiskId disk;
    std::string name;  // People's word; data.
    std::uint64_t size_bytes = 0;
    Generation generation{};
    Generation parent_generation{};  // 0: none. The reader lays this generation over
    Seq parent_seq{};                // (parent, parent_seq).
    Seq committed{};                 // All writes up to here are in committed segments.
    bool protected_ = false;         // Initial sync finished: points may exist.
    Seq open_fence{};                // 0: none. While open no point is published.
    ByteVector base_done;            // Bitmap of super-chunks committed under open_fence.
};

// Where one generation of a disk comes from: what a reader of an old point needs to know.
struct GenerationEntry {
    DiskId disk;
    Generation generation{};
    Generation parent_generation{};
    Seq parent_seq{};
    std::uint64_t size_bytes = 0;  // Last known of that generation.
};

// An immutable object that holds entries for checkpoints, so that these stay small however much is
// alive: index_run.h. Named by every checkpoint that uses it.
struct IndexRunRef {
    std::uint32_t id = 0;  // From 1; a chain never gives one twice.
    Epoch epoch{};         // In which it was written.
    AttemptId attempt{};
    std::uint32_t segments = 0, points = 0;  // Entries; segments come first.
    std::uint64_t object_bytes = 0;
    Sha256 hash{};    // Of the object.
    ByteVector dead;  // A bit per entry that this chain has left behind; may end early.
};
inline constexpr std::size_t index_run_bytes_max = 8ULL << 20;

// What an index run holds.
struct IndexRun {
    std::vector<SegmentRef> segments;
    std::vector<PointEntry> points;
    [[nodiscard]] std::size_t size() const noexcept { return segments.size() + points.size(); }
};

enum class ManifestKind : std::uint8_t { takeover = 1, regular = 2, checkpoint = 3 };

struct Manifest {
    // Clear.
    MachineId machine;
    std::uint64_t number = 0;  // From 1 (genesis: a takeover manifest of epoch 1).
    Sha256 previous{};
    Epoch epoch{};
    WriterId writer{};
    ManifestNonce nonce{};
    ManifestKind kind = ManifestKind::regular;
    // Sealed.
    WallMicros time{};
    std::uint32_t time_uncertainty_us = 0;
    std::uint64_t boundary = 0;    // GC's: numbers below may be gone (repeated in each manifest).
    std::uint64_t checkpoint = 0;  // Number of the newest checkpoint (itself for one).
    std::string machine_name;
    std::vector<DiskEntry> disks;  // Full state of every disk, in every manifest.
    // New segments, and new or extended points; a checkpoint: all that its runs do not hold.
    std::vector<SegmentRef> added;
    std::vector<SegmentName> dropped;  // Declared dead by retention or compaction.
    std::vector<PointEntry> points;
    std::vector<PointId> pruned;
    std::vector<WrappedDek> deks;          // Newly made; a checkpoint: all.
    std::vector<GenerationEntry> lineage;  // A checkpoint: every generation known; else empty.
    // A checkpoint: the runs it stands on, and the highest id given so far. Else empty and 0.
    std::uint32_t run_counter = 0;
    std::vector<IndexRunRef> runs;
};

struct SealedManifest {
    ByteVector bytes;
    Sha256 hash{};
};
// Asserts that it fits; manifest_object_bytes() tells whether it does.
SealedManifest seal_manifest(const Manifest& manifest, const VaultIdentity& vault,
                             const MachineKeys& keys, const ServerSigner& signer, Random& random);

// The sealed size, to be at most manifest_bytes_max.
std::size_t manifest_object_bytes(const Manifest& manifest);

// What anyone holding only the vault's public identity can check: signature, certificate, chain.
struct ManifestHeader {
    MachineId machine;
    std::uint64_t number = 0;
    Sha256 previous{};
    Epoch epoch{};
    WriterId writer{};
    ManifestNonce nonce{};
    ManifestKind kind{};
    ServerCertificate certificate;
};
// Errors: object_corrupt, format_unsupported.
Result<ManifestHeader> check_manifest(Bytes object, const VaultIdentity& vault);
Result<Manifest> open_manifest(Bytes object, const VaultIdentity& vault, const MachineKeys& keys);

// Must hold of every pair read: number, hash link, epoch and writer rules, committed never back
// within a generation (but by a takeover that drops what lies beyond: check_follows() looks at
// that), points complete and within committed, no point while a fence is open. Errors:
// object_corrupt (with what is wrong).
Result<void> check_successor(const Manifest& old, const Sha256& old_hash, const Manifest& next);

// Everything a chain says, folded: checkpoint plus what followed. Value; used by publisher, readers
// and GC alike.
struct ChainState {
    Manifest newest;  // Of number, epoch, disks …; its lists of entries are empty.
    Sha256 hash{};
    ChainTrail trail;  // Ends with the newest manifest.
    std::map<SegmentName, SegmentRef> segments;
    std::map<PointId, PointEntry> points;
    std::map<std::uint32_t, WrappedDek> deks;  // Every one ever made, as wrapped.
    std::map<std::pair<DiskId, Generation>, GenerationEntry> lineage;
    std::map<std::uint32_t, IndexRunRef> runs;  // By id; `dead` is kept as entries go.
    std::uint32_t run_counter = 0;
};
// Gives what a checkpoint's run holds, by its place in Manifest::runs; asked once each, in order.
using RunSource = std::function<Result<IndexRun>(std::size_t index)>;
// The state that a genesis manifest or a checkpoint stands for. `runs` may be empty for one that
// names none. Errors: object_corrupt, those of `runs`.
Result<ChainState> begin_chain(const Manifest& first, const Sha256& hash,
                               const RunSource& runs = {});
// Must hold before every publish: check_successor(), and what only the whole state can say of the
// entries. `fresh` holds what those of its runs hold that the state does not know yet, in their
// order. Errors: object_corrupt (with what is wrong).
Result<void> check_follows(const ChainState& state, const Manifest& next,
                           const std::vector<IndexRun>& fresh = {});
// Folds `next` into `state` after check_follows(). On an error `state` is unchanged.
Result<void> apply_manifest(ChainState& state, const Manifest& next, const Sha256& hash,
                            const std::vector<IndexRun>& fresh = {});
// A checkpoint manifest that follows the state's newest manifest, stands on the state's runs and
// repeats everything alive that they do not hold. The nonce and the time are the caller's to set.
Manifest make_checkpoint(const ChainState& state);

struct ChainWitness {  // Newest commit that someone remembers; number 0: none.
    std::uint64_t number = 0;
    Sha256 hash{};
};
// Reads the chain of a machine to its end: from the head hint, boundary and list, to the first
// absent number; back to the newest checkpoint. nullopt: the machine has no chain. Blocking. `keys`
// gains the chain's DEKs. Each witness is compared with the manifest of its number, which costs one
// read at most. Errors: vault_rolled_back (what a witness or a note in `control` saw committed is
// not in the chain: told before what else that chain may lack; but of a manifest that is gone below
// the end nothing is said: old ones are deleted by right), those of get, object_corrupt.
Result<std::optional<ChainState>> read_chain(blob::BlobStore& store, const VaultIdentity& vault,
                                             MachineKeys& keys,
                                             std::span<const ChainWitness> witnesses);
// The state after manifest `number` of a chain that goes further: `number` must not lie below the
// boundary. Errors: those of read_chain() but vault_rolled_back; blob_not_found.
Result<ChainState> read_chain_at(blob::BlobStore& store, const VaultIdentity& vault,
                                 MachineKeys& keys, std::uint64_t number);
// As read_chain(), for someone who has been told what is lost: no witness, and a head hint that
// names a manifest which is gone is no error.
Result<std::optional<ChainState>> read_chain_accepting_stale(blob::BlobStore& store,
                                                             const VaultIdentity& vault,
                                                             MachineKeys& keys);
// Machines that have a chain in this vault, by listing (for people and audit, not correctness).
Result<std::vector<MachineId>> list_machines(blob::BlobStore& store);

}  // namespace cw::vault
