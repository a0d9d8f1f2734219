// make_corpus --size 256MiB --out FILE [--seed N] [--stats]: writes the benchmark image.
#include "base/disk.h"
#include "base/ids.h"
#include "bench/corpus.h"
#include "pipeline/compressor.h"

#include <cstdio>
#include <map>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

namespace {

using namespace cw;

// Output fraction of each codec over the whole image, in chunks as the pipeline makes them.
class Statistics {
public:
    void add(Bytes chunk) {
        raw_ += chunk.size();
        zero_ += all_zero(chunk) ? chunk.size() : 0;
        static const std::pair<const char*, pipeline::CodecChoice> codecs[] = {
            {"LZ4", {pipeline::Codec::lz4, 1}}, {"zstd 1", {pipeline::Codec::zstd, 1}}};
        for (const auto& [name, choice] : codecs) {
            const auto outcome = compressor_.compress(chunk, choice, packed_);
            stored_[name] += outcome.codec == pipeline::Codec::none ? chunk.size() : outcome.bytes;
        }
        noise_ += pipeline::looks_incompressible(chunk) ? chunk.size() : 0;
    }
    static bool all_zero(Bytes bytes) {
        for (const std::byte b : bytes) {
            if (b != std::byte{0}) {
                return false;
            }
        }
        return true;
    }
    void print() const {
        for (const auto& [name, bytes] : stored_) {
            std::printf("%-8s ratio %.2f\n", name.c_str(),
                        static_cast<double>(raw_) / static_cast<double>(bytes));
        }
        std::printf("incompressible by the probe: %.1f %%\n",
                    100.0 * static_cast<double>(noise_) / static_cast<double>(raw_));
    }

private:
    pipeline::Compressor compressor_;
    ByteVector packed_ = ByteVector(pipeline::compress_bound(pipeline::chunk_bytes_max));
    std::map<std::string, std::uint64_t> stored_;
    std::uint64_t raw_ = 0, zero_ = 0, noise_ = 0;
};

Result<void> write_corpus(const std::string& path, std::uint64_t size, std::uint64_t seed,
                          Statistics* statistics) {
    const auto disk = make_posix_disk();
    CW_TRY_ASSIGN(const auto file, disk->open(path, {.write = true, .create = true}));
    CW_TRY(disk->resize(*file, size, false));
    const bench::Corpus corpus(seed);
    ByteVector unit(bench::corpus_unit_bytes);
    for (std::uint64_t at = 0; at < size; at += unit.size()) {
        corpus.fill(at, unit);
        CW_TRY(write_at(*disk, *file, at, unit, false));
        if (statistics != nullptr) {
            statistics->add(unit);
        }
    }
    return {};
}

}  // namespace

int main(int argc, char** argv) {
    CLI::App app("Writes a generated, realistic disk image for benchmarks.");
    std::uint64_t size = 256 * mib, seed = 1;
    std::string path;
    bool stats = false;
    app.add_option("--size", size, "bytes, multiple of 1 MiB; 256MiB, 2GiB")
        ->transform(CLI::AsSizeValue(false))
        ->check(CLI::PositiveNumber);
    app.add_option("--out", path, "file to write")->required();
    app.add_option("--seed", seed, "the same seed gives the same image");
    app.add_flag("--stats", stats, "print how it compresses");
    CLI11_PARSE(app, argc, argv);
    Statistics statistics;
    const auto written =
        write_corpus(path, align_up(size, mib), seed, stats ? &statistics : nullptr);
    if (!written) {
        std::fprintf(stderr, "make_corpus: %s\n", to_string(written.error()).c_str());
        return 1;
    }
    if (stats) {
        statistics.print();
    }
    return 0;
}
