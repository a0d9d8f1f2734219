#include "recovery/layer_map.h"

#include "base/assert.h"

#include <algorithm>
#include <set>

namespace cw::recovery {
namespace {

using vault::Chunk;
using vault::SegmentRef;

constexpr std::uint64_t span_node_bytes = 72;  // A red-black node with key and value, as malloc'd.

bool newer(const Layer& a, const Layer& b) {
    return std::tuple(b.ref->name.generation, b.to, b.ref->base, b.ref->name) <
           std::tuple(a.ref->name.generation, a.to, a.ref->base, a.ref->name);
}

}  // namespace

std::vector<Layer> order_layers(std::span<const SegmentRef* const> segments) {
    std::map<Generation, std::set<Seq>> fences;
    for (const SegmentRef* ref : segments) {
        if (ref->base) {
            fences[ref->name.generation].insert(ref->last_seq);
        }
    }
    std::vector<Layer> layers;
    for (const SegmentRef* ref : segments) {
        Seq from = ref->name.first_seq;
        if (!ref->base) {
            const auto& own = fences[ref->name.generation];
            for (auto fence = own.lower_bound(from); fence != own.end() && *fence < ref->last_seq;
                 ++fence) {
                if (from < *fence) {  // A fence has a sequence of its own: no write shares it.
                    layers.push_back({ref, from, Seq{raw(*fence) - 1}});
                }
                from = next(*fence);
            }
        }
        layers.push_back({ref, from, ref->last_seq});
    }
    std::ranges::sort(layers, newer);
    return layers;
}

Chunk MappedChunk::fields() const {
    Chunk out;
    out.ordinal = ordinal;
    out.disk_offset = disk_offset;
    out.raw_length = raw_length;
    out.stored_offset = stored_offset;
    out.stored_length = stored_length;
    out.codec = codec;
    out.last_seq = last_seq;
    out.tag = tag;
    return out;
}

std::vector<const Chunk*> newest_first(const Layer& layer, const std::vector<Chunk>& chunks) {
    std::vector<const Chunk*> ordered;
    ordered.reserve(chunks.size());
    for (const Chunk& chunk : chunks) {
        if (chunk.last_seq >= layer.from && chunk.last_seq <= layer.to) {
            ordered.push_back(&chunk);
        }
    }
    std::ranges::sort(ordered, [](const Chunk* a, const Chunk* b) {
        return std::tuple(b->last_seq, b->ordinal) < std::tuple(a->last_seq, a->ordinal);
    });
    return ordered;
}

void LayerMap::lay_under(std::uint32_t segment, const Layer& layer,
                         const std::vector<Chunk>& chunks) {
    for (const Chunk* chunk : newest_first(layer, chunks)) {
        if (complete()) {
            return;
        }
        fill(segment, *chunk);
    }
}

void LayerMap::fill(std::uint32_t segment, const Chunk& chunk) {
    if (chunk.disk_offset >= disk_bytes_) {
        return;
    }
    const std::uint64_t end =
        chunk.disk_offset + std::min(chunk.raw_length, disk_bytes_ - chunk.disk_offset);
    std::uint64_t at = chunk.disk_offset;
    std::uint32_t index = zero_chunk;
    auto next_span = spans_.upper_bound(at);
    if (next_span != spans_.begin()) {
        at = std::max(at, std::prev(next_span)->second.end);
    }
    while (at < end) {
        const std::uint64_t gap_end =
            next_span == spans_.end() ? end : std::min(end, next_span->first);
        if (at < gap_end) {
            if (index == zero_chunk &&
                has_bytes(chunk.codec)) {  // First visible part: keep the chunk.
                CW_ASSERT(chunks_.size() < zero_chunk);
                index = static_cast<std::uint32_t>(chunks_.size());
                chunks_.push_back({segment, chunk.ordinal, chunk.disk_offset,
                                   static_cast<std::uint32_t>(chunk.raw_length),
                                   static_cast<std::uint32_t>(chunk.stored_offset),
                                   chunk.stored_length, chunk.codec, chunk.last_seq, chunk.tag});
            }
            insert(at, gap_end, index);
        }
        if (next_span == spans_.end()) {
            break;
        }
        at = std::max(at, next_span->second.end);
        ++next_span;
    }
}

void LayerMap::insert(std::uint64_t begin, std::uint64_t end, std::uint32_t chunk) {
    spans_.emplace(begin, Span{end, chunk});
    covered_ += end - begin;
    data_ += chunk == zero_chunk ? 0 : end - begin;
    CW_ASSERT(covered_ <= disk_bytes_);
}

std::vector<LayerMap::Piece> LayerMap::pieces(std::uint64_t offset, std::uint64_t length) const {
    CW_ASSERT(offset <= disk_bytes_ && length <= disk_bytes_ - offset);
    std::vector<Piece> out;
    const auto add = [&out](std::uint64_t begin, std::uint64_t end, std::uint32_t chunk) {
        const bool joins = !out.empty() && out.back().chunk == zero_chunk && chunk == zero_chunk;
        if (joins) {
            out.back().length += end - begin;
        } else {
            out.push_back({begin, end - begin, chunk});
        }
    };
    const std::uint64_t end = offset + length;
    std::uint64_t at = offset;
    auto span = spans_.upper_bound(offset);
    if (span != spans_.begin() && std::prev(span)->second.end > offset) {
        --span;
    }
    for (; at < end; ++span) {
        const std::uint64_t begin = span == spans_.end() ? end : std::clamp(span->first, at, end);
        if (at < begin) {
            add(at, begin, zero_chunk);
            at = begin;
        }
        if (at == end) {
            break;
        }
        const std::uint64_t span_end = std::min(span->second.end, end);
        add(at, span_end, span->second.chunk);
        at = span_end;
    }
    return out;
}

std::uint64_t LayerMap::memory_bytes() const noexcept {
    return spans_.size() * span_node_bytes + chunks_.capacity() * sizeof(MappedChunk);
}

}  // namespace cw::recovery
