// Catalog: what a vault holds of one machine, opened for reading. Needs the vault and its key, and
// nothing of the server that wrote it.
//
// Thread-safety: immutable after open(). Lifetime: independent of the store it was read from.
#pragma once

#include "egress/vault/manifest.h"

#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace cw::recovery {

struct CatalogOptions {
    vault::ChainWitness witness;  // Newest commit that the caller remembers; number 0: none.
    // Read as far as the chain can be proven, although what was committed after it is gone or
    // damaged; Catalog::lost() says so.
    bool accept_stale = false;
};

// One disk as it was at a point.
struct DiskAtPoint {
    DiskId disk;
    std::string name;  // People's word; empty if the disk has left the machine.
    Generation generation{};
    Seq cut{};
    std::uint64_t size_bytes = 0;
};

class Catalog {
public:
    // Errors: those of open_vault, open_machine_keys, read_chain; not_found (no such machine);
    // blob_unavailable also if the chain went on while it was read.
    static Result<Catalog> open(blob::BlobStore& store, vault::KeyService& kek,
                                const MachineId& machine, const CatalogOptions& options);

    // Of points whose bytes lie elsewhere than in segments: on the disks of a master target. There
    // are no keys but the one that blocks are compared by, and segments_of() knows nothing.
    static Catalog of_points(const vault::VaultIdentity& records, const MachineId& machine,
                             vault::ChainState state, const FingerprintSecret& secret);

    [[nodiscard]] const vault::VaultIdentity& vault() const noexcept { return vault_; }
    [[nodiscard]] const vault::MachineKeys& keys() const noexcept { return keys_; }
    // What somebody may have been told of (vault/told_state.h): mostly the end of the chain.
    [[nodiscard]] const vault::ChainState& state() const noexcept { return state_; }
    // Segments that only the manifests beyond it name. Nobody may delete them either: their writer
    // may be about to correct those manifests.
    [[nodiscard]] const std::set<vault::SegmentName>& untold() const noexcept { return untold_; }
    [[nodiscard]] const MachineId& machine() const noexcept { return keys_.machine; }
    // With accept_stale only: why the vault does not end where it should. What was committed after
    // state().newest cannot be read.
    [[nodiscard]] const std::optional<Error>& lost() const noexcept { return lost_; }

    // Oldest first, in the order they were published: source clocks may jump.
    [[nodiscard]] std::vector<const vault::PointEntry*> points() const;
    // `which`: "latest", "latest-app", a point's id or the beginning of it (at least 4 digits), or
    // a UTC time "2026-11-20T18:16:44Z": the newest point at or before it.
    // Errors: point_not_found, usage (ambiguous).
    [[nodiscard]] Result<const vault::PointEntry*> find_point(std::string_view which) const;
    // `which`: a disk's id or name; empty if the point has only one. Errors: not_found, usage.
    [[nodiscard]] Result<DiskAtPoint> find_disk(const vault::PointEntry& point,
                                                std::string_view which) const;
    [[nodiscard]] DiskAtPoint disk_at(const vault::PointEntry::Cut& cut) const;
    // Segments that `cut` reads: of its generation and its ancestors. In no order.
    // Errors: object_corrupt (a segment spans the cut; lineage is circular or missing).
    [[nodiscard]] Result<std::vector<const vault::SegmentRef*>> segments_of(
        const vault::PointEntry::Cut& cut) const;

    // " (needed by 3 points: …)": whom the loss of a segment concerns. For errors; slow.
    [[nodiscard]] std::string affected_by(const vault::SegmentName& segment) const;

private:
    Result<void> stand_on_what_was_told(blob::BlobStore& store);

    vault::VaultIdentity vault_;
    vault::MachineKeys keys_;
    vault::ChainState state_;
    std::set<vault::SegmentName> untold_;
    std::optional<Error> lost_;
};

// "2026-11-20T18:16:44Z", with microseconds if there are any.
std::string time_text(WallMicros time);
// Accepts what time_text() writes, also without seconds. Errors: usage.
Result<WallMicros> parse_time(std::string_view text);
std::string_view name_of(vault::PointKind kind) noexcept;  // As in the protocol: "crash", "app" …

}  // namespace cw::recovery
