#include "cache/recovery.h"

#include "base/crash_point.h"
#include "cache/log_scan.h"
#include "cache/payload_check.h"

#include <algorithm>
#include <limits>
#include <set>

namespace cw::cache {
namespace {

constexpr Lsn lsn_max{std::numeric_limits<std::uint64_t>::max()};

// The newer readable checkpoint; nothing when both are damaged.
Result<std::optional<Checkpoint>> load_checkpoint(Disk& disk, File& file, const Superblock& super) {
    std::optional<Checkpoint> best;
    for (unsigned copy = 0; copy < 2; ++copy) {
        AlignedBuffer first(block_bytes);
        const auto got = read_at(disk, file, super.slot_offset(copy), first.bytes());
        const auto bytes = got ? peek_checkpoint_bytes(first.bytes()) : fail(Errc::record_corrupt);
        if (!bytes || *bytes > super.slot_bytes()) {
            if (!bytes && bytes.error().code == Errc::format_unsupported) {
                return std::unexpected(bytes.error());
            }
            continue;
        }
        AlignedBuffer whole(*bytes);
        if (!read_at(disk, file, super.slot_offset(copy), whole.bytes())) {
            continue;
        }
        auto decoded = decode_checkpoint(whole.bytes());
        const bool fits = decoded && decoded->spool == super.id &&
                          decoded->regions.size() == super.region_count();
        if (fits && (!best || decoded->generation > best->generation)) {
            best = std::move(*decoded);
        }
    }
    return best;
}

// Reads a batch whole, checks all of it, and returns its bytes for writing again.
Result<AlignedBuffer> read_verified(Disk& disk, File& file, const FoundBatch& batch) {
    AlignedBuffer bytes(batch.header.total_bytes());
    CW_TRY_ASSIGN(const std::size_t got, read_at(disk, file, batch.header.offset, bytes.bytes()));
    if (got != bytes.size()) {
        return fail(Errc::record_corrupt, "batch cut short");
    }
    // Again from these bytes: they are what will be written.
    CW_TRY_ASSIGN(const BatchHeader header, decode_batch_header(bytes.bytes()));
    if (header.number != batch.header.number || header.offset != batch.header.offset) {
        return fail(Errc::record_corrupt, "batch changed while it was read");
    }
    const std::vector<Place> places = batch.places();
    for (std::size_t i = 0; i < places.size(); ++i) {
        const auto at = [&](std::uint64_t offset, std::uint32_t length) {
            return Bytes(bytes.bytes()).subspan(offset - header.offset, length);
        };
        const Bytes data = at(places[i].data_offset, places[i].data_bytes);
        CW_TRY(check_payload(header.records[i].header,
                             at(places[i].table_offset, places[i].table_bytes), {&data, 1},
                             std::max<std::size_t>(data.size(), 1)));
    }
    return bytes;
}

// The last batch above the mark that, with all before it, is whole. Each one is written again.
Result<std::uint64_t> secure_tail(Disk& disk, File& file, const LogScan& log) {
    std::uint64_t last = log.durable_through();
    for (auto it = log.batches().upper_bound(last);
         it != log.batches().end() && it->first == last + 1; ++it) {
        const auto bytes = read_verified(disk, file, it->second);
        if (!bytes) {
            break;
        }
        CW_CRASH_POINT("cache.recovery.before_rewrite");
        CW_TRY(write_at(disk, file, it->second.header.offset, bytes->bytes(), true));
        CW_CRASH_POINT("cache.recovery.after_rewrite");
        last = it->first;
    }
    return last;
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
            if (!batch.table_ok[i]) {
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

}  // namespace

Result<Recovered> recover(Disk& disk, File& file, const Superblock& superblock) {
    CW_TRY_ASSIGN(const std::optional<Checkpoint> checkpoint,
                  load_checkpoint(disk, file, superblock));
    LogScan log({disk, file, superblock}, checkpoint ? &*checkpoint : nullptr);
    log.run();
    CW_TRY_ASSIGN(const std::uint64_t last, secure_tail(disk, file, log));
    // What was written before a kill may still be in the device's cache only.
    CW_TRY(sync_file(disk, file));
    CW_CRASH_POINT("cache.recovery.after_sync");

    Recovered out(RegionTable(superblock.region_count(), superblock.region_bytes));
    out.rebuilt = !checkpoint;
    out.durable_through = last;
    out.epoch = log.highest_epoch();
    out.next_lsn = Lsn{raw(log.highest_lsn()) + 1};
    const std::vector<BatchRun> missing = log.missing();
    out.torn_batches = log.drop_above(last);

    LossInput input;
    if (checkpoint) {
        out.checkpoint_generation = checkpoint->generation;
        out.next_lsn = std::max(out.next_lsn, checkpoint->next_lsn);
        input.streams = checkpoint->streams;
    }
    collect_records(log, checkpoint ? checkpoint->released_below : Lsn{}, input);
    input.windows = windows_of(missing, log);
    if (out.rebuilt) {
        input.windows.push_back({Lsn{}, lsn_max});
    }
    LossReport report = analyse_losses(input);
    out.records = std::move(input.records);
    out.streams = std::move(report.streams);
    out.damaged = std::move(report.damaged);
    for (const BatchRun& run : missing) {
        out.damaged.push_back({StreamKey{}, Seq{}, Seq{},
                               "batches " + std::to_string(run.first) + " to " +
                                   std::to_string(run.last) + " are missing"});
    }
    build_regions(log, out);
    return out;
}

}  // namespace cw::cache
