#include "egress/volume/undo_index.h"

#include "base/assert.h"

#include <algorithm>

namespace cw::volume {
namespace {

constexpr std::size_t recent_max = 16;          // Batches of about a MiB.
constexpr std::uint64_t span_cost_bytes = 112;  // Of a node of the map.

}  // namespace

Result<void> UndoIndex::add(UndoLog& log, std::uint64_t number) {
    UndoLog::Table table;
    while (true) {
        CW_TRY_ASSIGN(const bool more, log.next_table(table));
        if (!more) {
            return {};
        }
        std::uint64_t position = 0;
        for (const UndoLog::Run& run : table.runs) {
            if (run.length == 0 || run.offset > disk_bytes_ ||
                run.length > disk_bytes_ - run.offset) {
                return fail(Errc::record_corrupt, "undo log: a run beyond the disk");
            }
            CW_TRY(insert(run.offset, {.end = run.offset + run.length,
                                       .log = number,
                                       .batch = table.at,
                                       .position = position}));
            position += run.length;
        }
    }
}

// What is free of [begin, span.end).
Result<void> UndoIndex::insert(std::uint64_t begin, Span span) {
    const std::uint64_t first = begin;
    while (begin < span.end) {
        auto after = spans_.upper_bound(begin);
        if (after != spans_.begin() && std::prev(after)->second.end > begin) {
            begin = std::prev(after)->second.end;
            continue;
        }
        const std::uint64_t end =
            after == spans_.end() ? span.end : std::min(span.end, after->first);
        Span part = span;
        part.end = end;
        part.position = span.position + (begin - first);
        spans_.emplace_hint(after, begin, part);
        begin = end;
    }
    return spans_.size() * span_cost_bytes <= memory_bytes_
               ? Result<void>{}
               : fail(Errc::out_of_budget, "the index of the undo logs on the way to the point");
}

std::vector<UndoIndex::Piece> UndoIndex::pieces(std::uint64_t offset, std::uint64_t length) const {
    std::vector<Piece> out;
    const std::uint64_t end = offset + length;
    auto at = spans_.upper_bound(offset);
    if (at != spans_.begin() && std::prev(at)->second.end > offset) {
        --at;
    }
    while (offset < end) {
        const bool held = at != spans_.end() && at->first <= offset;
        const std::uint64_t until = held ? at->second.end : at == spans_.end() ? end : at->first;
        const std::uint64_t step = std::min(until, end) - offset;
        out.push_back({offset, step, held});
        offset += step;
        at = held ? std::next(at) : at;
    }
    return out;
}

Result<void> UndoIndex::read(std::uint64_t offset, MutableBytes out) {
    const auto after = spans_.upper_bound(offset);
    CW_ASSERT(after != spans_.begin());
    const auto& [begin, span] = *std::prev(after);
    CW_ASSERT(offset + out.size() <= span.end);
    CW_TRY_ASSIGN(const ByteVector* const content, batch_of(span));
    const std::uint64_t from = span.position + (offset - begin);
    if (from > content->size() || out.size() > content->size() - from) {
        return fail(Errc::record_corrupt, "undo log " + std::to_string(span.log));
    }
    std::copy_n(content->begin() + static_cast<std::ptrdiff_t>(from), out.size(), out.begin());
    return {};
}

Result<const ByteVector*> UndoIndex::batch_of(const Span& span) {
    const auto found = std::ranges::find_if(
        recent_, [&](const Cached& one) { return one.log == span.log && one.batch == span.batch; });
    if (found != recent_.end()) {
        recent_.splice(recent_.begin(), recent_, found);
        return &recent_.front().content;
    }
    const std::string path = directory_ + "/undo." + std::to_string(span.log);
    CW_TRY_ASSIGN(const auto log, UndoLog::open(disk_, path, span.log));
    if (!log) {
        return fail(Errc::point_not_found, path + " is gone: the point was given up");
    }
    UndoLog::Batch batch;
    CW_TRY(log->read_batch(span.batch, batch));
    if (recent_.size() == recent_max) {
        recent_.pop_back();
    }
    recent_.push_front({span.log, span.batch, std::move(batch.content)});
    return &recent_.front().content;
}

}  // namespace cw::volume
