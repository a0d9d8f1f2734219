#include "bench/corpus.h"
#include "bench/micro.h"

namespace cw::bench {

const ByteVector& micro_corpus() {
    static const ByteVector bytes = [] {
        ByteVector b(micro_corpus_bytes);
        Corpus(1).fill(0, b);
        return b;
    }();
    return bytes;
}

}  // namespace cw::bench

BENCHMARK_MAIN();
