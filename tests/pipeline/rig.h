// What the transform's tests share: a sealer without the vault, records made from writes, and a
// model of the disk to compare with.
#pragma once

#include "base/random.h"
#include "pipeline/stage.h"
#include "pipeline/transform.h"

#include <functional>
#include <mutex>
#include <set>

namespace cw::pipeline {

// AES-GCM under a fixed key. Notes every nonce; fails the test when one comes twice.
class TestSealer final : public Sealer {
public:
    TestSealer();
    GcmTag seal(const ChunkBinding& chunk, Bytes plain,
                std::span<const MutableBytes> cipher) override;
    Result<void> open(const ChunkBinding& chunk, std::span<const Bytes> cipher, const GcmTag& tag,
                      MutableBytes plain) override;
    [[nodiscard]] const FingerprintSecret& fingerprint_secret() const override { return secret_; }

    // Called with each sealed chunk's bytes and tag: faults between sealing and verification.
    std::function<void(const ChunkBinding&, std::span<const MutableBytes>, GcmTag&)> after_seal;

private:
    Key256 key_{};
    FingerprintSecret secret_{};
    std::mutex mutex_;
    std::set<std::uint32_t> ordinals_;
};

// Records of one disk, built write by write, and what the disk then holds.
class DiskWrites {
public:
    DiskWrites(SlabPool& pool, std::size_t disk_bytes) : pool_(pool), disk_(disk_bytes) {}
    // Starts a new record; writes go there until the next call.
    void next_record();
    void write(std::uint64_t offset, Bytes bytes);
    void hole(ExtentOp op, std::uint64_t offset, std::uint32_t length);

    [[nodiscard]] const std::vector<PlanInput>& inputs() const noexcept { return inputs_; }
    [[nodiscard]] const ByteVector& disk() const noexcept { return disk_; }
    // The byte of the payload where extent `index` of `record` has its byte number `at`.
    std::byte& payload_byte(std::uint32_t record, std::uint32_t index, std::uint32_t at);
    TransformRequest request(std::shared_ptr<Sealer> sealer, CodecChoice codec, VerifyMode verify);

private:
    SlabPool& pool_;
    ByteVector disk_;
    std::vector<StoredRecord> records_;
    std::vector<PlanInput> inputs_;
    std::uint64_t seq_ = 0;
};

// A transformer over an executor, and the waiting.
class TransformRig {
public:
    TransformRig(std::unique_ptr<Executor> executor, std::size_t segment_slabs);
    ~TransformRig();
    // Starts the request, which must find room, and waits at most 600 s for it.
    TransformOutcome run(TransformRequest request);
    bool start(TransformRequest& request) { return transformer->try_start(request, *queue); }
    std::optional<TransformOutcome> wait();

    std::unique_ptr<MetricRegistry> metrics = make_metric_registry();
    std::unique_ptr<SlabPool> segment_slabs;
    Doorbell bell;
    std::unique_ptr<TransformQueue> queue = std::make_unique<TransformQueue>(bell);
    std::unique_ptr<Transformer> transformer;
    std::unique_ptr<Executor> executor;
};

std::unique_ptr<SlabPool> make_pool(std::size_t count);
// Opens every chunk of `body` into an image of `disk_bytes`; checks on the way ordinals, offsets,
// lengths, fingerprints and the body's CRC. Bytes that no chunk covers are 0xcc.
ByteVector restore(const SealedBody& body, Sealer& sealer, std::size_t disk_bytes);
// Compressible, and different everywhere.
ByteVector text_like(std::size_t bytes, std::uint64_t seed);
ByteVector noise(std::size_t bytes, std::uint64_t seed);

}  // namespace cw::pipeline
