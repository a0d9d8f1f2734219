#include "agent/stream/server_digests.h"

#include "ingest/wire/frame.h"

#include <algorithm>
#include <bit>

namespace cw::agent {
namespace {

Bytes block_of(Bytes chunk, std::size_t index) {
    const std::size_t at = index * map_block_bytes;
    return chunk.subspan(at, std::min<std::size_t>(map_block_bytes, chunk.size() - at));
}

// Only whole blocks have digests that a server could know.
bool is_whole(Bytes chunk, std::size_t index) {
    return (index + 1) * map_block_bytes <= chunk.size();
}

std::unexpected<Error> nobody_asked() {
    return fail(Errc::frame_malformed, "digests that nobody asked for");
}

std::vector<std::optional<Fingerprint>> blocks_of(const wire::Hashes& hashes) {
    std::vector<std::optional<Fingerprint>> blocks(hashes.known.size());
    std::size_t at = 0;
    for (std::size_t i = 0; i < hashes.known.size(); ++i) {
        if (hashes.known[i]) {
            blocks[i] = hashes.fingerprints.at(at++);
        }
    }
    return blocks;
}

}  // namespace

void ServerDigests::new_session(bool summaries) noexcept {
    two_levels_ = summaries;
    under_way_ = stale_ = 0;
    windows_.clear();
    details_.clear();
}

void ServerDigests::begin(const FingerprintSecret& secret) {
    end();
    secret_ = secret;
    told_bytes_ = 0;
}

void ServerDigests::end() {
    stale_ += std::exchange(under_way_, 0);
    windows_.clear();
    details_.clear();
}

std::optional<ServerDigests::Request> ServerDigests::next_request(
    std::span<const std::uint32_t> ahead) {
    if (stale_ > 0) {
        return std::nullopt;
    }
    for (auto& [ordinal, detail] : details_) {
        if (!std::exchange(detail.asked, true)) {
            ++under_way_;
            return wire::HashesRequest{std::uint64_t{ordinal} * blocks_per_super, blocks_per_super};
        }
    }
    for (const std::uint32_t number : ahead) {
        if (!std::exchange(windows_[number].asked, true)) {
            ++under_way_;
            if (two_levels_) {
                return wire::SummariesRequest{number * window_items, window_items};
            }
            return wire::HashesRequest{std::uint64_t{number} * wire::hashes_max, wire::hashes_max};
        }
    }
    return std::nullopt;
}

bool ServerDigests::is_stale(std::size_t payload_bytes) {
    told_bytes_ += payload_bytes + wire::frame_header_bytes;
    if (stale_ > 0) {
        --stale_;
        return true;
    }
    return false;
}

Result<void> ServerDigests::take(const wire::Summaries& summaries) {
    if (is_stale(8 + 24 * summaries.entries.size())) {
        return {};
    }
    const auto window = windows_.find(summaries.first / window_items);
    if (!two_levels_ || window == windows_.end() || !window->second.asked || window->second.here ||
        summaries.first % window_items != 0 || summaries.entries.size() != window_items) {
        return nobody_asked();
    }
    --under_way_;
    window->second.summaries = summaries.entries;
    window->second.here = true;
    return {};
}

Result<void> ServerDigests::take(const wire::Hashes& hashes) {
    if (is_stale(12 + (hashes.known.size() + 7) / 8 + 16 * hashes.fingerprints.size())) {
        return {};
    }
    if (two_levels_) {
        const auto detail =
            details_.find(static_cast<std::uint32_t>(hashes.first_block / blocks_per_super));
        if (detail == details_.end() || !detail->second.asked || detail->second.here ||
            hashes.first_block % blocks_per_super != 0 || hashes.known.size() != blocks_per_super) {
            return nobody_asked();
        }
        --under_way_;
        detail->second.blocks = blocks_of(hashes);
        detail->second.here = true;
        return {};
    }
    const auto window =
        windows_.find(static_cast<std::uint32_t>(hashes.first_block / wire::hashes_max));
    if (window == windows_.end() || !window->second.asked || window->second.here ||
        hashes.first_block % wire::hashes_max != 0 || hashes.known.size() != wire::hashes_max) {
        return nobody_asked();
    }
    --under_way_;
    window->second.blocks = blocks_of(hashes);
    window->second.here = true;
    return {};
}

bool ServerDigests::has(std::uint32_t window) const {
    const auto found = windows_.find(window);
    return found != windows_.end() && found->second.here && details_.size() < details_max;
}

std::uint64_t ServerDigests::compare(std::span<const std::optional<Fingerprint>> blocks,
                                     std::uint64_t mask, Bytes chunk) const {
    std::uint64_t out = 0;
    for (std::size_t i = 0; i < blocks_per_super && i * map_block_bytes < chunk.size(); ++i) {
        const std::uint64_t bit = std::uint64_t{1} << i;
        if ((mask & bit) != 0 &&
            (!blocks[i] || fingerprint(block_of(chunk, i), secret_) != *blocks[i])) {
            out |= bit;
        }
    }
    return out;
}

std::optional<std::uint64_t> ServerDigests::differing(std::uint32_t ordinal, std::uint64_t mask,
                                                      Bytes chunk) {
    if (const auto detail = details_.find(ordinal); detail != details_.end()) {
        CW_ASSERT(detail->second.here);
        return compare(detail->second.blocks, mask, chunk);
    }
    const Window& window = windows_.at(ordinal / window_items);
    const std::size_t index = ordinal % window_items;
    if (!two_levels_) {
        return compare(std::span(window.blocks).subspan(index * blocks_per_super, blocks_per_super),
                       mask, chunk);
    }
    const wire::Summaries::Entry& told = window.summaries[index];
    std::vector<Fingerprint> own;
    bool comparable = (told.known & ~mask) == 0;
    for (std::size_t i = 0; comparable && i < blocks_per_super; ++i) {
        if ((told.known >> i & 1) != 0) {
            comparable = is_whole(chunk, i);
            if (comparable) {
                own.push_back(fingerprint(block_of(chunk, i), secret_));
            }
        }
    }
    if (told.known == 0 ||
        (comparable && wire::summarise(told.known, own, secret_).digest == told.digest)) {
        return mask & ~told.known;
    }
    details_[ordinal];
    return std::nullopt;
}

std::optional<std::uint32_t> ServerDigests::ready() const {
    for (const auto& [ordinal, detail] : details_) {
        if (detail.here) {
            return ordinal;
        }
    }
    return std::nullopt;
}

void ServerDigests::done(std::uint32_t ordinal) {
    details_.erase(ordinal);
}

void ServerDigests::passed(std::uint32_t window) {
    windows_.erase(windows_.begin(), windows_.lower_bound(window));
}

}  // namespace cw::agent
