// FrameReader: puts a byte stream together into frames, each byte straight into its final place.
//
// The header is read apart; the table of a stored frame goes into a TableBuffer and its data into
// slabs, where the spool writes and the compressor reads it. The reader is asked where the next
// bytes belong and told how many came, so nothing of ours ever moves a payload byte.
// Thread-safety: none. Lifetime: the pool outlives the reader and its frames.
#pragma once

#include "ingest/session.h"
#include "pipeline/slab.h"

#include <array>
#include <optional>

namespace cw::ingest {

class FrameReader {
public:
    explicit FrameReader(pipeline::SlabPool& pool) : pool_(pool) {}

    // Where the next bytes belong; never empty unless memory is short (then ask again later) or
    // complete().
    MutableBytes target();
    // `count` bytes were put at target(). Errors: frame_malformed, from the header.
    Result<void> filled(std::size_t count);

    // Known once the header has been read and checked; before memory is taken for the payload.
    [[nodiscard]] const std::optional<wire::FrameHeader>& header() const noexcept {
        return header_;
    }
    [[nodiscard]] bool complete() const noexcept {
        return header_ && payload_at_ == header_->payload_bytes;
    }
    // Whether the next byte is the first of a frame.
    [[nodiscard]] bool between_frames() const noexcept { return header_at_ == 0; }
    // Requires complete(). The reader is ready for the next frame.
    InFrame take();

private:
    bool provide_memory();

    pipeline::SlabPool& pool_;
    std::array<std::byte, wire::frame_header_bytes> header_bytes_{};
    std::size_t header_at_ = 0;
    std::optional<wire::FrameHeader> header_;
    InFrame frame_;
    bool has_memory_ = false;
    std::uint32_t payload_at_ = 0;
};

}  // namespace cw::ingest
