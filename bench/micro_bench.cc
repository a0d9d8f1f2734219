// The data path's primitives, one by one, on the corpus. Bytes per second are of input; compare
// with the table in RESULTS.md.
#include "base/checksum.h"
#include "base/crypto.h"
#include "base/ids.h"
#include "base/random.h"
#include "bench/corpus.h"
#include "pipeline/coalesce.h"
#include "pipeline/compressor.h"
#include "pipeline/crc_combine.h"
#include "pipeline/extent_table.h"
#include "pipeline/ring.h"
#include "pipeline/slab.h"

#include <benchmark/benchmark.h>

namespace cw::bench {
namespace {

constexpr std::size_t corpus_bytes = 64 * mib;

// One generated image for all cases; walked in chunks, so that it comes from memory, not the cache.
const ByteVector& image() {
    static const ByteVector bytes = [] {
        ByteVector b(corpus_bytes);
        Corpus(1).fill(0, b);
        return b;
    }();
    return bytes;
}

class Walk {
public:
    explicit Walk(std::size_t step) : step_(step) {}
    Bytes next() {
        at_ = at_ + step_ > image().size() ? 0 : at_;
        const Bytes chunk = Bytes(image()).subspan(at_, step_);
        at_ += step_;
        return chunk;
    }

private:
    std::size_t step_, at_ = 0;
};

void count_bytes(benchmark::State& state, std::size_t per_iteration) {
    state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations() * per_iteration));
}

template <auto function>
void over_corpus(benchmark::State& state) {
    const auto step = static_cast<std::size_t>(state.range(0));
    Walk walk(step);
    for (auto _ : state) {
        benchmark::DoNotOptimize(function(walk.next()));
    }
    count_bytes(state, step);
}

std::uint32_t crc32c_of(Bytes bytes) {
    return crc32c(bytes);
}
std::uint64_t crc64_of(Bytes bytes) {
    return crc64nvme(bytes);
}
Fingerprint fingerprint_of(Bytes bytes) {
    static const FingerprintSecret secret = [] {
        FingerprintSecret s;
        make_seeded_random(1)->fill(s);
        return s;
    }();
    return fingerprint(bytes, secret);
}
bool zero_scan(Bytes) {
    static const ByteVector zeros(corpus_bytes);  // The scan stops at the first other byte.
    static std::size_t at = 0;
    at = (at + mib) % corpus_bytes;
    return all_zero(Bytes(zeros).subspan(at, mib));
}
BENCHMARK(over_corpus<crc32c_of>)->Name("crc32c")->Arg(4096)->Arg(mib);
BENCHMARK(over_corpus<crc64_of>)->Name("crc64nvme")->Arg(4096)->Arg(mib);
BENCHMARK(over_corpus<fingerprint_of>)->Name("fingerprint")->Arg(64 * kib);
BENCHMARK(over_corpus<zero_scan>)->Name("zero_scan")->Arg(mib);
BENCHMARK(over_corpus<pipeline::looks_incompressible>)->Name("entropy_probe")->Arg(mib);

void compress(benchmark::State& state, pipeline::CodecChoice choice) {
    pipeline::Compressor compressor;
    ByteVector packed(pipeline::compress_bound(pipeline::chunk_bytes_max));
    const auto step = static_cast<std::size_t>(state.range(0));
    Walk walk(step);
    std::size_t in = 0, out = 0;
    for (auto _ : state) {
        const auto outcome = compressor.compress(walk.next(), choice, packed);
        in += step;
        out += outcome.codec == pipeline::Codec::none ? step : outcome.bytes;
    }
    count_bytes(state, step);
    state.counters["ratio"] = static_cast<double>(in) / static_cast<double>(out);
}
BENCHMARK_CAPTURE(compress, lz4, {pipeline::Codec::lz4, 1})->Arg(64 * kib)->Arg(mib);
BENCHMARK_CAPTURE(compress, zstd_minus1, {pipeline::Codec::zstd, -1})->Arg(mib);
BENCHMARK_CAPTURE(compress, zstd_1, {pipeline::Codec::zstd, 1})->Arg(64 * kib)->Arg(mib);
BENCHMARK_CAPTURE(compress, zstd_3, {pipeline::Codec::zstd, 3})->Arg(mib);

