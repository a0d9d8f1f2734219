#include "recovery/gc.h"

#include "base/assert.h"
#include "egress/vault/control.h"
#include "egress/vault/names.h"

#include <algorithm>
#include <set>

namespace cw::recovery {
namespace {

using vault::SegmentName;

class Collector {
public:
    Collector(blob::BlobStore& store, const vault::ServerSigner& signer, GcMemory& memory,
              const GcOptions& options, WallMicros now)
        : store_(store), signer_(signer), memory_(memory), options_(options), now_(now) {}

    // What is unnamed for long enough to go.
    Result<void> mark(const Catalog& catalog) {
        std::set<DiskId> disks;
        for (const auto& [key, generation] : catalog.state().lineage) {
            disks.insert(key.first);
        }
        for (const auto& [name, ref] : catalog.state().segments) {
            ++report_.live_segments;
            report_.live_bytes += ref.object_bytes;
            disks.insert(name.disk);
        }
        std::map<SegmentName, WallMicros> still_unnamed;
        for (const DiskId& disk : disks) {
            CW_TRY(mark_disk(catalog, disk, still_unnamed));
        }
        memory_.unnamed_since = std::move(still_unnamed);
        return {};
    }

    // Announces the deletion; after this a writer that names one of them will notice.
    Result<void> announce(const Catalog& catalog) {
        vault::GcBoundary note;
        note.boundary = announced_boundary_ = catalog.state().newest.boundary;
        note.sweep_epoch = catalog.state().newest.epoch;
        for (const auto& [name, bytes] : doomed_) {
            note.sweep.push_back(name.attempt);
        }
        return write_gc_boundary(store_, catalog.machine(), note, signer_);
    }

    Result<void> sweep(const Catalog& fresh) {
        for (const auto& [name, bytes] : doomed_) {
            if (fresh.state().segments.contains(name)) {
                ++report_.rescued;
                continue;
            }
            CW_TRY_ASSIGN(const bool gone, remove(segment_blob(name)));
            if (gone) {
                ++report_.deleted_segments;
                report_.deleted_bytes += bytes;
                memory_.unnamed_since.erase(name);
            }
        }
        return sweep_manifests(fresh);
    }

    [[nodiscard]] GcReport& report() noexcept { return report_; }
    void count_as_deleted() {
        for (const auto& [name, bytes] : doomed_) {
            ++report_.deleted_segments;
            report_.deleted_bytes += bytes;
        }
    }

private:
    Result<void> mark_disk(const Catalog& catalog, const DiskId& disk,
                           std::map<SegmentName, WallMicros>& still_unnamed) {
        const SegmentName any{catalog.machine(), disk, {}, {}, {}, {}};
        const std::string name = segment_blob(any).name;
        const std::string prefix = name.substr(0, name.rfind('/') + 1);
        CW_TRY_ASSIGN(const auto entries, blob::list_all(store_, blob::Container::data, prefix));
        for (const auto& entry : entries) {
            const auto segment = vault::parse_segment_blob({blob::Container::data, entry.name});
            if (!segment || catalog.state().segments.contains(*segment)) {
                continue;  // What is not ours by its name is not ours to delete.
            }
            ++report_.unnamed_segments;
            report_.unnamed_bytes += entry.size;
            const auto seen = memory_.unnamed_since.find(*segment);
            // A clock that went back starts the grace again.
            const bool known = seen != memory_.unnamed_since.end() && seen->second <= now_;
            const WallMicros since = known ? seen->second : now_;
            still_unnamed.emplace(*segment, since);
            if (raw(now_) - raw(since) >= options_.grace_us && known &&
                doomed_.size() < options_.sweep_max) {
                doomed_.emplace(*segment, entry.size);
            }
        }
        return {};
    }

    // Numbers below the boundary that was published and announced go, oldest first; number 1 stays.
    Result<void> sweep_manifests(const Catalog& fresh) {
        CW_TRY_ASSIGN(const auto entries, blob::list_all(store_, blob::Container::manifest,
                                                         vault::manifest_prefix(fresh.machine())));
        for (const auto& entry : entries) {
            const blob::BlobName name{blob::Container::manifest, entry.name};
            const auto number = vault::parse_manifest_number(name);
            if (number && *number > 1 && *number < announced_boundary_) {
                CW_TRY_ASSIGN(const bool gone, remove(name));
                report_.deleted_manifests += gone ? 1 : 0;
            }
        }
        return {};
    }

    // False: locked, to be tried again later.
    Result<bool> remove(const blob::BlobName& name) {
        const auto removed = blob::remove_and_wait(store_, name);
        if (removed) {
            return true;
        }
        if (removed.error().code == Errc::blob_immutable) {
            ++report_.immutable;
            return false;
        }
        return std::unexpected(removed.error());
    }

    blob::BlobStore& store_;
    const vault::ServerSigner& signer_;
    GcMemory& memory_;
    const GcOptions& options_;
    WallMicros now_;
    std::map<SegmentName, std::uint64_t> doomed_;  // And their sizes.
    std::uint64_t announced_boundary_ = 0;
    GcReport report_;
};

}  // namespace

Result<GcReport> collect_garbage(blob::BlobStore& store, vault::KeyService& kek,
                                 const MachineId& machine, const vault::ServerSigner& signer,
                                 GcMemory& memory, const GcOptions& options, WallMicros now) {
    CW_ASSERT(options.sweep_max <= vault::sweep_attempts_max && options.grace_us >= 0);
    Collector collector(store, signer, memory, options, now);
    CW_TRY_ASSIGN(const Catalog seen, Catalog::open(store, kek, machine, {}));
    CW_TRY(collector.mark(seen));
    if (options.dry_run) {
        collector.count_as_deleted();
        return collector.report();
    }
    CW_TRY(collector.announce(seen));
    CW_TRY_ASSIGN(const Catalog fresh, Catalog::open(store, kek, machine, {}));
    CW_TRY(collector.sweep(fresh));
    return collector.report();
}

}  // namespace cw::recovery
