#include "cache/recovery.h"

#include "base/crash_point.h"
#include "cache/tail.h"

#include <algorithm>
#include <iterator>
#include <limits>
#include <set>

namespace cw::cache {
namespace {

constexpr std::size_t places_shown = 4;  // Of unreadable ones, in a report.
constexpr Lsn lsn_max{std::numeric_limits<std::uint64_t>::max()};

// The newer readable checkpoint; nothing when both are damaged.
Result<std::optional<Checkpoint>> load_checkpoint(Disk& disk, File& file, const Superblock& super) {
    std::optional<Checkpoint> best;
    for (unsigned copy = 0; copy < 2; ++copy) {
        AlignedBuffer first(block_bytes);
        read_carefully(disk, file, super.slot_offset(copy), first.bytes());
        const auto bytes = peek_checkpoint_bytes(first.bytes());
        if (!bytes || *bytes > super.slot_bytes()) {
            continue;
        }
        AlignedBuffer whole(*bytes);
        read_carefully(disk, file, super.slot_offset(copy), whole.bytes());
        auto decoded = decode_checkpoint(whole.bytes());
        if (!decoded && decoded.error().code == Errc::format_unsupported) {
            return std::unexpected(decoded.error());
        }
        const bool fits = decoded && decoded->spool == super.id &&
                          decoded->regions.size() == super.region_count();
        if (fits && (!best || decoded->generation > best->generation)) {
            best = std::move(*decoded);
        }
    }
    return best;
}

// Between which LSNs the records of the missing batches lie.
std::vector<LossWindow> windows_of(const std::vector<BatchRun>& missing, const LogScan& log) {
    std::vector<LossWindow> out;
    for (const BatchRun& run : missing) {
        LossWindow window{Lsn{}, lsn_max};
        for (const auto& [number, batch] : log.batches()) {
            for (const BatchRecord& record : batch.header.records) {
                if (record.moved) {
                    continue;
                }
                if (number < run.first) {
                    window.after = std::max(window.after, record.lsn);
                } else if (number > run.last) {
                    window.before = std::min(window.before, record.lsn);
                }
            }
        }
        const auto after = log.batches().find(run.last + 1);
        const bool told = run.first == run.last && after != log.batches().end();
        if (!told) {
            window.after = Lsn{};  // It may have held anything that was moved.
        } else if (after->second.header.moved_before > 0) {
            window.after = std::min(window.after, Lsn{after->second.header.moved_before - 1});
        }
        out.push_back(window);
    }
    return out;
}

// Fills the records; the oldest copy of a moved record counts, so that a move which was cut short
// leaves nothing behind.
void collect_records(const LogScan& log, Lsn released_below, LossInput& out) {
    std::set<Lsn> seen;
    std::map<Lsn, RecoveredRecord> bad;
    for (const auto& entry : log.batches()) {
        const FoundBatch& batch = entry.second;
        const std::vector<Place> places = batch.places();
        for (std::size_t i = 0; i < places.size(); ++i) {
            const BatchRecord& record = batch.header.records[i];
            if (record.lsn < released_below) {
                continue;
            }
            RecoveredRecord found{record.lsn, record.header, places[i]};
            if (!batch.intact[i]) {
                bad.emplace(record.lsn, found);
            } else if (seen.insert(record.lsn).second) {
                out.records.push_back(found);
            }
        }
    }
    std::ranges::sort(out.records, {}, &RecoveredRecord::lsn);
    for (auto& [lsn, record] : bad) {
        if (!seen.contains(lsn)) {
            out.damaged.push_back(record);
        }
    }
}

void build_regions(const LogScan& log, Recovered& out) {
    std::vector<std::uint64_t> used(out.regions.count(), 0);
    for (const auto& entry : log.batches()) {
        const FoundBatch& batch = entry.second;
        used[batch.region] += batch.header.total_bytes();
    }
    const std::vector<RegionEntry> entries = log.entries(out.durable_through);
    for (std::uint32_t region = 1; region < out.regions.count(); ++region) {
        out.regions.restore(region, entries[region], used[region]);
    }
    for (const RecoveredRecord& record : out.records) {
        out.regions.add_live(record.place.region, record.place.footprint());
    }
    for (std::uint32_t region = 1; region < out.regions.count(); ++region) {
        if (out.regions.at(region).entry.state == RegionState::sealed) {
            out.regions.batch_finished(region);  // Frees it if nothing lives there.
        }
    }
}

std::string text_of(const BatchRun& run) {
    return "batches " + std::to_string(run.first) + " to " + std::to_string(run.last);
}

// Nobody can say whose they were: every history that the cache knows may have gone on there.
void report_unknown(const std::string& evidence, Recovered& out) {
    out.damaged.push_back({StreamKey{}, Seq{}, Seq{}, evidence});
    for (const auto& known : out.streams) {
        out.damaged.push_back({known.first, Seq{}, Seq{}, "may be affected: " + evidence});
    }
}

void report_places(const std::vector<BatchRun>& missing, const LogScan& log,
                   const SecuredTail& tail, Recovered& out) {
    for (const BatchRun& run : missing) {
        std::string evidence = text_of(run) + " are missing";
        for (std::size_t i = 0; i < log.unreadable().size() && i < places_shown; ++i) {
            evidence += "; " + to_string(log.unreadable()[i]);
        }
        report_unknown(evidence, out);
    }
    for (std::size_t i = 0; i < tail.lost.size(); ++i) {
        report_unknown(to_string(tail.places[i]) + ": " + text_of(tail.lost[i]) +
                           " may have lain there, acknowledged",
                       out);
    }
}

// The region that showed a loss may have become free with the start that found it, which may have
// ended before anybody heard of it.
void report_remembered(const Checkpoint& checkpoint, Recovered& out) {
    for (const auto& [key, last] : checkpoint.losses) {
        const auto known = out.streams.find(key);
        const Seq held = known == out.streams.end() ? Seq{} : known->second.seq;
        const bool repaired = raw(last) > 0 && held >= last;
        const bool found = std::ranges::any_of(out.damaged, [&](const DamagedRange& range) {
            return range.key == key && range.last >= last;
        });
        if (!repaired && !found) {
            out.damaged.push_back(
                {key, raw(last) > 0 ? next(held) : Seq{}, last, "lost before the last start"});
        }
    }
}

// Above every LSN that may have been given out: one that is given out twice would make of a lost
// record that can be read again, some day, the older copy of another.
Lsn next_lsn_of(const LogScan& log, const Checkpoint* checkpoint, bool losses,
                const Superblock& super) {
    std::uint64_t next = raw(log.highest_lsn()) + 1;
    if (checkpoint != nullptr) {
        next = std::max(next, raw(checkpoint->next_lsn));
    }
    return Lsn{next + (losses ? super.region_bytes / block_bytes * batch_records_max : 0)};
}

}  // namespace

Result<Recovered> recover(Disk& disk, File& file, const Superblock& superblock) {
    CW_TRY_ASSIGN(const std::optional<Checkpoint> checkpoint,
                  load_checkpoint(disk, file, superblock));
    const RegionScan::Target target{disk, file, superblock};
    LogScan log(target, checkpoint ? &*checkpoint : nullptr);
    log.run();
    CW_TRY_ASSIGN(const SecuredTail tail, secure_tail(target, log));
    // What was written before a kill may still be in the device's cache only.
    CW_TRY(sync_file(disk, file));
    CW_CRASH_POINT("cache.recovery.after_sync");

    Recovered out(RegionTable(superblock.region_count(), superblock.region_bytes));
    out.rebuilt = !checkpoint;
    out.durable_through = tail.last;
    out.epoch = log.highest_epoch();
    const std::vector<BatchRun> missing = log.missing();
    out.torn_batches = log.drop_above(tail.last);
    const bool losses = !missing.empty() || !tail.lost.empty();
    out.next_lsn = next_lsn_of(log, checkpoint ? &*checkpoint : nullptr, losses, superblock);

    LossInput input;
    if (checkpoint) {
        out.checkpoint_generation = checkpoint->generation;
        input.streams = checkpoint->streams;
    }
    collect_records(log, checkpoint ? checkpoint->released_below : Lsn{}, input);
    input.windows = windows_of(missing, log);
    const auto lost = windows_of(tail.lost, log);
    input.windows.insert(input.windows.end(), lost.begin(), lost.end());
    if (out.rebuilt) {
        input.windows.push_back({Lsn{}, lsn_max});
    }
    distrust_ended_fences(input);
    LossReport report = analyse_losses(input);
    out.records = std::move(input.records);
    out.streams = std::move(report.streams);
    out.damaged = std::move(report.damaged);
    report_places(missing, log, tail, out);
    if (checkpoint) {
        report_remembered(*checkpoint, out);
    }
    build_regions(log, out);
    return out;
}

}  // namespace cw::cache
