#include "pipeline/coalesce.h"

#include "base/assert.h"

#include <algorithm>
#include <queue>

namespace cw::pipeline {
namespace {

constexpr std::uint64_t cut_alignment_bytes = 64 * 1024;  // Chunks end where fingerprints do.

std::uint64_t end_of(const Extent& extent) noexcept {
    return extent.offset + extent.length;
}

// A range of the disk and the input whose version of it survives.
struct Piece {
    std::uint64_t offset = 0;
    std::uint64_t length = 0;
    std::uint32_t input = 0;
};

// Walks the disk upwards; among the extents that cover a place the newest wins. Each extent enters
// and leaves the heap once and starts at most one more piece when it does: at most 2n pieces.
class Sweep {
public:
    explicit Sweep(std::span<const PlanInput> inputs) : inputs_(inputs) {
        order_.reserve(inputs.size());
        for (std::uint32_t i = 0; i < inputs.size(); ++i) {
            order_.push_back(i);
        }
        std::ranges::sort(order_, [&](std::uint32_t a, std::uint32_t b) {
            const std::uint64_t left = inputs[a].extent.offset, right = inputs[b].extent.offset;
            return left != right ? left < right : a < b;
        });
    }

    std::vector<Piece> run() {
        const auto older = [this](std::uint32_t a, std::uint32_t b) {
            return inputs_[a].seq != inputs_[b].seq ? inputs_[a].seq < inputs_[b].seq : a < b;
        };
        std::priority_queue<std::uint32_t, std::vector<std::uint32_t>, decltype(older)> active(
            older);
        std::size_t next = 0;
        std::uint64_t place = 0;
        while (next < order_.size() || !active.empty()) {
            if (active.empty()) {
                place = inputs_[order_[next]].extent.offset;
            }
            while (next < order_.size() && inputs_[order_[next]].extent.offset == place) {
                active.push(order_[next++]);
            }
            while (!active.empty() && end_of(inputs_[active.top()].extent) <= place) {
                active.pop();
            }
            if (active.empty()) {
                continue;
            }
            std::uint64_t end = end_of(inputs_[active.top()].extent);
            if (next < order_.size()) {
                end = std::min(end, inputs_[order_[next]].extent.offset);
            }
            emit({.offset = place, .length = end - place, .input = active.top()});
            place = end;
        }
        return std::move(pieces_);
    }

private:
    void emit(const Piece& piece) {
        if (!pieces_.empty()) {
            Piece& last = pieces_.back();
            if (last.input == piece.input && last.offset + last.length == piece.offset) {
                last.length += piece.length;
                return;
            }
        }
        pieces_.push_back(piece);
    }

    std::span<const PlanInput> inputs_;
    std::vector<std::uint32_t> order_;
    std::vector<Piece> pieces_;
};

// Fragments that are one stretch of memory and of the disk.
struct Span {
    std::uint64_t disk_offset = 0;
    std::uint32_t length = 0;
    std::uint32_t record = 0;
    std::uint32_t data_position = 0;
    std::uint32_t first_fragment = 0;
    std::uint32_t fragment_count = 0;
    Seq last_seq{};
};

class Planner {
public:
    explicit Planner(std::span<const PlanInput> inputs) : inputs_(inputs) {}

    SegmentPlan run() {
        check_inputs();
        const std::vector<Piece> pieces = Sweep(inputs_).run();
        source_of_.assign(inputs_.size(), no_source);
        for (const Piece& piece : pieces) {
            if (inputs_[piece.input].extent.op == ExtentOp::write) {
                add_data(piece);
            } else {
                add_hole(piece);
            }
        }
        form_chunks();
        CW_ASSERT(plan_.raw_bytes <= captured_bytes_);
        plan_.coalesced_bytes = captured_bytes_ - plan_.raw_bytes;
        return std::move(plan_);
    }

private:
    static constexpr std::uint32_t no_source = UINT32_MAX;

    void check_inputs() {
        CW_ASSERT(inputs_.size() <= plan_extents_max);
        for (const PlanInput& input : inputs_) {
            const Extent& extent = input.extent;
            CW_ASSERT(extent.length > 0 && extent.length <= extent_length_max);
            CW_ASSERT(extent.offset % sector_bytes == 0 && extent.length % sector_bytes == 0);
            CW_ASSERT(extent.offset <= UINT64_MAX - extent.length);
            captured_bytes_ += extent.op == ExtentOp::write ? extent.length : 0;
        }
        CW_ASSERT(captured_bytes_ <= plan_raw_bytes_max);
    }

    void add_hole(const Piece& piece) {
        const PlanInput& input = inputs_[piece.input];
        const Codec codec = input.extent.op == ExtentOp::zero ? Codec::zero : Codec::discard;
        if (!plan_.holes.empty()) {
            PlannedHole& last = plan_.holes.back();
            if (last.codec == codec && last.disk_offset + last.length == piece.offset) {
                last.length += piece.length;
                last.last_seq = std::max(last.last_seq, input.seq);
                return;
            }
        }
        plan_.holes.push_back({.codec = codec,
                               .disk_offset = piece.offset,
                               .length = piece.length,
                               .last_seq = input.seq});
    }

