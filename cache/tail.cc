#include "cache/tail.h"

#include "base/crash_point.h"
#include "cache/payload_check.h"

#include <algorithm>

namespace cw::cache {
namespace {

// One batch as read again, whole.
struct Reread {
    AlignedBuffer bytes;
    std::vector<Unreadable> missed;
    std::vector<std::size_t> records_lost;
};

Result<void> check_header(const Reread& read, const FoundBatch& batch) {
    const BatchHeader& found = batch.header;
    if (overlaps_any(read.missed, found.offset, found.offset + found.header_bytes())) {
        return {};  // It could be read a moment ago.
    }
    // Again from these bytes: they are what will be written.
    CW_TRY_ASSIGN(const BatchHeader header, decode_batch_header(read.bytes.bytes()));
    if (header.number != found.number || header.offset != found.offset) {
        return fail(Errc::record_corrupt, "batch changed while it was read");
    }
    return {};
}

// Errors: record_corrupt: what can be read shows that the batch was torn.
Result<Reread> read_again(const RegionScan::Target& target, const FoundBatch& batch) {
    const BatchHeader& header = batch.header;
    Reread out{AlignedBuffer(header.total_bytes()), {}, {}};
    out.missed = read_carefully(target.disk, target.file, header.offset, out.bytes.bytes());
    CW_TRY(check_header(out, batch));
    const std::vector<Place> places = batch.places();
    for (std::size_t i = 0; i < places.size(); ++i) {
        const Place& place = places[i];
        if (overlaps_any(out.missed, place.table_offset, place.table_offset + place.table_bytes) ||
            overlaps_any(out.missed, place.data_offset, place.data_offset + place.data_bytes)) {
            out.records_lost.push_back(i);
            continue;
        }
        const auto at = [&](std::uint64_t offset, std::uint32_t length) {
            return Bytes(out.bytes.bytes()).subspan(offset - header.offset, length);
        };
        const Bytes data = at(place.data_offset, place.data_bytes);
        CW_TRY(check_payload(header.records[i].header, at(place.table_offset, place.table_bytes),
                             {&data, 1}, std::max<std::size_t>(data.size(), 1)));
    }
    return out;
}

// What the device's cache gave us may not be on the platter yet. Where nothing could be read
// nothing is written: the next start may have more luck.
Result<void> write_again(const RegionScan::Target& target, std::uint64_t offset,
                         const Reread& read) {
    const Bytes bytes = read.bytes.bytes();
    std::uint64_t from = offset;
    const std::uint64_t end = offset + bytes.size();
    for (const Unreadable& missed : read.missed) {
        if (missed.offset > from) {
            CW_TRY(write_at(target.disk, target.file, from,
                            bytes.subspan(from - offset, missed.offset - from), true));
        }
        from = missed.end();
    }
    return from < end ? write_at(target.disk, target.file, from, bytes.subspan(from - offset), true)
                      : Result<void>();
}

}  // namespace

Result<SecuredTail> secure_tail(const RegionScan::Target& target, LogScan& log) {
    SecuredTail out;
    out.last = log.durable_through();
    while (true) {
        FoundBatch* const batch = log.find(out.last + 1);
        if (batch != nullptr) {
            const auto read = read_again(target, *batch);
            if (!read) {
                return out;
            }
            CW_CRASH_POINT("cache.recovery.before_rewrite");
            CW_TRY(write_again(target, batch->header.offset, *read));
            CW_CRASH_POINT("cache.recovery.after_rewrite");
            for (const std::size_t record : read->records_lost) {
                batch->intact[record] = false;
            }
            out.records_lost += read->records_lost.size();
            ++out.last;
            continue;
        }
        const auto place = log.unreadable_behind(out.last);
        if (!place) {
            return out;
        }
        const auto behind = log.batches().upper_bound(out.last);
        const bool ends = behind == log.batches().end();
        const BatchRun run{out.last + 1, ends ? out.last + 1 : behind->first - 1};
        out.lost.push_back(run);
        out.places.push_back(*place);
        out.last = run.last;
        if (ends) {
            return out;
        }
    }
}

}  // namespace cw::cache
