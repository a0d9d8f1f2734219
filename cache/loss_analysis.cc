#include "cache/loss_analysis.h"

#include <algorithm>
#include <limits>
#include <set>

namespace cw::cache {
namespace {

constexpr Lsn lsn_max{std::numeric_limits<std::uint64_t>::max()};

struct Held {
    Seq first{}, last{};
    Lsn lsn{};
};

// One stream's share of the input.
struct Share {
    StreamView base;
    bool known = false;  // In the checkpoint.
    std::vector<const RecoveredRecord*> records, damaged;
};

struct Gap {
    SeqRange range;
    Lsn after{}, before{};  // LSNs of the neighbours.
};

std::vector<Held> held_ranges(const Share& share) {
    std::vector<Held> out;
    for (const RecoveredRecord* record : share.records) {
        if (consumes_sequence(record->header.type)) {
            out.push_back({record->header.seq, last_seq(record->header), record->lsn});
        }
    }
    std::ranges::sort(out, [](const Held& a, const Held& b) {
        return std::tie(a.first, a.lsn) < std::tie(b.first, b.lsn);
    });
    return out;
}

// What [1, top] misses of `held`, which is sorted.
std::vector<Gap> gaps_below(Seq top, const std::vector<Held>& held) {
    std::vector<Gap> out;
    Seq reached{};
    Lsn lsn{};
    for (const Held& range : held) {
        if (range.first > next(reached)) {
            out.push_back({{next(reached), Seq{raw(range.first) - 1}}, lsn, range.lsn});
        }
        if (range.last >= reached) {
            reached = range.last;
            lsn = range.lsn;
        }
    }
    if (top > reached) {
        out.push_back({{next(reached), top}, lsn, lsn_max});
    }
    return out;
}

bool may_be_lost(const Gap& gap, const std::vector<LossWindow>& windows) {
    return std::ranges::any_of(windows, [&](const LossWindow& window) {
        return window.after < gap.before && gap.after < window.before;
    });
}

void add_overlap(const SeqRange& gap, const SeqRange& other, std::vector<SeqRange>& out) {
    const SeqRange both{std::max(gap.first, other.first), std::min(gap.last, other.last)};
    if (both.first <= both.last) {
        out.push_back(both);
    }
}

// The parts of `gap` that are lost for certain: by damaged records and by holes reported before.
void add_known_losses(const Gap& gap, const Share& share, std::vector<SeqRange>& out) {
    for (const RecoveredRecord* record : share.damaged) {
        if (consumes_sequence(record->header.type)) {
            add_overlap(gap.range, {record->header.seq, last_seq(record->header)}, out);
        }
    }
    Seq reached = share.base.seq;
    for (const SeqRange& beyond : share.base.beyond) {
        add_overlap(gap.range, {next(reached), Seq{raw(beyond.first) - 1}}, out);
        reached = beyond.last;
    }
}

std::vector<SeqRange> merged(std::vector<SeqRange> ranges) {
    std::ranges::sort(ranges, {}, &SeqRange::first);
    std::vector<SeqRange> out;
    for (const SeqRange& range : ranges) {
        if (!out.empty() && range.first <= next(out.back().last)) {
            out.back().last = std::max(out.back().last, range.last);
        } else {
            out.push_back(range);
        }
    }
    return out;
}

std::vector<SeqRange> lost_ranges(const Share& share, Seq top,
                                  const std::vector<LossWindow>& windows) {
    std::vector<SeqRange> out;
    for (const Gap& gap : gaps_below(top, held_ranges(share))) {
        if (may_be_lost(gap, windows)) {
            out.push_back(gap.range);
        } else {
            add_known_losses(gap, share, out);
        }
    }
    return merged(std::move(out));
}

Seq top_of(const Share& share) {
    Seq top = share.base.beyond.empty() ? share.base.seq : share.base.beyond.back().last;
    for (const auto* list : {&share.records, &share.damaged}) {
        for (const RecoveredRecord* record : *list) {
            if (consumes_sequence(record->header.type)) {
                top = std::max(top, last_seq(record->header));
            }
        }
    }
    return top;
}

// The record that opened the fence which is open at `end`, or nullptr when it is not held. One that
// repairs a disk may have the sequence of the one that was damaged.
const RecoveredRecord* begin_before(const Share& share, Seq end) {
    const RecoveredRecord* found = nullptr;
    for (const RecoveredRecord* record : share.records) {
        if (record->header.type == RecordType::resync_begin && record->header.seq < end &&
            (found == nullptr || std::pair(record->header.seq, record->lsn) >
                                     std::pair(found->header.seq, found->lsn))) {
            found = record;
        }
    }
    return found;
}

Lsn lsn_of(const RecoveredRecord* record) {
    return record == nullptr ? Lsn{} : record->lsn;
}

bool any_window_in(const std::vector<LossWindow>& windows, Lsn from, Lsn to) {
    return std::ranges::any_of(windows, [&](const LossWindow& window) {
        return window.after < to && from < window.before;
    });
}

bool damaged_base_in(std::span<const RecoveredRecord* const> damaged, Lsn from, Lsn to) {
    return std::ranges::any_of(damaged, [&](const RecoveredRecord* record) {
        return record->header.type == RecordType::base && from < record->lsn && record->lsn < to;
    });
}

std::map<StreamKey, Share> shares_of(const LossInput& input) {
    std::map<StreamKey, Share> shares;
    for (const auto& [key, view] : input.streams) {
        shares[key].base = view;
        shares[key].known = true;
    }
    for (const RecoveredRecord& record : input.records) {
        shares[record.header.key].records.push_back(&record);
    }
    for (const RecoveredRecord& record : input.damaged) {
        shares[record.header.key].damaged.push_back(&record);
    }
    return shares;
}

bool end_is_doubtful(const RecoveredRecord& end, const Share& share,
                     const std::vector<LossWindow>& windows) {
    const RecoveredRecord* const begin = begin_before(share, end.header.seq);
    // The damage may be gone with its region; that this fence has lost something stays known.
    const bool known_before = share.base.base_lost && end.header.seq > share.base.fence &&
                              (begin == nullptr || begin->header.seq <= share.base.fence);
    return known_before || any_window_in(windows, lsn_of(begin), end.lsn) ||
           damaged_base_in(share.damaged, lsn_of(begin), end.lsn);
}

// Fence and ordinals as the records tell; super-chunks that may be lost are forgotten, so that the
// agent sends them again.
void apply_fences(const Share& share, const std::vector<LossWindow>& windows, StreamView& view) {
    for (const RecoveredRecord* record : share.records) {
        view.apply(record->header);
    }
    if (!view.fence_open || (windows.empty() && share.damaged.empty())) {
        return;
    }
    const Lsn begin = lsn_of(begin_before(share, next(view.fence)));
    view.base_lost = view.base_lost || any_window_in(windows, begin, lsn_max) ||
                     damaged_base_in(share.damaged, begin, lsn_max);
    OrdinalSet held, lost;
    for (const RecoveredRecord* record : share.records) {
        if (record->header.type == RecordType::base && record->header.seq == view.fence) {
            held.insert(record->header.ordinal);
        }
    }
    if (!windows.empty()) {
        view.ordinals = held;
        return;
    }
    for (const RecoveredRecord* record : share.damaged) {
        if (record->header.type == RecordType::base && record->header.seq == view.fence &&
            !held.contains(record->header.ordinal)) {
            view.ordinals.erase(record->header.ordinal);
        }
    }
}

// The fence may have been closed by an end that is lost again now: then the checkpoint knew of it,
// and the view must not. A fence that ended in the vault is closed again by settle_stream().
bool end_is_lost(const Share& share, const std::vector<LossWindow>& windows, const StreamView& view,
                 Seq reached) {
    const auto is_end_in = [&](const RecoveredRecord* record, Seq last) {
        return record->header.type == RecordType::resync_end && record->header.seq > view.fence &&
               record->header.seq <= last;
    };
    if (raw(view.fence) == 0 || view.fence_open ||
        std::ranges::any_of(share.records,
                            [&](const auto* record) { return is_end_in(record, reached); })) {
        return false;
    }
    return !windows.empty() || std::ranges::any_of(share.damaged, [&](const auto* record) {
        return is_end_in(record, Seq{std::numeric_limits<std::uint64_t>::max()});
    });
}

StreamView view_of(const Share& share, const std::vector<LossWindow>& windows,
                   std::vector<SeqRange>& lost) {
    StreamView view = share.base;
    apply_fences(share, windows, view);
    const Seq top = top_of(share);
    lost = lost_ranges(share, top, windows);
    view.beyond.clear();
    view.seq = top;
    if (lost.empty()) {
        return view;
    }
    view.seq = Seq{raw(lost.front().first) - 1};
    if (end_is_lost(share, windows, view, view.seq)) {
        view.fence_open = view.base_lost = true;
    }
    for (std::size_t i = 0; i < lost.size(); ++i) {
        const Seq last = i + 1 < lost.size() ? Seq{raw(lost[i + 1].first) - 1} : top;
        if (next(lost[i].last) <= last) {
            view.beyond.push_back({next(lost[i].last), last});
        }
    }
    return view;
}

}  // namespace

void distrust_ended_fences(LossInput& input) {
    const std::map<StreamKey, Share> shares = shares_of(input);
    std::vector<Lsn> doubtful;
    for (const RecoveredRecord& record : input.records) {
        if (record.header.type == RecordType::resync_end &&
            end_is_doubtful(record, shares.at(record.header.key), input.windows)) {
            doubtful.push_back(record.lsn);
        }
    }
    for (const Lsn lsn : doubtful) {
        const auto at = std::ranges::find(input.records, lsn, &RecoveredRecord::lsn);
        input.damaged.push_back(*at);
        input.records.erase(at);
    }
    std::ranges::sort(input.damaged, {}, &RecoveredRecord::lsn);
}

LossReport analyse_losses(const LossInput& input) {
    LossReport report;
    for (const auto& [key, share] : shares_of(input)) {
        std::vector<SeqRange> lost;
        StreamView view = view_of(share, input.windows, lost);
        for (const SeqRange& range : lost) {
            report.damaged.push_back({key, range.first, range.last, "lost sequences"});
        }
        for (const RecoveredRecord* record : share.damaged) {
            if (!consumes_sequence(record->header.type)) {
                report.damaged.push_back({key, Seq{}, Seq{}, "lost record without sequence"});
            }
        }
        if (share.known || raw(view.seq) > 0 || raw(view.fence) > 0) {
            report.streams.emplace(key, std::move(view));
        }
    }
    return report;
}

}  // namespace cw::cache