void decompress(benchmark::State& state, pipeline::CodecChoice choice) {
    pipeline::Compressor compressor;
    std::vector<std::pair<pipeline::Codec, ByteVector>> chunks;
    Walk walk(mib);
    ByteVector packed(pipeline::compress_bound(mib)), raw(mib);
    for (std::size_t at = 0; at < corpus_bytes; at += mib) {
        const auto outcome = compressor.compress(walk.next(), choice, packed);
        if (outcome.codec != pipeline::Codec::none) {
            chunks.emplace_back(
                outcome.codec,
                ByteVector(packed.begin(),
                           packed.begin() + static_cast<std::ptrdiff_t>(outcome.bytes)));
        }
    }
    std::size_t i = 0;
    for (auto _ : state) {
        const auto& [codec, bytes] = chunks[i++ % chunks.size()];
        benchmark::DoNotOptimize(compressor.decompress(codec, bytes, raw));
    }
    count_bytes(state, mib);
}
BENCHMARK_CAPTURE(decompress, lz4, {pipeline::Codec::lz4, 1});
BENCHMARK_CAPTURE(decompress, zstd_1, {pipeline::Codec::zstd, 1});

void aes_gcm_seal(benchmark::State& state) {
    AesGcm cipher(Key256{});
    const auto step = static_cast<std::size_t>(state.range(0));
    Walk walk(step);
    ByteVector out(step);
    for (auto _ : state) {
        benchmark::DoNotOptimize(cipher.seal(GcmNonce{}, {}, walk.next(), MutableBytes(out)));
    }
    count_bytes(state, step);
}
BENCHMARK(aes_gcm_seal)->Arg(16 * kib)->Arg(mib);

void ring_push_pop(benchmark::State& state) {
    pipeline::Ring<std::uint64_t> ring(1024);
    std::uint64_t value = 0;
    for (auto _ : state) {
        ring.try_push(value);
        ring.try_pop(value);
        benchmark::DoNotOptimize(value);
    }
}
BENCHMARK(ring_push_pop);

void slab_take_return(benchmark::State& state) {
    auto pool = pipeline::SlabPool::create("bench", 8);
    for (auto _ : state) {
        pipeline::Slab slab = (*pool)->try_take();
        benchmark::DoNotOptimize(slab.data());
    }
}
BENCHMARK(slab_take_return);

std::vector<pipeline::PlanInput> random_writes(std::size_t count) {
    const auto random = make_seeded_random(2);
    std::vector<pipeline::PlanInput> inputs;
    for (std::uint32_t i = 0; i < count; ++i) {
        inputs.push_back({.record = i / 256,
                          .extent_index = i % 256,
                          .seq = Seq{i + 1},
                          .extent = {.offset = random->below(1 << 20) * 4096,
                                     .length = 4096,
                                     .data_position = i % 256 * 4096}});
    }
    return inputs;
}

void coalesce(benchmark::State& state) {
    const auto inputs = random_writes(static_cast<std::size_t>(state.range(0)));
    for (auto _ : state) {
        benchmark::DoNotOptimize(pipeline::build_plan(inputs));
    }
    count_bytes(state, inputs.size() * 4096);
}
BENCHMARK(coalesce)->Arg(256)->Arg(8192);

void extent_table_read(benchmark::State& state) {
    pipeline::ExtentTable table;
    table.extents.resize(static_cast<std::size_t>(state.range(0)),
                         {.length = 4096, .op = pipeline::ExtentOp::zero});
    ByteVector bytes(pipeline::extent_table_bytes(table.extents.size()));
    pipeline::write_extent_table(table, bytes);
    for (auto _ : state) {
        benchmark::DoNotOptimize(pipeline::read_extent_table(bytes, 0, UINT64_MAX));
    }
    state.SetItemsProcessed(static_cast<std::int64_t>(state.iterations() * table.extents.size()));
}
BENCHMARK(extent_table_read)->Arg(1)->Arg(256);

void crc64_combine(benchmark::State& state) {
    std::uint64_t crc = 1;
    for (auto _ : state) {
        crc = pipeline::crc64nvme_combine(crc, 7, 1'000'003);
        benchmark::DoNotOptimize(crc);
    }
}
BENCHMARK(crc64_combine);

}  // namespace
}  // namespace cw::bench

BENCHMARK_MAIN();
