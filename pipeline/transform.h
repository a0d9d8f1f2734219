// The transform: a plan and its payload become the sealed body of a segment.
//
// Fused per chunk while it is cache-hot: CRC of the source extents again (end to end) → zero scan →
// fingerprints of the 64 KiB disk blocks written whole → compress → seal into segment slabs →
// verify (open, decompress, compare). Work runs on the Executor in groups of about 1 MiB, at most
// worker_count() tasks per job; a finished job is posted to its TransformQueue.
//
// No deadlock: try_start() takes slabs for the worst case (nothing compresses) or takes nothing;
// what turns out not to be needed goes back while the job still runs. Bytes that fail a check never
// become a body: the outcome is an error that names the record and extent.
#pragma once

#include "base/executor.h"
#include "base/metrics.h"
#include "pipeline/coalesce.h"
#include "pipeline/sealer.h"
#include "pipeline/slab.h"

#include <atomic>
#include <memory>
#include <optional>
#include <vector>

namespace cw::pipeline {

class Doorbell;
class TransformQueue;
struct TransformJob;

inline constexpr std::uint32_t fingerprint_block_bytes = 64 * 1024;
// Upper bound of the scratch and codec memory of one worker, for the budget.
inline std::size_t worker_bytes(int zstd_level) noexcept {
    return compressor_bytes(zstd_level) + 5 * mib;
}

// Where a job's payload lies: slabs still resident, or read back from the spool.
class PayloadSource {
public:
    virtual ~PayloadSource() = default;
    // Borrowed until the job has finished: bytes [position, position + length) of the data of
    // record number `record` (PlanInput::record). The range lies within one slab. Called by several
    // workers at once.
    [[nodiscard]] virtual Bytes data(std::uint32_t record, std::uint32_t position,
                                     std::uint32_t length) const = 0;
};

// The usual source: the records themselves, with their data resident. `record` is the index.
class ResidentPayload final : public PayloadSource {
public:
    explicit ResidentPayload(std::vector<StoredRecord> records) : records_(std::move(records)) {}
    [[nodiscard]] Bytes data(std::uint32_t record, std::uint32_t position,
                             std::uint32_t length) const override {
        return records_[record].record.data_in_slab(position, length);
    }
    [[nodiscard]] std::vector<StoredRecord>& records() noexcept { return records_; }

private:
    std::vector<StoredRecord> records_;
};

// One entry of the segment's index; the same fields as vault::Chunk.
struct SealedChunk {
    std::uint32_t ordinal = 0;
    std::uint64_t disk_offset = 0;
    std::uint64_t raw_length = 0;
    std::uint64_t stored_offset = 0;  // From the start of the body (not of the object). Holes: 0.
    std::uint32_t stored_length = 0;  // Holes: 0.
    Codec codec = Codec::none;
    Seq last_seq{};
    GcmTag tag{};  // Holes: zeros; the sealed index vouches for them.
    // (disk offset / 64 KiB, fingerprint) of each disk block that this chunk wrote whole. Holes
    // carry none: the fingerprint of zeros is the same everywhere.
    std::vector<std::pair<std::uint64_t, Fingerprint>> fingerprints;
};

struct SealedBody {
    std::vector<Slab> slabs;  // stored_bytes in them, contiguous across slabs from the first byte.
    std::uint64_t stored_bytes = 0;
    std::uint64_t raw_bytes = 0;      // Before compression, without holes.
    std::uint64_t crc64 = 0;          // CRC-64/NVME of the body; see crc64nvme_combine().
    std::vector<SealedChunk> chunks;  // Ordinals 0..n-1: stored ones by stored_offset, then holes.
    // The body as pieces of memory, in order, for a scattered upload.
    [[nodiscard]] std::vector<Bytes> pieces() const;
};

// What went wrong, with the place when a source extent is to blame.
struct TransformFailure {
    // record_corrupt: the payload in memory no longer matches the agent's CRC: read it back from
    // the spool, and if that fails too repair it from the agent. internal: what was sealed does not
    // open to the original (memory or processor of this server): start the job again.
    Error error;
    std::optional<std::uint32_t> record, extent_index;
};

enum class VerifyMode : std::uint8_t { full, sampled, off };
// "full", "sampled", "off". Errors: config_invalid.
Result<VerifyMode> parse_verify(std::string_view text);

// What the caller asks for. The plan, payload and sealer stay alive in the job until it is dropped.
struct TransformRequest {
    SegmentPlan plan;
    std::unique_ptr<PayloadSource> payload;
    std::shared_ptr<Sealer> sealer;  // Shared with the caller, who finishes the segment with it.
    CodecChoice codec;
    VerifyMode verify = VerifyMode::full;
    std::uint64_t cookie = 0;  // The caller's; comes back.
};

struct TransformOutcome {
    TransformRequest request;  // As given: payload records can be taken back.
    std::expected<SealedBody, TransformFailure> body;
};

// Finished jobs on their way to the one thread that waits for them. push() from any worker;
// take() from the owner. Lifetime: until every job that names it has been taken; the doorbell
// outlives the executor.
class TransformQueue {
public:
    explicit TransformQueue(Doorbell& doorbell) : doorbell_(doorbell) {}
    ~TransformQueue();
    TransformQueue(const TransformQueue&) = delete;
    TransformQueue& operator=(const TransformQueue&) = delete;
    // In the order of completion; empty when none has finished.
    std::optional<TransformOutcome> take();

private:
    friend struct TransformJob;
    void push(std::shared_ptr<TransformJob> job) noexcept;

    Doorbell& doorbell_;
    std::atomic<TransformJob*> arrived_{nullptr};  // Lock-free stack, newest first.
    TransformJob* ready_ = nullptr;                // The owner's: oldest first.
};

// Starts jobs. Thread-safety: try_start() from one thread; the figures from any.
// Lifetime: until every job has been taken from its queue.
class Transformer {
public:
    // `executor`, `slabs` and `metrics` outlive this.
    Transformer(Executor& executor, SlabPool& slabs, MetricRegistry& metrics);
    ~Transformer();
    Transformer(const Transformer&) = delete;
    Transformer& operator=(const Transformer&) = delete;

    // False when the worst case does not fit into the free slabs: `request` is untouched; ask again
    // after a job finished or a body was dropped. The pool must hold the worst case of one plan
    // (plan_raw_bytes_max), else this could be false for ever: see budget.h. The inline executor
    // finishes the job inside the call.
    bool try_start(TransformRequest& request, TransformQueue& queue);

    // Raw bytes of started and unfinished jobs: one term of CodecPressure::compute_bytes.
    [[nodiscard]] std::uint64_t bytes_in_progress() const noexcept;

private:
    friend struct TransformJob;
    struct Workers;
    Executor& executor_;
    SlabPool& slabs_;
    std::unique_ptr<Workers> workers_;
    std::atomic<std::uint64_t> bytes_in_progress_{0};
};

}  // namespace cw::pipeline
