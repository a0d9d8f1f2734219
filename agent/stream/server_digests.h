// ServerDigests: what the server holds of a disk beneath a fence, told by its digests, so that a
// resync sends only what differs.
//
// Two levels where the server offers them: one summary for each super-chunk, and the digests of its
// 64 blocks only where the summary differs from the disk. Else the digests of all blocks. Windows
// of 64 super-chunks are asked for ahead. What the server does not know counts as different.
// Replies that belong to a fence that was given up are not believed. Thread-safety: none.
#pragma once

#include "agent/scan/block_set.h"
#include "base/bytes.h"
#include "base/checksum.h"
#include "ingest/wire/messages.h"

#include <map>
#include <optional>
#include <span>
#include <utility>
#include <variant>
#include <vector>

namespace cw::agent {

class ServerDigests {
public:
    static constexpr std::uint32_t window_items = wire::summaries_max;  // Super-chunks.
    static constexpr std::size_t details_max = 16;  // Super-chunks whose blocks are asked for.

    // A connection was opened: nothing is under way on it. `summaries`: the server offers them.
    void new_session(bool summaries) noexcept;
    // A fence was opened; what was told before is forgotten.
    void begin(const FingerprintSecret& secret);
    // Nothing will be compared any more.
    void end();

    using Request = std::variant<wire::SummariesRequest, wire::HashesRequest>;
    // What is to be asked now; `ahead`: the windows that come next. Each is asked for once.
    std::optional<Request> next_request(std::span<const std::uint32_t> ahead);
    // Errors: frame_malformed if nobody asked.
    Result<void> take(const wire::Summaries& summaries);
    Result<void> take(const wire::Hashes& hashes);

    // Whether differing() can be asked of a super-chunk of this window.
    [[nodiscard]] bool has(std::uint32_t window) const;
    // The blocks of `mask` that differ or are unknown; nullopt: that needs the lower level, which
    // is asked for now. `chunk` holds what `mask` names, and zeros or whatever else beside it.
    std::optional<std::uint64_t> differing(std::uint32_t ordinal, std::uint64_t mask, Bytes chunk);
    // A super-chunk of which the lower level has come.
    [[nodiscard]] std::optional<std::uint32_t> ready() const;
    // It is dealt with.
    void done(std::uint32_t ordinal);
    // Windows before this one are not needed any more.
    void passed(std::uint32_t window);
    // Of what the server told, payloads and headers.
    [[nodiscard]] std::uint64_t told_bytes() const noexcept { return told_bytes_; }

private:
    static constexpr std::size_t blocks_per_super = super_bytes / map_block_bytes;
    static_assert(window_items * blocks_per_super == wire::hashes_max);
    using Blocks = std::vector<std::optional<Fingerprint>>;
    struct Window {
        bool asked = false, here = false;
        std::vector<wire::Summaries::Entry> summaries;
        Blocks blocks;  // With one level.
    };
    struct Detail {
        bool asked = false, here = false;
        Blocks blocks;
    };
    [[nodiscard]] std::uint64_t compare(std::span<const std::optional<Fingerprint>> blocks,
                                        std::uint64_t mask, Bytes chunk) const;
    // Replies of an abandoned fence are counted out before anything is asked again.
    bool is_stale(std::size_t payload_bytes);

    bool two_levels_ = false;
    FingerprintSecret secret_{};
    std::map<std::uint32_t, Window> windows_;
    std::map<std::uint32_t, Detail> details_;  // By ordinal.
    std::size_t under_way_ = 0, stale_ = 0;
    std::uint64_t told_bytes_ = 0;
};

}  // namespace cw::agent
