// VaultRig: writes vaults as a publisher would, for tests of the formats and of everything that
// reads them. Deterministic from its seed; works on any store.
#pragma once

#include "base/random.h"
#include "egress/vault/control.h"
#include "egress/vault/manifest.h"

#include <memory>
#include <string>
#include <vector>

namespace cw::fakes {

// A KEK whose key is derived from `name`; wraps like a KEK file.
std::unique_ptr<vault::KeyService> make_test_kek(const std::string& name, Random& random);

struct RigExtent {
    std::uint64_t offset = 0;
    ByteVector bytes;  // Empty for holes.
    Seq seq{};
    vault::Codec codec = vault::Codec::none;  // Stored raw if it does not shrink.
    std::uint64_t hole_bytes = 0;             // zero and discard.
};

struct RigSegment {
    DiskId disk;
    Generation generation{1};
    Seq first{};
    Seq last{};  // Of a base segment: the fence, as `first`.
    bool base = false;
    std::vector<RigExtent> extents;  // <= 1 MiB each, in ordinal order.
};

// A sealed segment that is not stored anywhere yet.
struct SealedSegment {
    ByteVector object;
    vault::SegmentRef ref;
    std::vector<vault::Chunk> chunks;
};

// The objects of one vault and one machine's chain.
class VaultRig {
public:
    // Creates the vault (or opens it if it exists) and the machine's keys with one DEK.
    VaultRig(blob::BlobStore& store, vault::KeyService& kek, Random& random, MachineId machine);

    SealedSegment seal(const RigSegment& plan);
    // Seals and stores; the ref is to be named by the next publish().
    vault::SegmentRef put(const RigSegment& plan);
    void store_object(const blob::BlobName& name, Bytes bytes);

    // A manifest that follows the state: number, hash, epoch, writer and disks are set.
    vault::Manifest next();
    // Seals, stores and applies `manifest`. Asserts that it may follow.
    void publish(const vault::Manifest& manifest);
    vault::SealedManifest seal_manifest(const vault::Manifest& manifest);
    // As publish(), but of a point with the disks' committed sequences as its cut.
    PointId publish_point(std::vector<vault::SegmentRef> added, WallMicros time,
                          vault::PointKind kind = vault::PointKind::crash);
    // Adds a disk to the next manifests; changes its entry.
    vault::DiskEntry& disk(const DiskId& id);
    void take_over();  // The next manifest claims a new epoch.

    blob::BlobStore& store;
    vault::KeyService& kek;
    Random& random;
    vault::VaultIdentity vault;
    vault::MachineKeys keys;
    vault::ServerSigner signer;
    vault::ChainState state;
    std::vector<vault::DiskEntry> disks;

private:
    bool takeover_ = true;
    vault::WriterId writer_{};
    std::vector<vault::WrappedDek> new_deks_;
};

// As garbage collection announces it; asserts that it is stored.
void put_gc_boundary(blob::BlobStore& store, const MachineId& machine,
                     const vault::GcBoundary& boundary, const vault::ServerSigner& signer);

ByteVector random_bytes(Random& random, std::size_t count);
// Compresses well, differs by `tag`.
ByteVector text_bytes(std::uint64_t tag, std::size_t count);

}  // namespace cw::fakes
