// BaseSender: reads what lies beneath a fence from the live disk, as BASE records of one 4 MiB
// super-chunk each, until the server holds all of them.
//
// It reads after the fence's RESYNC_BEGIN took its sequence, while writes go on: whatever it
// catches or misses of them lies in the log above. Zero runs travel as zero extents. Of blocks of
// which it is known what exactly changed, no more than that is read and sent. In a resync
// the server's digests are asked for first and only blocks that differ, or that it does not know,
// are sent. Thread-safety: none; the agent's loop.
#pragma once

#include "agent/scan/block_image.h"
#include "agent/scan/block_set.h"
#include "agent/stream/range_set.h"
#include "agent/stream/record_builder.h"
#include "agent/stream/server_digests.h"
#include "base/checksum.h"
#include "ingest/wire/messages.h"

#include <functional>
#include <optional>
#include <vector>

namespace cw::agent {

// Whether WELCOME's bitmap (bit i of byte i/8) has the super-chunk.
bool held_in(const ByteVector& bitmap, std::uint32_t ordinal) noexcept;

class BaseSender {
public:
    BaseSender(BlockImage& image, pipeline::SlabPool& pool, Clock& clock)
        : image_(image), pool_(pool), clock_(clock) {}

    // Called with the fingerprint of every whole block read, when set: a scanner's table.
    void on_block(std::function<void(std::uint64_t block, Bytes content)> seen) {
        seen_ = std::move(seen);
    }
    // Work for fence `seq`. With `compare`, digests under `secret` decide what is sent.
    void start(Seq seq, const BlockSet& blocks, bool compare, const FingerprintSecret& secret);
    // Likewise, for exactly these ranges.
    void start_exact(Seq seq, RangeSet ranges);
    // A new session of the same fence: `held` (bit i: super-chunk i) need not be sent again. The
    // rest is, acknowledged or not: another server, or a damaged cache, may lack it.
    void resume(const ByteVector& held);
    void stop() noexcept;

    [[nodiscard]] bool active() const noexcept { return raw(fence_) != 0; }
    [[nodiscard]] Seq fence() const noexcept { return fence_; }
    // Everything is spooled at the server.
    [[nodiscard]] bool finished() const noexcept { return active() && open_items_ == 0; }
    void acked(Seq fence, const std::vector<std::uint32_t>& ordinals);
    // The super-chunks that the server acknowledged as its own, ascending: what equals its digests
    // is not among them. RESYNC_END counts them.
    [[nodiscard]] std::vector<std::uint32_t> held() const;

    // The next super-chunk, its header without key and session; nullopt when there is nothing to
    // send now (all in flight, no memory, digests not here yet). Errors: source_gone.
    Result<std::optional<pipeline::Record>> next();
    // A connection was opened; whether its server offers summaries. Before start() and resume().
    void new_session(bool summaries) { digests_.new_session(summaries); }
    // Digests to ask for, each once per session.
    std::optional<ServerDigests::Request> next_request();
    // Errors: frame_malformed if nobody asked.
    template <typename Digests>
    Result<void> take(const Digests& digests) {
        return digests_.take(digests);
    }

    struct Progress {
        std::uint64_t total_bytes = 0, done_bytes = 0, sent_bytes = 0;
    };
    [[nodiscard]] Progress progress() const noexcept { return progress_; }
    // Of the disk, since the beginning: what fences have cost its owner.
    [[nodiscard]] std::uint64_t read_bytes() const noexcept { return read_bytes_; }
    // What came of comparisons, since the beginning.
    struct Compared {
        std::uint64_t equal_chunks = 0;     // Super-chunks of which nothing was sent.
        std::uint64_t equal_after_all = 0;  // Of them, once their blocks were looked into.
        std::uint64_t sent_blocks = 0;
    };
    [[nodiscard]] const Compared& compared() const noexcept { return compared_; }
    // What the server told to compare with.
    [[nodiscard]] std::uint64_t digest_bytes() const noexcept { return digests_.told_bytes(); }

private:
    // asked: for the digests of its blocks; equal: the server's digests said so; done: it
    // acknowledged what was sent.
    enum class State : std::uint8_t { todo, asked, in_flight, equal, done };
    struct Item {
        std::uint32_t ordinal;
        State state;
        std::uint64_t mask;  // Blocks to look at; of exact ranges 0.
        std::uint64_t bytes;
    };
    struct Part {  // Of a super-chunk; from its beginning.
        std::uint64_t from, to;
    };

    Item* next_item();
    Item* find(std::uint32_t ordinal);
    void finish(Item& item, State state);
    void begin(Seq seq);
    // What is to be looked at, ascending and disjoint: of `mask`, or exactly what changed.
    [[nodiscard]] std::vector<Part> parts_of(const Item& item, std::uint64_t mask,
                                             std::uint64_t chunk_size) const;
    Result<void> read_item(const std::vector<Part>& parts, const Item& item, MutableBytes chunk);
    std::optional<std::uint64_t> differing(const Item& item, Bytes chunk);
    void note_compared(const Item& item, const std::vector<Part>& differing);
    [[nodiscard]] bool build(const std::vector<Part>& parts, const Item& item, Bytes chunk,
                             RecordBuilder& builder);
    [[nodiscard]] bool build_part(Part part, std::uint64_t start, Bytes chunk,
                                  RecordBuilder& builder);
    [[nodiscard]] std::uint64_t chunk_bytes(std::uint32_t ordinal) const noexcept;

    BlockImage& image_;
    pipeline::SlabPool& pool_;
    Clock& clock_;
    std::function<void(std::uint64_t, Bytes)> seen_;
    Seq fence_{};
    bool compare_ = false;
    ServerDigests digests_;
    std::optional<RangeSet> exact_;  // Instead of the items' masks.
    std::vector<Item> items_;        // Ascending ordinals.
    std::size_t cursor_ = 0;         // Items before it are not todo.
    std::size_t open_items_ = 0;
    ByteVector chunk_;
    Progress progress_;
    std::uint64_t read_bytes_ = 0;
    Compared compared_;
};

}  // namespace cw::agent
