// What the micro-benchmarks share: the corpus, walked so that bytes come from memory and not from
// a cache, and the counting. Thread-safety: none; Google Benchmark runs one case at a time.
#pragma once

#include "base/bytes.h"
#include "base/ids.h"

#include <cstddef>

#include <benchmark/benchmark.h>

namespace cw::bench {

inline constexpr std::size_t micro_corpus_bytes = 64 * mib;

// One generated image for all cases of a program, made when it is first asked for.
const ByteVector& micro_corpus();

// Chunk after chunk of the corpus, beginning anew at its end.
class Walk {
public:
    // 0 < step <= micro_corpus_bytes.
    explicit Walk(std::size_t step) : step_(step) {
        micro_corpus();
    }  // Made before the clock runs.
    Bytes next() {
        at_ = at_ + step_ > micro_corpus_bytes ? 0 : at_;
        const Bytes chunk = Bytes(micro_corpus()).subspan(at_, step_);
        at_ += step_;
        return chunk;
    }

private:
    std::size_t step_, at_ = 0;
};

inline void count_bytes(benchmark::State& state, std::size_t per_iteration) {
    state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations() * per_iteration));
}
inline void count_items(benchmark::State& state, std::size_t per_iteration) {
    state.SetItemsProcessed(static_cast<std::int64_t>(state.iterations() * per_iteration));
}

}  // namespace cw::bench
