// Compression of one chunk (at most 1 MiB) at a time.
//
// A Compressor keeps the codecs' contexts, so that a worker pays for them once. A chunk that does
// not shrink by at least 3 % is stored raw: reading it back must not cost more than it saved.
// Thread-safety: none; one Compressor per worker. Memory: compressor_bytes() of the highest level
// used so far.
#pragma once

#include "base/bytes.h"
#include "base/error.h"
#include "pipeline/sealer.h"

#include <cstdint>
#include <memory>

namespace cw::pipeline {

inline constexpr std::size_t chunk_bytes_max = 1024 * 1024;
inline constexpr int zstd_level_min = -7, zstd_level_max = 19, lz4_acceleration_max = 32;

// How to compress. `level` is zstd's level (zstd_level_min..zstd_level_max, not 0) or LZ4's
// acceleration (1..lz4_acceleration_max); ignored for none.
struct CodecChoice {
    Codec codec = Codec::zstd;
    int level = 1;
    friend bool operator==(const CodecChoice&, const CodecChoice&) = default;
};

// Upper bound of a Compressor's memory that has used zstd up to `level` (and LZ4), for the budget.
std::size_t compressor_bytes(int zstd_level) noexcept;

// Room that compress() needs for `raw_bytes` of input.
std::size_t compress_bound(std::size_t raw_bytes) noexcept;

// True when 8 samples of 512 bytes look like ciphertext or compressed media (order-0 entropy): then
// compressing is a waste. Costs about 0.5 % of LZ4. Small inputs (< 64 KiB) are never judged.
bool looks_incompressible(Bytes raw) noexcept;

class Compressor {
public:
    Compressor();
    ~Compressor();
    Compressor(Compressor&&) noexcept;
    Compressor& operator=(Compressor&&) noexcept;

    // `codec` is none when the chunk is better stored raw; then `out` holds nothing of use.
    struct Outcome {
        Codec codec = Codec::none;
        std::size_t bytes = 0;  // In `out`; 0 for none.
    };
    // 0 < raw.size() <= chunk_bytes_max; out.size() >= compress_bound(raw.size()).
    Outcome compress(Bytes raw, const CodecChoice& choice, MutableBytes out);

    // Fills `raw` exactly; never writes beyond it, whatever `stored` says.
    // Errors: object_corrupt (malformed, or another length than raw.size()).
    Result<void> decompress(Codec codec, Bytes stored, MutableBytes raw);

    // What the contexts hold now.
    [[nodiscard]] std::size_t memory_bytes() const noexcept;

private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace cw::pipeline
