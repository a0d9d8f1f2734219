#include "agent/stream/base_sender.h"

#include <algorithm>
#include <array>
#include <bit>

namespace cw::agent {
namespace {

constexpr std::uint32_t window_items = ServerDigests::window_items;
constexpr std::size_t windows_ahead = 2;

std::uint64_t mask_bytes(std::uint64_t mask) noexcept {
    return static_cast<std::uint64_t>(std::popcount(mask)) * map_block_bytes;
}

}  // namespace

bool held_in(const ByteVector& bitmap, std::uint32_t ordinal) noexcept {
    const std::size_t byte = ordinal / 8;
    return byte < bitmap.size() && (static_cast<unsigned>(bitmap[byte]) >> (ordinal % 8) & 1U) != 0;
}

void BaseSender::start(Seq seq, const BlockSet& blocks, bool compare,
                       const FingerprintSecret& secret) {
    begin(seq);
    compare_ = compare;
    digests_.begin(secret);
    items_.reserve(blocks.words().size());
    for (const auto& [ordinal, mask] : blocks.words()) {
        items_.push_back({ordinal, State::todo, mask, mask_bytes(mask)});
        progress_.total_bytes += mask_bytes(mask);
    }
    open_items_ = items_.size();
}

void BaseSender::start_exact(Seq seq, RangeSet ranges) {
    begin(seq);
    for (const RangeSet::Range& range : ranges.all()) {
        progress_.total_bytes += range.length;
        for (std::uint64_t at = range.offset; at < range.offset + range.length;) {
            const std::uint64_t to =
                std::min(range.offset + range.length, (at / super_bytes + 1) * super_bytes);
            const auto ordinal = static_cast<std::uint32_t>(at / super_bytes);
            if (items_.empty() || items_.back().ordinal != ordinal) {
                items_.push_back({ordinal, State::todo, 0, 0});
            }
            items_.back().bytes += to - at;
            at = to;
        }
    }
    open_items_ = items_.size();
    exact_ = std::move(ranges);
}

void BaseSender::begin(Seq seq) {
    CW_ASSERT(raw(seq) != 0);
    stop();
    fence_ = seq;
    compare_ = false;
}

void BaseSender::resume(const ByteVector& held) {
    CW_ASSERT(active());
    cursor_ = 0;
    open_items_ = items_.size();
    progress_.done_bytes = 0;
    for (Item& item : items_) {
        const bool equal = item.state == State::equal;
        item.state = State::todo;
        if (held_in(held, item.ordinal)) {
            finish(item, State::done);
        } else if (equal) {
            finish(item, State::equal);
        }
    }
}

void BaseSender::stop() noexcept {
    fence_ = {};
    exact_.reset();
    items_.clear();
    digests_.end();
    chunk_.clear();
    chunk_.shrink_to_fit();
    cursor_ = open_items_ = 0;
    progress_ = {};
}

void BaseSender::acked(Seq fence, const std::vector<std::uint32_t>& ordinals) {
    if (!active() || fence != fence_) {
        return;  // Of a fence that was abandoned.
    }
    for (const std::uint32_t ordinal : ordinals) {
        Item* const item = find(ordinal);
        if (item != nullptr && item->state == State::in_flight) {
            finish(*item, State::done);
        }
    }
}

std::vector<std::uint32_t> BaseSender::held() const {
    std::vector<std::uint32_t> out;
    for (const Item& item : items_) {
        if (item.state == State::done) {
            out.push_back(item.ordinal);
        }
    }
    return out;
}

Result<std::optional<pipeline::Record>> BaseSender::next() {
    // Bounded work per call: blocks that turn out equal cost reading, not sending.
    for (int looked = 0; looked < 16; ++looked) {
        Item* const item = next_item();
        if (item == nullptr || pool_.free_count() < super_bytes / pipeline::slab_bytes) {
            return std::nullopt;
        }
        const std::uint64_t size = chunk_bytes(item->ordinal);  // The disk may have grown.
        chunk_.resize(std::max<std::size_t>(chunk_.size(), size));
        const MutableBytes chunk = MutableBytes(chunk_).first(size);
        std::vector<Part> parts = parts_of(*item, item->mask, chunk.size());
        CW_TRY(read_item(parts, *item, chunk));
        if (compare_) {
            const auto mask = differing(*item, chunk);
            if (!mask) {
                item->state = State::asked;
                continue;
            }
            parts = parts_of(*item, *mask, chunk.size());
            note_compared(*item, parts);
        }
        if (parts.empty()) {
            digests_.done(item->ordinal);
            finish(*item, State::equal);
            continue;
        }
        RecordBuilder builder(pool_);
        if (!build(parts, *item, chunk, builder)) {
            return std::nullopt;
        }
        digests_.done(item->ordinal);
        pipeline::Record record = builder.close();
        record.header.type = pipeline::RecordType::base;
        record.header.seq = fence_;
        record.header.ordinal = item->ordinal;
        item->state = State::in_flight;
        progress_.sent_bytes += record.header.data_bytes;
        return record;
    }
    return std::nullopt;
}

void BaseSender::note_compared(const Item& item, const std::vector<Part>& differing) {
    compared_.equal_chunks += differing.empty() ? 1 : 0;
    compared_.equal_after_all += differing.empty() && item.state == State::asked ? 1 : 0;
    for (const Part& part : differing) {
        compared_.sent_blocks += (part.to - part.from + map_block_bytes - 1) / map_block_bytes;
    }
}

std::optional<ServerDigests::Request> BaseSender::next_request() {
    if (!active() || !compare_) {
        return std::nullopt;
    }
    std::array<std::uint32_t, windows_ahead> ahead{};
    std::size_t count = 0;
    for (std::size_t i = cursor_; i < items_.size() && count < windows_ahead; ++i) {
        const std::uint32_t number = items_[i].ordinal / window_items;
        if (items_[i].state == State::todo && (count == 0 || ahead[count - 1] != number)) {
            ahead[count++] = number;
        }
    }
    return digests_.next_request(std::span(ahead).first(count));
}

BaseSender::Item* BaseSender::find(std::uint32_t ordinal) {
    const auto item = std::ranges::lower_bound(items_, ordinal, {}, &Item::ordinal);
    return item != items_.end() && item->ordinal == ordinal ? &*item : nullptr;
}

BaseSender::Item* BaseSender::next_item() {
    if (const auto ready = digests_.ready()) {
        Item* const item = find(*ready);
        CW_ASSERT(item != nullptr && item->state == State::asked);
        return item;
    }
    while (cursor_ < items_.size() && items_[cursor_].state != State::todo) {
        ++cursor_;
    }
    if (cursor_ == items_.size()) {
        return nullptr;
    }
    const std::uint32_t number = items_[cursor_].ordinal / window_items;
    digests_.passed(number);  // Its memory goes.
    return !compare_ || digests_.has(number) ? &items_[cursor_] : nullptr;
}

void BaseSender::finish(Item& item, State state) {
    CW_ASSERT(item.state != State::equal && item.state != State::done);
    CW_ASSERT(open_items_ > 0);
    item.state = state;
    --open_items_;
    progress_.done_bytes += item.bytes;
}

std::vector<BaseSender::Part> BaseSender::parts_of(const Item& item, std::uint64_t mask,
                                                   std::uint64_t chunk_size) const {
    std::vector<Part> parts;
    if (exact_) {
        const std::uint64_t start = std::uint64_t{item.ordinal} * super_bytes;
        for (const RangeSet::Range& range : exact_->within(start, start + chunk_size)) {
            parts.push_back({range.offset - start, range.offset - start + range.length});
        }
        return parts;
    }
    for (std::uint64_t block = 0; block < 64 && block * map_block_bytes < chunk_size; ++block) {
        if ((mask >> block & 1) == 0) {
            continue;
        }
        const std::uint64_t from = block * map_block_bytes;
        const std::uint64_t to = std::min(from + map_block_bytes, chunk_size);
        if (!parts.empty() && parts.back().to == from) {
            parts.back().to = to;
        } else {
            parts.push_back({from, to});
        }
    }
    return parts;
}

Result<void> BaseSender::read_item(const std::vector<Part>& parts, const Item& item,
                                   MutableBytes chunk) {
    const std::uint64_t start = std::uint64_t{item.ordinal} * super_bytes;
    for (const Part& part : parts) {
        CW_TRY(image_.read(start + part.from, chunk.subspan(part.from, part.to - part.from)));
        read_bytes_ += part.to - part.from;
    }
    return {};
}

std::optional<std::uint64_t> BaseSender::differing(const Item& item, Bytes chunk) {
    const auto mask = digests_.differing(item.ordinal, item.mask, chunk);
    for (std::uint64_t i = 0; mask && seen_ && i * map_block_bytes < chunk.size(); ++i) {
        if ((item.mask & ~*mask) >> i & 1) {
            seen_(std::uint64_t{item.ordinal} * 64 + i,
                  chunk.subspan(i * map_block_bytes,
                                std::min(map_block_bytes, chunk.size() - i * map_block_bytes)));
        }
    }
    return mask;
}

bool BaseSender::build(const std::vector<Part>& parts, const Item& item, Bytes chunk,
                       RecordBuilder& builder) {
    const std::uint64_t start = std::uint64_t{item.ordinal} * super_bytes;
    return std::ranges::all_of(
        parts, [&](const Part& part) { return build_part(part, start, chunk, builder); });
}

// Runs of pieces of equal kind (data or zeros) become one extent each.
bool BaseSender::build_part(Part part, std::uint64_t start, Bytes chunk, RecordBuilder& builder) {
    const WallMicros now = clock_.wall();
    std::uint64_t run_from = part.from;
    bool run_zero = false;
    const auto close_run = [&](std::uint64_t end) {
        if (run_from == end) {
            return true;
        }
        const auto length = static_cast<std::uint32_t>(end - run_from);
        const auto added =
            run_zero ? builder.add_hole(start + run_from, length, pipeline::ExtentOp::zero, now)
                     : builder.add_write(start + run_from, chunk.subspan(run_from, length), now);
        run_from = end;
        return added == RecordBuilder::Added::ok;
    };
    for (std::uint64_t at = part.from; at < part.to;) {
        const std::uint64_t block_end =
            std::min<std::uint64_t>((at / map_block_bytes + 1) * map_block_bytes, chunk.size());
        const std::uint64_t end = std::min(part.to, block_end);
        const Bytes piece = chunk.subspan(at, end - at);
        const bool zero = all_zero(piece);
        if (zero != run_zero && !close_run(at)) {
            return false;
        }
        run_zero = zero;
        if (seen_ && at % map_block_bytes == 0 && end == block_end) {
            seen_((start + at) / map_block_bytes, piece);
        }
        at = end;
    }
    return close_run(part.to);
}

std::uint64_t BaseSender::chunk_bytes(std::uint32_t ordinal) const noexcept {
    const std::uint64_t start = std::uint64_t{ordinal} * super_bytes;
    CW_ASSERT(start < image_.size());
    return std::min(super_bytes, image_.size() - start);
}

}  // namespace cw::agent
