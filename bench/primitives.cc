#include "bench/primitives.h"

#include "base/checksum.h"
#include "base/crypto.h"
#include "base/disk.h"
#include "base/ids.h"
#include "bench/cpu_meter.h"
#include "pipeline/slab.h"

#include <algorithm>
#include <cstring>
#include <vector>

namespace cw::bench {
namespace {

constexpr std::size_t chunk_bytes = mib;
constexpr std::uint64_t spool_file_bytes = 256 * mib;
constexpr std::size_t spool_writes_in_flight = 4;

volatile std::uint64_t sink;  // Keeps results alive.

double per_gib(double seconds, std::uint64_t bytes) {
    return bytes == 0 ? 0 : seconds * static_cast<double>(gib) / static_cast<double>(bytes);
}

template <typename Work>
double cpu_of(Work work) {
    const double before = thread_cpu_s();
    work();
    return thread_cpu_s() - before;
}

template <typename Each>
double per_gib_of(Bytes data, std::size_t step, Each each) {
    const double cpu = cpu_of([&] {
        for (std::size_t at = 0; at < data.size(); at += step) {
            each(data.subspan(at, step));
        }
    });
    return per_gib(cpu, data.size());
}

struct StoredChunk {
    pipeline::Codec codec;
    Bytes raw;
    ByteVector stored;
};

// Compresses all chunks into one reused buffer, timed; keeps copies, not timed.
std::vector<StoredChunk> compress_all(Primitives& out, Bytes data,
                                      const pipeline::CodecChoice& choice) {
    pipeline::Compressor compressor;
    ByteVector packed(pipeline::compress_bound(chunk_bytes));
    std::vector<StoredChunk> chunks;
    double cpu = 0;
    for (std::size_t at = 0; at < data.size(); at += chunk_bytes) {
        const Bytes raw = data.subspan(at, chunk_bytes);
        pipeline::Compressor::Outcome outcome;
        cpu += cpu_of([&] { outcome = compressor.compress(raw, choice, packed); });
        const Bytes stored =
            outcome.codec == pipeline::Codec::none ? raw : Bytes(packed).first(outcome.bytes);
        chunks.push_back({outcome.codec, raw, ByteVector(stored.begin(), stored.end())});
    }
    out.compress = per_gib(cpu, data.size());
    return chunks;
}

void measure_stored(Primitives& out, Bytes data, const std::vector<StoredChunk>& chunks) {
    AesGcm cipher(Key256{});
    pipeline::Compressor compressor;
    ByteVector sealed(chunk_bytes), opened(chunk_bytes), raw(chunk_bytes);
    double seal = 0, open = 0, decompress = 0, compare = 0, crc64 = 0;
    std::uint64_t stored_bytes = 0;
    for (const StoredChunk& chunk : chunks) {
        const MutableBytes target = MutableBytes(sealed).first(chunk.stored.size());
        const MutableBytes back = MutableBytes(opened).first(chunk.stored.size());
        GcmTag tag{};
        seal += cpu_of([&] { tag = cipher.seal(GcmNonce{}, {}, chunk.stored, target); });
        crc64 += cpu_of([&] { sink = sink + crc64nvme(target); });
        open += cpu_of(
            [&] { CW_ASSERT(cipher.open(GcmNonce{}, {}, Bytes(target), tag, back).has_value()); });
        if (chunk.codec != pipeline::Codec::none) {
            decompress += cpu_of(
                [&] { CW_ASSERT(compressor.decompress(chunk.codec, back, raw).has_value()); });
            compare += cpu_of(
                [&] { CW_ASSERT(std::memcmp(raw.data(), chunk.raw.data(), raw.size()) == 0); });
        }
        stored_bytes += chunk.stored.size();
    }
    out.stored_fraction = static_cast<double>(stored_bytes) / static_cast<double>(data.size());
    out.stored_seal = per_gib(seal, stored_bytes);
    out.stored_crc64 = per_gib(crc64, stored_bytes);
    out.stored_open = per_gib(open, stored_bytes);
    out.decompress = per_gib(decompress, data.size());
    out.compare = per_gib(compare, data.size());
}

// Keeps a few durable writes in flight until `data` has been written once around the file.
class SpoolWriter {
public:
    SpoolWriter(Disk& disk, File& file, Bytes data) : disk_(disk), file_(file), data_(data) {}