    // Cuts a piece where its data crosses a slab and appends it to the spans.
    void add_data(const Piece& piece) {
        const PlanInput& input = inputs_[piece.input];
        const std::uint32_t source = source_index(piece.input);
        std::uint64_t offset = piece.offset;
        auto left = static_cast<std::uint32_t>(piece.length);
        auto position = input.extent.data_position +
                        static_cast<std::uint32_t>(piece.offset - input.extent.offset);
        while (left > 0) {
            const auto room = static_cast<std::uint32_t>(slab_bytes - position % slab_bytes);
            const std::uint32_t length = std::min(left, room);
            plan_.fragments.push_back(
                {.source = source, .data_position = position, .length = length});
            append_to_spans(offset, input);
            offset += length;
            position += length;
            left -= length;
        }
    }

    // The newest fragment, which lies at `offset`, joins the last span or starts one.
    void append_to_spans(std::uint64_t offset, const PlanInput& input) {
        const auto index = static_cast<std::uint32_t>(plan_.fragments.size() - 1);
        const Fragment& fragment = plan_.fragments.back();
        if (!spans_.empty()) {
            Span& last = spans_.back();
            if (last.disk_offset + last.length == offset && last.record == input.record &&
                last.data_position + last.length == fragment.data_position &&
                fragment.data_position % slab_bytes != 0) {
                last.length += fragment.length;
                last.fragment_count += 1;
                last.last_seq = std::max(last.last_seq, input.seq);
                return;
            }
        }
        spans_.push_back({.disk_offset = offset,
                          .length = fragment.length,
                          .record = input.record,
                          .data_position = fragment.data_position,
                          .first_fragment = index,
                          .fragment_count = 1,
                          .last_seq = input.seq});
    }

    std::uint32_t source_index(std::uint32_t input_index) {
        std::uint32_t& index = source_of_[input_index];
        if (index == no_source) {
            const PlanInput& input = inputs_[input_index];
            index = static_cast<std::uint32_t>(plan_.sources.size());
            plan_.sources.push_back({.record = input.record,
                                     .extent_index = input.extent_index,
                                     .data_position = input.extent.data_position,
                                     .length = input.extent.length,
                                     .crc = input.extent.crc});
        }
        return index;
    }

    void form_chunks() {
        for (std::size_t i = 0; i < spans_.size();) {
            if (spans_[i].length >= gather_span_bytes) {
                push_chunk(i, i + 1);
                ++i;
            } else {
                const std::size_t end = gather_end(i);
                push_chunk(i, end);
                i = end;
            }
        }
    }

    // The end of the run of small disk neighbours from `first` that shares a chunk. A run that is
    // too long for one ends where a fingerprint block ends, if a span does too.
    std::size_t gather_end(std::size_t first) const {
        std::size_t end = first, aligned_end = first;
        std::uint64_t place = spans_[first].disk_offset;
        const std::uint64_t limit = place + chunk_bytes_max;
        while (end < spans_.size() && spans_[end].disk_offset == place &&
               spans_[end].length < gather_span_bytes) {
            if (place + spans_[end].length > limit) {
                return aligned_end > first ? aligned_end : end;
            }
            place += spans_[end].length;
            ++end;
            // Not before half a chunk: the rest of the run is looked at again.
            if (place % cut_alignment_bytes == 0 && limit - place <= chunk_bytes_max / 2) {
                aligned_end = end;
            }
        }
        return end;
    }

    void push_chunk(std::size_t first, std::size_t end) {
        PlannedChunk chunk{.disk_offset = spans_[first].disk_offset,
                           .first_fragment = spans_[first].first_fragment,
                           .gather = end - first > 1};
        for (std::size_t i = first; i < end; ++i) {
            chunk.length += spans_[i].length;
            chunk.fragment_count += spans_[i].fragment_count;
            chunk.last_seq = std::max(chunk.last_seq, spans_[i].last_seq);
        }
        CW_ASSERT(chunk.length <= chunk_bytes_max);
        plan_.raw_bytes += chunk.length;
        plan_.gathered_bytes += chunk.gather ? chunk.length : 0;
        plan_.chunks.push_back(chunk);
    }

    std::span<const PlanInput> inputs_;
    std::vector<std::uint32_t> source_of_;  // Input index → index into plan_.sources.
    std::vector<Span> spans_;
    std::uint64_t captured_bytes_ = 0;
    SegmentPlan plan_;
};

}  // namespace

SegmentPlan build_plan(std::span<const PlanInput> inputs) {
    return Planner(inputs).run();
}

}  // namespace cw::pipeline
