// One disk as a ModelServer keeps it: every extent it was sent, in the order of the log, with the
// fences, so that it can be rebuilt at any cut by the rules of PROTOCOL.md and not by ours.
#pragma once

#include "ingest/wire/frame.h"
#include "pipeline/extent_table.h"

#include <set>
#include <vector>

namespace cw::agent::test {

struct ModelDisk {
    struct Piece {  // One extent, or a fence's end.
        Seq seq;
        bool base = false;
        std::uint32_t ordinal = 0;
        pipeline::Extent extent;
        ByteVector data;
        Seq end{};  // base: the sequence its RESYNC_END took; 0: still open
    };
    std::uint64_t size = 0;
    Generation generation{};
    Generation named{};  // By the last HELLO.
    Seq received{}, durable{}, committed{};
    Seq fence{};  // Open fence, of what was received.
    bool fence_durable = false;
    std::set<std::uint32_t> ordinals;  // Received beneath the open fence.
    bool must_begin = false;           // WELCOME asked for a RESYNC_BEGIN at `begin_at`.
    Seq begin_at{};
    bool untouched = false;  // Nothing of it came in this session.
    std::vector<Piece> pieces;

    // A new history above what is committed; the rest is given up.
    void begin_generation();
    // Errors: what is wrong with the extents of a WRITE or BASE.
    Result<void> keep(const wire::FrameHeader& header, Bytes payload, bool base);
    void open_fence(Seq at);
    void close_fence(Seq at);
    // Power cut: what was received and is not durable is gone.
    void lose_received();
    // As a reader of the vault would see it at `cut`.
    [[nodiscard]] ByteVector materialise(Seq cut) const;
};

}  // namespace cw::agent::test
