// transform_bench [--json] [--size 512MiB] [--seed N] [--repeat N]: the compute part of the data
// path in one process, from spooled records to sealed bodies, against the sum of its primitives on
// the same data. pipeline_bench measures the whole server; this one tells whose fault it is.
#include "base/checksum.h"
#include "base/crypto.h"
#include "base/ids.h"
#include "bench/corpus.h"
#include "bench/cpu_meter.h"
#include "bench/primitives.h"
#include "bench/report.h"
#include "pipeline/stage.h"
#include "pipeline/transform.h"

#include <cstdio>
#include <mutex>
#include <thread>

#include <CLI/CLI.hpp>
#include <poll.h>

namespace cw::bench {
namespace {

using namespace pipeline;

// AES-256-GCM under one key with a context per thread, as the vault's sealer works.
class BenchSealer final : public Sealer {
public:
    GcmTag seal(const ChunkBinding& chunk, Bytes plain,
                std::span<const MutableBytes> cipher) override {
        return context().seal(nonce(chunk), {}, plain, cipher);
    }
    Result<void> open(const ChunkBinding& chunk, std::span<const Bytes> cipher, const GcmTag& tag,
                      MutableBytes plain) override {
        return context().open(nonce(chunk), {}, cipher, tag, plain);
    }
    [[nodiscard]] const FingerprintSecret& fingerprint_secret() const override { return secret_; }

private:
    static AesGcm& context() {
        thread_local AesGcm cipher{Key256{}};
        return cipher;
    }
    static GcmNonce nonce(const ChunkBinding& chunk) {
        GcmNonce n{};
        std::memcpy(n.data(), &chunk.ordinal, sizeof chunk.ordinal);
        return n;
    }
    FingerprintSecret secret_{};
};

// Borrowed corpus bytes in place of records' slabs: record r is the r-th 4 MiB.
class CorpusPayload final : public PayloadSource {
public:
    explicit CorpusPayload(Bytes data) : data_(data) {}
    [[nodiscard]] Bytes data(std::uint32_t record, std::uint32_t position,
                             std::uint32_t length) const override {
        return data_.subspan(std::uint64_t{record} * super_chunk_bytes + position, length);
    }

private:
    Bytes data_;
};

TransformRequest make_request(Bytes data, const std::shared_ptr<Sealer>& sealer, CodecChoice codec,
                              VerifyMode verify) {
    std::vector<PlanInput> inputs;
    for (std::uint32_t i = 0; i * std::uint64_t{super_chunk_bytes} < data.size(); ++i) {
        const Bytes bytes = data.subspan(i * std::uint64_t{super_chunk_bytes}, super_chunk_bytes);
        inputs.push_back({.record = i,
                          .extent_index = 0,
                          .seq = Seq{i + 1},
                          .extent = {.offset = i * std::uint64_t{super_chunk_bytes},
                                     .length = super_chunk_bytes,
                                     .crc = crc32c(bytes)}});
    }
    return {.plan = build_plan(inputs),
            .payload = std::make_unique<CorpusPayload>(data),
            .sealer = sealer,
            .codec = codec,
            .verify = verify,
            .cookie = 0};
}

struct Case {
    const char* name;
    CodecChoice codec;
    VerifyMode verify;
};

Result<CaseReport> run_case(const Case& c, Bytes data, std::size_t workers) {
    Primitives primitives;
    measure_transform(primitives, data, c.codec);
    constexpr std::size_t job_bytes = plan_raw_bytes_max / super_chunk_bytes * super_chunk_bytes;
    CW_TRY_ASSIGN(const auto slabs, SlabPool::create("bench", 2 * plan_raw_bytes_max / slab_bytes));
    const auto metrics = make_metric_registry();
    Doorbell bell;
    TransformQueue queue(bell);
    const auto executor = make_compute_executor(workers);
    Transformer transformer(*executor, *slabs, *metrics);
    std::vector<TransformRequest> requests;
    for (std::size_t at = 0; at < data.size(); at += job_bytes) {
        requests.push_back(make_request(data.subspan(at, std::min(job_bytes, data.size() - at)),
                                        std::make_shared<BenchSealer>(), c.codec, c.verify));
    }
    const double cpu_before = process_cpu_s(), wall_before = wall_s();
    std::size_t started = 0, finished = 0;
    std::uint64_t stored = 0;
    while (finished < requests.size()) {
        if (started < requests.size() && transformer.try_start(requests[started], queue)) {
            ++started;
            continue;
        }
        bell.prepare();
        if (const auto outcome = queue.take()) {
            bell.cancel();
            if (!outcome->body) {
                return std::unexpected(outcome->body.error().error);
            }
            stored += outcome->body->stored_bytes;
            ++finished;
            continue;
        }
        pollfd wait{.fd = bell.fd(), .events = POLLIN, .revents = 0};
        ::poll(&wait, 1, 1000);
        bell.consume();
    }
    CaseReport report{.name = c.name,
                      .bytes = static_cast<double>(data.size()),
                      .wall_s = wall_s() - wall_before,
                      .cpu_s = process_cpu_s() - cpu_before};
    report.limit_cpu_s_per_gib = primitives.transform_limit(c.verify == VerifyMode::full);
    report.stored_ratio = static_cast<double>(data.size()) / static_cast<double>(stored);
    report.peak_rss_mib = peak_rss_mib(::getpid());
    return report;
}

int run(int argc, char** argv) {
    CLI::App app("The compute part of the data path against its primitives.");
    std::uint64_t size = 512 * mib, seed = 1;
    unsigned repeat = 1;
    std::size_t workers = std::max(1U, std::thread::hardware_concurrency());
    bool json = true;
    app.add_flag("--json", json, "one object per line: the only form there is");
    app.add_option("--size", size)->transform(CLI::AsSizeValue(false));
    app.add_option("--seed", seed);
    app.add_option("--repeat", repeat);
    app.add_option("--workers", workers);
    CLI11_PARSE(app, argc, argv);
    ByteVector data(align_up(size, super_chunk_bytes));
    Corpus(seed).fill(0, data);
    static constexpr Case cases[] = {
        {"transform/zstd1/verify=full", {Codec::zstd, 1}, VerifyMode::full},
        {"transform/zstd1/verify=off", {Codec::zstd, 1}, VerifyMode::off},
        {"transform/lz4/verify=full", {Codec::lz4, 1}, VerifyMode::full},
        {"transform/lz4/verify=off", {Codec::lz4, 1}, VerifyMode::off},
    };
    for (unsigned round = 0; round < repeat; ++round) {
        for (const Case& c : cases) {
            const auto report = run_case(c, data, workers);
            if (!report) {
                std::fprintf(stderr, "transform_bench: %s\n", to_string(report.error()).c_str());
                return 1;
            }
            print_json(*report);
        }
    }
    return 0;
}

}  // namespace
}  // namespace cw::bench

int main(int argc, char** argv) {
    return cw::bench::run(argc, argv);
}
