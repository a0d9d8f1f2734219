#include "recovery/gc.h"

#include "base/assert.h"
#include "base/crash_point.h"
#include "egress/vault/control.h"
#include "egress/vault/index_run.h"
#include "egress/vault/names.h"

#include <algorithm>
#include <set>

namespace cw::recovery {
namespace {

using vault::SegmentName;

// A writer reads the note with each manifest: what is gone takes no more than 128 KiB of it.
constexpr std::size_t announced_kept = 8192;

class Collector {
public:
    Collector(blob::BlobStore& store, const vault::ServerSigner& signer, GcMemory& memory,
              const GcOptions& options, WallMicros now)
        : store_(store), signer_(signer), memory_(memory), options_(options), now_(now) {}

    // What is unnamed for long enough to go.
    Result<void> mark(const Catalog& catalog) {
        std::set<DiskId> disks{DiskId{}};  // The index runs lie where no disk's segments do.
        runs_.clear();
        for (const auto& [id, run] : catalog.state().runs) {
            runs_.insert(index_run_name(catalog.machine(), run));
        }
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

    // Announces the deletion; after this a writer that names one of them will notice. What another
    // collector announces meanwhile, or an earlier request of ours that was thought lost, is kept.
    Result<void> announce(const Catalog& catalog) {
        constexpr int attempts = 4;
        Error last{Errc::blob_conflict, "the collector's note changes all the time"};
        for (int attempt = 0; attempt < attempts && last.code == Errc::blob_conflict; ++attempt) {
            CW_TRY_ASSIGN(blob::PutResult put, announce_once(catalog));
            if (put.outcome == blob::PutOutcome::stored) {
                CW_CRASH_POINT("gc.announced");
                return {};
            }
            last = std::move(put.error).value_or(Error{Errc::blob_unavailable, "no answer"});
        }
        return std::unexpected(std::move(last));
    }

    Result<void> sweep(const Catalog& fresh) {
        for (const auto& [name, bytes] : doomed_) {
            if (names(fresh, name)) {
                ++report_.rescued;
                continue;
            }
            CW_TRY_ASSIGN(const bool gone, remove(segment_blob(name)));
            if (gone) {
                CW_CRASH_POINT("gc.data_deleted");
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
    // Errors: of the look at what was announced before.
    Result<blob::PutResult> announce_once(const Catalog& catalog) {
        const MachineId& machine = catalog.machine();
        vault::GcBoundary note;
        note.boundary = announced_boundary_ = catalog.state().newest.boundary;
        note.sweep_epoch = catalog.state().newest.epoch;
        for (const auto& [name, bytes] : doomed_) {
            if (!is_index_run(name)) {  // Those can never be named again.
                note.sweep.push_back(name.attempt);
            }
        }
        blob::PutRequest request{.name = vault::gc_boundary_blob(machine)};
        const auto before = blob::get_and_wait(store_, {.name = request.name});
        if (before) {
            request.condition = blob::PutCondition::if_match;
            request.etag = before->properties.etag;
            const auto old = decode_gc_boundary(before->bytes, catalog.vault(), machine);
            if (old) {
                keep_announced(*old, note);
            }
        } else if (before.error().code != Errc::blob_not_found) {
            return std::unexpected(before.error());
        }
        const ByteVector bytes = encode_gc_boundary(note, machine, signer_);
        request.body = {bytes};
        return blob::put_and_wait(store_, std::move(request));
    }

    // What was announced before. While it is unnamed and there, another collector may be deleting
    // it now. Once it is gone a writer that slept since it stored the segment may still name it,
    // and must hear of it then, or whoever opens the machine after it: so the newest of those stay,
    // too, whatever epoch it is.
    void keep_announced(const vault::GcBoundary& old, vault::GcBoundary& note) {
        note.boundary = std::max(note.boundary, old.boundary);
        note.sweep_epoch = std::max(note.sweep_epoch, old.sweep_epoch);
        const std::set<vault::AttemptId> mine(note.sweep.begin(), note.sweep.end());
        std::vector<vault::AttemptId> gone;
        for (const vault::AttemptId& attempt : old.sweep) {
            if (!mine.contains(attempt)) {
                (unnamed_.contains(attempt) ? note.sweep : gone).push_back(attempt);
            }
        }
        while (note.sweep.size() > vault::sweep_attempts_max) {  // The others' come first.
            const auto last = std::ranges::find_if(
                doomed_, [](const auto& entry) { return !is_index_run(entry.first); });
            CW_ASSERT(last != doomed_.end());
            std::erase(note.sweep, last->first.attempt);
            doomed_.erase(last);
        }
        for (const vault::AttemptId& attempt : gone) {  // Newest first, as each note began.
            if (note.sweep.size() < announced_kept) {
                note.sweep.push_back(attempt);
            }
        }
    }

    // By what was told of, or by a manifest that its writer or the next opener has yet to correct.
    static bool names(const Catalog& catalog, const SegmentName& name) {
        return catalog.state().segments.contains(name) || catalog.untold().contains(name);
    }

    // Named, or an index run that its writer may still be about to name.
    bool may_be_needed(const Catalog& catalog, const SegmentName& name) const {
        const vault::ChainState& state = catalog.state();
        if (!is_index_run(name)) {
            return names(catalog, name);
        }
        return runs_.contains(name) || name.epoch > state.newest.epoch ||
               (name.epoch == state.newest.epoch && raw(name.first_seq) > state.run_counter);
    }

    Result<void> mark_disk(const Catalog& catalog, const DiskId& disk,
                           std::map<SegmentName, WallMicros>& still_unnamed) {
        const SegmentName any{catalog.machine(), disk, {}, {}, {}, {}};
        const std::string name = segment_blob(any).name;
        const std::string prefix = name.substr(0, name.rfind('/') + 1);
        CW_TRY_ASSIGN(const auto entries, blob::list_all(store_, blob::Container::data, prefix));
        for (const auto& entry : entries) {
            const auto segment = vault::parse_segment_blob({blob::Container::data, entry.name});
            if (!segment || may_be_needed(catalog, *segment)) {
                continue;  // What is not ours by its name is not ours to delete.
            }
            ++report_.unnamed_segments;
            report_.unnamed_bytes += entry.size;
            unnamed_.insert(segment->attempt);
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
                CW_CRASH_POINT("gc.manifest_deleted");
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
        if (removed.error().code == Errc::blob_immutable ||
            removed.error().code == Errc::blob_leased) {
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
    std::set<vault::AttemptId> unnamed_;           // Found.
    std::set<SegmentName> runs_;                   // That the newest checkpoint names.
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
