#include "cache/stream_table.h"

#include <algorithm>

namespace cw::cache {

void StreamView::raise(Seq upto) {
    seq = std::max(seq, upto);
    while (!beyond.empty() && beyond.front().first <= next(seq)) {
        seq = std::max(seq, beyond.front().last);
        beyond.erase(beyond.begin());
    }
}

// Fences may have come and gone on another server: what was seen of them here means nothing then.
// One that lies above the vault's end may come again, and must be able to begin.
void StreamView::settle(Seq committed, Seq open_fence) {
    if (seq > committed) {
        return;
    }
    if (!fence_open || fence != open_fence) {
        ordinals.clear();
        base_lost = false;
    }
    fence_open = raw(open_fence) != 0;
    fence = fence_open ? open_fence : std::min(fence, committed);
    raise(committed);
}

void StreamView::apply(const RecordHeader& header) {
    switch (header.type) {
        case RecordType::base:
            if (header.seq > fence) {  // Bulk connections may overtake RESYNC_BEGIN.
                fence = header.seq;
                fence_open = true;
                base_lost = false;
                ordinals.clear();
            }
            if (header.seq == fence && fence_open) {
                ordinals.insert(header.ordinal);
            }
            return;
        case RecordType::resync_begin:
            if (header.seq > fence) {
                fence = header.seq;
                fence_open = true;
                base_lost = false;
                ordinals.clear();
            }
            break;
        case RecordType::resync_end:
            // One of an earlier fence ends nothing: a log may be read again over a newer
            // checkpoint, and BASE of the next fence may overtake it.
            if (header.seq > fence) {
                fence_open = false;
                base_lost = false;
                ordinals.clear();
            }
            break;
        case RecordType::write:
        case RecordType::resize:
            break;
        case RecordType::point:
        case RecordType::flush:
        case RecordType::point_result:
            return;
    }
    raise(last_seq(header));
}

bool sequence_fits_type(const RecordHeader& header) noexcept {
    constexpr std::uint64_t seq_max = 1ULL << 62;  // Counting on can never wrap.
    if (raw(header.seq) > seq_max) {
        return false;
    }
    if (header.type == RecordType::base) {
        return header.seq_count == 0 && raw(header.seq) > 0 && header.ordinal < super_chunks_max;
    }
    if (!consumes_sequence(header.type)) {
        return header.seq_count == 0;
    }
    const bool count_fits =
        header.type == RecordType::write ? header.seq_count > 0 : header.seq_count == 1;
    return count_fits && raw(header.seq) > 0;
}

const Stream* StreamTable::find(const StreamKey& key) const {
    const auto it = streams_.find(key);
    return it == streams_.end() ? nullptr : &it->second;
}

Arrival StreamTable::check(const RecordHeader& header) const {
    if (!sequence_fits_type(header)) {
        return Arrival::malformed;
    }
    const Stream* stream = find(header.key);
    if (stream == nullptr) {
        return Arrival::accept;
    }
    const StreamView& view = stream->appended;
    if (header.type == RecordType::base) {
        if (header.seq < view.fence || (header.seq == view.fence && !view.fence_open)) {
            return Arrival::stale;
        }
        const bool held = header.seq == view.fence && view.ordinals.contains(header.ordinal);
        return held ? Arrival::duplicate : Arrival::accept;
    }
    if (!consumes_sequence(header.type)) {
        return Arrival::accept;
    }
    if (last_seq(header) <= view.seq) {
        return Arrival::duplicate;
    }
    // A resync covers what lies below its fence by BASE, so it may leave sequences out.
    const bool in_order = header.seq == next(view.seq) ||
                          (header.type == RecordType::resync_begin && header.seq > view.seq);
    return in_order ? Arrival::accept : Arrival::gap;
}

void StreamTable::append(const RecordHeader& header) {
    CW_ASSERT(check(header) == Arrival::accept);
    const bool moves = consumes_sequence(header.type);
    if (!moves && header.type != RecordType::base) {
        return;
    }
    const auto [it, fresh] = streams_.try_emplace(header.key);
    if (fresh && moves) {
        it->second.appended.seq = it->second.durable.seq = Seq{raw(header.seq) - 1};
    }
    it->second.appended.apply(header);
}

void StreamTable::make_durable(const RecordHeader& header) {
    const auto it = streams_.find(header.key);
    if (it == streams_.end()) {
        return;  // Forgotten while it was on its way.
    }
    it->second.durable.apply(header);
}

void StreamTable::withdraw(const MachineId& machine, std::span<const RecordHeader> on_their_way) {
    const StreamKey first{.machine = machine, .disk = {}, .generation = {}};
    for (auto it = streams_.lower_bound(first);
         it != streams_.end() && it->first.machine == machine; ++it) {
        it->second.appended = it->second.durable;
    }
    for (const RecordHeader& header : on_their_way) {
        if (const auto it = streams_.find(header.key); it != streams_.end()) {
            it->second.appended.apply(header);
        }
    }
}

bool StreamTable::settle(const StreamKey& key, Seq committed, Seq open_fence) {
    const auto [it, fresh] = streams_.try_emplace(key);
    Stream& stream = it->second;
    const StreamView before = stream.durable;
    stream.appended.settle(committed, open_fence);
    stream.durable.settle(committed, open_fence);
    return fresh || stream.durable != before;
}

bool StreamTable::take_again(const StreamKey& key, Seq durable) {
    const auto it = streams_.find(key);
    if (it == streams_.end()) {
        return false;
    }
    const StreamView& held = it->second.durable;
    if (held.seq <= durable && held.fence <= durable && held.beyond.empty()) {
        return false;
    }
    CW_ASSERT(it->second.appended.seq == it->second.durable.seq);
    StreamView view;
    view.seq = durable;
    view.fence = std::min(held.fence, durable);  // BASE of what was over stays so.
    it->second.appended = view;
    it->second.durable = std::move(view);
    return true;
}

void StreamTable::restore(const StreamKey& key, StreamView view) {
    Stream& stream = streams_[key];
    stream.appended = view;
    stream.durable = std::move(view);
}

StreamState StreamTable::state(const StreamKey& key) const {
    StreamState out{
        .key = key, .durable = {}, .fence = {}, .base_ordinals = {}, .base_lost = false};
    if (const Stream* stream = find(key)) {
        out.durable = stream->durable.seq;
        if (stream->durable.fence_open) {
            out.fence = stream->durable.fence;
            out.base_ordinals = stream->durable.ordinals.to_vector();
            out.base_lost = stream->durable.base_lost;
        }
    }
    return out;
}

std::vector<StreamState> StreamTable::states() const {
    std::vector<StreamState> out;
    out.reserve(streams_.size());
    for (const auto& entry : streams_) {
        out.push_back(state(entry.first));
    }
    return out;
}

}  // namespace cw::cache
