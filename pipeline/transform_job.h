// TransformJob: one segment's transform while it runs. Internal to the transform.
#pragma once

#include "pipeline/chunk_worker.h"
#include "pipeline/transform.h"

#include <memory>

namespace cw::pipeline {

// Scratch and codecs, one per worker of the executor, and the metrics of the transform.
struct Transformer::Workers {
    std::vector<std::unique_ptr<ChunkWorker>> by_index;
    Counter& cpu_seconds;
    Counter& coalesced_bytes;
    Counter& copied_bytes;
};

// Tasks take groups until none is left; whoever finishes the last group completes the job. A task
// that comes too late finds nothing to do, and touches nothing but the counters here.
struct TransformJob : std::enable_shared_from_this<TransformJob> {
    TransformJob(Transformer& transformer, TransformQueue& target, TransformRequest&& asked,
                 std::unique_ptr<BodySpace> room);
    // Posts the tasks, or completes at once when there is nothing to transform.
    void start();

    Transformer& owner;
    TransformQueue& queue;
    TransformRequest request;
    std::expected<SealedBody, TransformFailure> body;
    TransformJob* next = nullptr;  // In the queue.
    std::shared_ptr<TransformJob>
        self;  // While in the queue: the queue owns it, beside late tasks.

private:
    void work();
    void run_group(std::size_t index);
    void complete();
    std::optional<TransformFailure> check_sources() const;
    SealedBody assemble();

    std::unique_ptr<BodySpace> space_;
    std::vector<ChunkGroup> groups_;
    std::vector<GroupOutput> outputs_;          // One per group; written by its worker.
    std::vector<std::uint32_t> fragment_crcs_;  // One per fragment; written by its chunk's worker.
    std::atomic<std::size_t> next_group_{0};
    std::atomic<std::size_t> groups_left_{0};
    std::atomic<bool> failed_{false};
    std::optional<Error> failure_;  // Of the first worker that failed.
};

}  // namespace cw::pipeline