    Result<void> run(pipeline::SlabPool& pool) {
        std::vector<Job> jobs(spool_writes_in_flight);
        for (Job& job : jobs) {
            job.writer = this;
            job.slab = pool.try_take();
            std::memcpy(job.slab.data(), data_.data(), pipeline::slab_bytes);
            submit(job);
        }
        while (in_flight_ > 0) {
            disk_.wait(100 * ns_per_ms_);
            disk_.poll();
        }
        return failed_ ? Result<void>(fail(Errc::io_error, "benchmark's spool write"))
                       : Result<void>();
    }
    // From submission to durable.
    [[nodiscard]] double p99_ms() {
        std::ranges::sort(took_ms_);
        return took_ms_.empty() ? 0 : took_ms_[(took_ms_.size() - 1) * 99 / 100];
    }

private:
    static constexpr std::int64_t ns_per_ms_ = 1'000'000;
    struct Job {
        SpoolWriter* writer = nullptr;
        pipeline::Slab slab;
        iovec part{};
        DiskRequest request;
        double submitted_s = 0;
    };
    void submit(Job& job) {
        if (failed_ || at_ >= data_.size()) {
            return;
        }
        job.part = {.iov_base = job.slab.data(), .iov_len = pipeline::slab_bytes};
        job.request = {.op = DiskOp::write,
                       .durable = true,
                       .file = &file_,
                       .offset = at_ % spool_file_bytes,
                       .parts = &job.part,
                       .part_count = 1,
                       .result = 0,
                       .done =
                           [](DiskRequest& request) {
                               Job& own = *static_cast<Job*>(request.context);
                               own.writer->finished(own);
                           },
                       .context = &job};
        at_ += pipeline::slab_bytes;
        ++in_flight_;
        job.submitted_s = wall_s();
        disk_.start(job.request);
    }
    void finished(Job& job) {
        --in_flight_;
        took_ms_.push_back((wall_s() - job.submitted_s) * 1e3);
        failed_ |= job.request.result != static_cast<std::int64_t>(pipeline::slab_bytes);
        submit(job);
    }

    Disk& disk_;
    File& file_;
    Bytes data_;
    std::uint64_t at_ = 0;
    std::size_t in_flight_ = 0;
    bool failed_ = false;
    std::vector<double> took_ms_;
};

}  // namespace

double Primitives::transform_limit(bool verify) const noexcept {
    const double checked = verify ? stored_fraction * stored_open + decompress + compare : 0;
    return crc32c + zero_scan + fingerprint + compress +
           stored_fraction * (stored_seal + stored_crc64) + checked;
}

double Primitives::server_limit(bool verify) const noexcept {
    return transform_limit(verify) + tls_receive + crc32c + spool_write +
           stored_fraction * stored_tls_send;
}

void measure_transform(Primitives& out, Bytes data, const pipeline::CodecChoice& codec) {
    CW_ASSERT(data.size() % chunk_bytes == 0);
    const FingerprintSecret secret{};
    out.crc32c = per_gib_of(data, chunk_bytes, [](Bytes b) { sink = sink + crc32c(b); });
    out.zero_scan = per_gib_of(data, 64 * kib, [](Bytes b) { sink = sink + all_zero(b); });
    out.fingerprint = per_gib_of(data, 64 * kib, [&](Bytes b) {
        sink = sink + std::to_integer<std::uint64_t>(fingerprint(b, secret)[0]);
    });
    measure_stored(out, data, compress_all(out, data, codec));
}

Result<void> measure_spool(Primitives& out, Bytes data, const std::string& directory) {
    const auto disk = make_best_disk(16);
    const std::string path = directory + "/spool-primitive";
    CW_TRY_ASSIGN(auto file, disk->open(path, {.write = true, .create = true, .direct = true}));
    CW_TRY(disk->resize(*file, spool_file_bytes, true));
    CW_TRY_ASSIGN(const auto pool,
                  pipeline::SlabPool::create("spool primitive", spool_writes_in_flight));
    // Once around to pre-write it: unwritten extents would halve the rate.
    CW_TRY(
        SpoolWriter(*disk, *file, data.first(std::min<std::size_t>(data.size(), spool_file_bytes)))
            .run(*pool));
    const double before = process_cpu_s();
    SpoolWriter writer(*disk, *file, data);
    CW_TRY(writer.run(*pool));
    out.spool_write = per_gib(process_cpu_s() - before, data.size());
    out.dsync_p99_ms = writer.p99_ms();
    file.reset();
    return disk->remove(path);
}

}  // namespace cw::bench
