// The primitives of every byte, one by one, on the corpus: checksums, scans, codecs, the cipher.
// Bytes per second are of input; compare with the table in RESULTS.md.
#include "base/checksum.h"
#include "base/crypto.h"
#include "base/ids.h"
#include "base/random.h"
#include "bench/micro.h"
#include "pipeline/compressor.h"

#include <benchmark/benchmark.h>

namespace cw::bench {
namespace {

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
BENCHMARK(over_corpus<crc32c_of>)->Name("crc32c")->Arg(4096)->Arg(mib);
BENCHMARK(over_corpus<crc64_of>)->Name("crc64nvme")->Arg(4096)->Arg(mib);
BENCHMARK(over_corpus<fingerprint_of>)->Name("fingerprint")->Arg(64 * kib);
BENCHMARK(over_corpus<pipeline::looks_incompressible>)->Name("entropy_probe")->Arg(mib);

void zero_scan(benchmark::State& state) {
    const ByteVector zeros(micro_corpus_bytes);  // The scan stops at the first other byte.
    std::size_t at = 0;
    for (auto _ : state) {
        benchmark::DoNotOptimize(all_zero(Bytes(zeros).subspan(at, mib)));
        at = (at + mib) % micro_corpus_bytes;
    }
    count_bytes(state, mib);
}
BENCHMARK(zero_scan);

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
    for (std::size_t at = 0; at < micro_corpus_bytes; at += mib) {
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

}  // namespace
}  // namespace cw::bench
