// StreamTable: how far each history (machine, disk, generation) is appended and durable.
//
// Two views of the same thing: `appended` runs ahead of `durable` by what is unsynced. Only the
// durable view is acknowledged, checkpointed and believed after a restart: a fence that was closed
// in memory only must still take its BASE after a crash.
// Thread-safety: none; the spool's thread.
#pragma once

#include "base/bytes.h"
#include "cache/ordinal_set.h"
#include "pipeline/record.h"

#include <cstdint>
#include <map>
#include <span>
#include <vector>

namespace cw::cache {

using pipeline::RecordHeader;
using pipeline::RecordType;
using pipeline::StreamKey;

// What recovery found, and what is durable now, per history.
struct StreamState {
    StreamKey key;
    Seq durable{};  // Highest sequence without a (suspected) hole below it.
    Seq fence{};    // Open fence, 0 if none, and the super-chunks durable beneath it.
    std::vector<std::uint32_t> base_ordinals;
    bool base_lost = false;  // As in StreamView.
};

struct SeqRange {
    Seq first{}, last{};  // Inclusive.
    friend bool operator==(const SeqRange&, const SeqRange&) = default;
};

// One view of one history.
struct StreamView {
    Seq seq{};    // Highest without a hole below it.
    Seq fence{};  // Highest fence ever begun.
    bool fence_open = false;
    // Damage may have taken BASE of the open fence that was acknowledged, so its end must not be
    // believed: what lies beneath it has to come again under a new fence.
    bool base_lost = false;
    OrdinalSet ordinals;           // Under the open fence.
    std::vector<SeqRange> beyond;  // Held above a hole that damage left; ascending, disjoint.

    // Takes in what `header` brings, whatever came before. Sequences may repeat.
    void apply(const RecordHeader& header);
    // Everything up to `upto` is held, here or in the vault.
    void raise(Seq upto);
    // The vault holds everything up to `committed`, where `open_fence` (0: none) is open.
    void settle(Seq committed, Seq open_fence);
    friend bool operator==(const StreamView&, const StreamView&) = default;
};

struct Stream {
    StreamView appended, durable;
};

enum class Arrival : std::uint8_t {
    accept,
    duplicate,  // All of it is appended already.
    gap,    // Something before it is missing (or it overlaps what is held): resend from expected.
    stale,  // BASE of a fence that is over.
    malformed,  // Sequence and count contradict the type.
};

class StreamTable {
public:
    // nullptr when unknown.
    [[nodiscard]] const Stream* find(const StreamKey& key) const;
    // How `header` relates to what is appended. Unknown streams accept any sequence.
    [[nodiscard]] Arrival check(const RecordHeader& header) const;
    // Asserts check(header) == accept.
    void append(const RecordHeader& header);
    // `header` was appended and is durable now, as is everything before it.
    void make_durable(const RecordHeader& header);
    // What was appended of the machine's histories counts no longer, but for what is durable and
    // for `on_their_way`: records that will be, in append order.
    void withdraw(const MachineId& machine, std::span<const RecordHeader> on_their_way);
    // The vault holds everything up to `committed`, where `open_fence` (0: none) is open; creates
    // the stream if unknown. A view that knows more keeps its own fence. False: nothing changed.
    bool settle(const StreamKey& key, Seq committed, Seq open_fence);
    // Of a known stream only what lies up to `durable` counts as held, also of what is held above
    // a hole. False: it held no more.
    bool take_again(const StreamKey& key, Seq durable);
    void forget(const StreamKey& key) { streams_.erase(key); }
    // Recovery: both views become `view`.
    void restore(const StreamKey& key, StreamView view);

    [[nodiscard]] std::vector<StreamState> states() const;
    [[nodiscard]] StreamState state(const StreamKey& key) const;
    [[nodiscard]] const std::map<StreamKey, Stream>& all() const noexcept { return streams_; }

private:
    std::map<StreamKey, Stream> streams_;
};

// The last sequence a record consumes. Its count must be > 0.
constexpr Seq last_seq(const RecordHeader& header) noexcept {
    return Seq{raw(header.seq) + header.seq_count - 1};
}
// True for types that move the sequence.
constexpr bool consumes_sequence(RecordType type) noexcept {
    return type == RecordType::write || type == RecordType::resync_begin ||
           type == RecordType::resync_end || type == RecordType::resize;
}
// 64 TiB, the largest disk, in super-chunks.
inline constexpr std::uint32_t super_chunks_max = 1U << 24;
// Sequence, count and ordinal fit the type: checked on what comes from a peer or a device.
bool sequence_fits_type(const RecordHeader& header) noexcept;

}  // namespace cw::cache
