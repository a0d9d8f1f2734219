#include "egress/vault/told_state.h"

#include "base/assert.h"
#include "egress/vault/names.h"

#include <algorithm>

namespace cw::vault {
namespace {

bool same_disk(const DiskEntry& a, const DiskEntry& b) {
    return a.disk == b.disk && a.generation == b.generation && a.committed == b.committed &&
           a.protected_ == b.protected_ && a.open_fence == b.open_fence &&
           a.base_done == b.base_done;
}

bool same_points(const ChainState& a, const ChainState& b) {
    return std::ranges::equal(
        a.points, b.points, {}, [](const auto& entry) { return entry.first; },
        [](const auto& entry) { return entry.first; });
}

// Replaces announced segments and says nothing else.
bool is_correction(const ChainState& before, const ChainState& after,
                   const std::set<AttemptId>& announced) {
    bool replaces = false;
    for (const auto& [name, ref] : before.segments) {
        if (!after.segments.contains(name)) {
            replaces = true;
            if (!announced.contains(name.attempt)) {
                return false;
            }
        }
    }
    return replaces && same_points(before, after) &&
           std::ranges::equal(before.newest.disks, after.newest.disks, same_disk);
}

}  // namespace

Result<AnnouncedSegments> find_announced(blob::BlobStore& store, const ChainState& state,
                                         const GcBoundary& marks) {
    AnnouncedSegments out{
        .attempts = {marks.sweep.begin(), marks.sweep.end()}, .gone = {}, .there = {}};
    if (out.attempts.empty()) {
        return out;
    }
    for (const auto& [name, ref] : state.segments) {
        if (!out.attempts.contains(name.attempt)) {
            continue;
        }
        const auto found = blob::head_and_wait(store, segment_blob(name));
        if (!found && found.error().code != Errc::blob_not_found) {
            return std::unexpected(found.error());
        }
        (found ? out.there : out.gone).insert(name);
    }
    return out;
}

// The writer writes nothing but corrections before it has told of what they correct.
Result<std::optional<ChainState>> told_state(blob::BlobStore& store, const VaultIdentity& vault,
                                             MachineKeys& keys, const ChainState& state,
                                             const AnnouncedSegments& announced) {
    CW_ASSERT(!announced.gone.empty());
    ChainState after = state;
    while (after.newest.number > 1) {
        CW_TRY_ASSIGN(ChainState before,
                      read_chain_at(store, vault, keys, after.newest.number - 1));
        if (is_correction(before, after, announced.attempts)) {
            after = std::move(before);
            continue;
        }
        const bool untold = after.newest.kind == ManifestKind::regular &&
                            std::ranges::none_of(announced.gone, [&before](const auto& name) {
                                return before.segments.contains(name);
                            });
        if (!untold) {
            break;
        }
        return before;
    }
    return std::optional<ChainState>{};
}

}  // namespace cw::vault
