#include "agent/base_sender.h"

#include <algorithm>
#include <bit>

namespace cw::agent {
namespace {

constexpr std::uint32_t window_items = wire::hashes_max / 64;
constexpr std::uint32_t windows_ahead = 2;

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
    CW_ASSERT(raw(seq) != 0);
    stop();
    fence_ = seq;
    compare_ = compare;
    secret_ = secret;
    items_.reserve(blocks.words().size());
    for (const auto& [ordinal, mask] : blocks.words()) {
        items_.push_back({ordinal, State::todo, mask});
        progress_.total_bytes += mask_bytes(mask);
    }
    open_items_ = items_.size();
    chunk_.resize(super_bytes);
}

void BaseSender::resume(const ByteVector& held) {
    CW_ASSERT(active());
    windows_.clear();
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
    items_.clear();
    windows_.clear();
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
        const auto item = std::ranges::lower_bound(items_, ordinal, {}, &Item::ordinal);
        if (item != items_.end() && item->ordinal == ordinal && item->state == State::in_flight) {
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
        const MutableBytes chunk = MutableBytes(chunk_).first(chunk_bytes(item->ordinal));
        CW_TRY(read_item(*item, chunk));
        const std::uint64_t mask = compare_ ? differing(*item, chunk) : item->mask;
        if (mask == 0) {
            finish(*item, State::equal);
            continue;
        }
        RecordBuilder builder(pool_);
        if (!build(*item, mask, chunk, builder)) {
            return std::nullopt;
        }
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

std::optional<wire::HashesRequest> BaseSender::next_request() {
    if (!active() || !compare_) {
        return std::nullopt;
    }
    std::uint32_t seen = 0, previous = UINT32_MAX;
    for (std::size_t i = cursor_; i < items_.size() && seen <= windows_ahead; ++i) {
        const std::uint32_t number = items_[i].ordinal / window_items;
        if (number == previous || items_[i].state != State::todo) {
            continue;
        }
        previous = number;
        ++seen;
        Window& window = windows_[number];
        if (seen <= windows_ahead && !window.asked) {
            window.asked = true;
            return wire::HashesRequest{std::uint64_t{number} * wire::hashes_max, wire::hashes_max};
        }
    }
    return std::nullopt;
}

Result<void> BaseSender::take(wire::Hashes hashes) {
    const auto window =
        windows_.find(static_cast<std::uint32_t>(hashes.first_block / wire::hashes_max));
    if (!active() || window == windows_.end() || !window->second.asked || window->second.here ||
        hashes.first_block % wire::hashes_max != 0) {
        return fail(Errc::frame_malformed, "HASHES that nobody asked for");
    }
    std::size_t at = 0;
    window->second.blocks.resize(wire::hashes_max);
    for (std::size_t i = 0; i < hashes.known.size() && i < wire::hashes_max; ++i) {
        if (hashes.known[i]) {
            window->second.blocks[i] = hashes.fingerprints.at(at++);
        }
    }
    window->second.here = true;
    return {};
}

BaseSender::Item* BaseSender::next_item() {
    while (cursor_ < items_.size() && items_[cursor_].state != State::todo) {
        ++cursor_;
    }
    if (cursor_ == items_.size()) {
        return nullptr;
    }
    const std::uint32_t number = items_[cursor_].ordinal / window_items;
    windows_.erase(windows_.begin(), windows_.lower_bound(number));  // Passed: its memory goes.
    if (compare_) {
        const auto window = windows_.find(number);
        if (window == windows_.end() || !window->second.here) {
            return nullptr;
        }
    }
    return &items_[cursor_];
}

void BaseSender::finish(Item& item, State state) {
    CW_ASSERT(item.state == State::todo || item.state == State::in_flight);
    CW_ASSERT(open_items_ > 0);
    item.state = state;
    --open_items_;
    progress_.done_bytes += mask_bytes(item.mask);
}

Result<void> BaseSender::read_item(const Item& item, MutableBytes chunk) {
    const std::uint64_t start = std::uint64_t{item.ordinal} * super_bytes;
    for (std::uint64_t block = 0; block * map_block_bytes < chunk.size();) {
        if ((item.mask >> block & 1) == 0) {
            ++block;
            continue;
        }
        std::uint64_t end = block;
        while (end < 64 && (item.mask >> end & 1) != 0) {
            ++end;
        }
        const std::uint64_t from = block * map_block_bytes;
        const std::uint64_t to = std::min<std::uint64_t>(end * map_block_bytes, chunk.size());
        CW_TRY(image_.read(start + from, chunk.subspan(from, to - from)));
        block = end;
    }
    return {};
}

std::uint64_t BaseSender::differing(const Item& item, Bytes chunk) {
    const Window& window = windows_.at(item.ordinal / window_items);
    std::uint64_t mask = 0;
    for (std::uint64_t i = 0; i < 64 && i * map_block_bytes < chunk.size(); ++i) {
        if ((item.mask >> i & 1) == 0) {
            continue;
        }
        const Bytes block = chunk.subspan(
            i * map_block_bytes, std::min(map_block_bytes, chunk.size() - i * map_block_bytes));
        const auto& known = window.blocks[item.ordinal % window_items * 64 + i];
        if (!known || fingerprint(block, secret_) != *known) {
            mask |= std::uint64_t{1} << i;
        } else if (seen_) {
            seen_(std::uint64_t{item.ordinal} * 64 + i, block);
        }
    }
    return mask;
}

bool BaseSender::build(const Item& item, std::uint64_t mask, Bytes chunk, RecordBuilder& builder) {
    const std::uint64_t start = std::uint64_t{item.ordinal} * super_bytes;
    const WallMicros now = clock_.wall();
    // Runs of equal kind (data or zeros) become one extent each.
    std::uint64_t run_from = 0, run_bytes = 0;
    bool run_zero = false;
    const auto close_run = [&] {
        if (run_bytes == 0) {
            return true;
        }
        const auto length = static_cast<std::uint32_t>(run_bytes);
        const auto added =
            run_zero ? builder.add_hole(start + run_from, length, pipeline::ExtentOp::zero, now)
                     : builder.add_write(start + run_from, chunk.subspan(run_from, run_bytes), now);
        run_bytes = 0;
        return added == RecordBuilder::Added::ok;
    };
    for (std::uint64_t i = 0; i < 64 && i * map_block_bytes < chunk.size(); ++i) {
        const std::uint64_t from = i * map_block_bytes;
        if ((mask >> i & 1) == 0) {
            if (!close_run()) {
                return false;
            }
            continue;
        }
        const Bytes block = chunk.subspan(from, std::min(map_block_bytes, chunk.size() - from));
        const bool zero = all_zero(block);
        if (run_bytes != 0 && zero != run_zero && !close_run()) {
            return false;
        }
        run_from = run_bytes == 0 ? from : run_from;
        run_zero = zero;
        run_bytes += block.size();
        if (seen_) {
            seen_(std::uint64_t{item.ordinal} * 64 + i, block);
        }
    }
    return close_run();
}

std::uint64_t BaseSender::chunk_bytes(std::uint32_t ordinal) const noexcept {
    const std::uint64_t start = std::uint64_t{ordinal} * super_bytes;
    CW_ASSERT(start < image_.size());
    return std::min(super_bytes, image_.size() - start);
}

}  // namespace cw::agent
