#include "pipeline/transform.h"

#include "pipeline/stage.h"
#include "pipeline/transform_job.h"

namespace cw::pipeline {

Result<VerifyMode> parse_verify(std::string_view text) {
    if (text == "full") {
        return VerifyMode::full;
    }
    if (text == "sampled") {
        return VerifyMode::sampled;
    }
    if (text == "off") {
        return VerifyMode::off;
    }
    return fail(Errc::config_invalid,
                "verify '" + std::string(text) + "' is none of full, sampled, off");
}

std::vector<Bytes> SealedBody::pieces() const {
    std::vector<Bytes> out;
    std::uint64_t left = stored_bytes;
    for (const Slab& slab : slabs) {
        const auto length = static_cast<std::size_t>(std::min<std::uint64_t>(left, slab_bytes));
        out.push_back(slab.bytes().first(length));
        left -= length;
    }
    CW_ASSERT(left == 0);
    return out;
}

TransformQueue::~TransformQueue() {
    while (take()) {
    }
}

void TransformQueue::push(std::shared_ptr<TransformJob> job) noexcept {
    // Once the job is in, its owner may take it and drop this queue: nothing here is touched later.
    Doorbell& doorbell = doorbell_;
    TransformJob* const raw = job.get();
    raw->self = std::move(job);
    TransformJob* newest = arrived_.load(std::memory_order_relaxed);
    do {
        raw->next = newest;
    } while (!arrived_.compare_exchange_weak(newest, raw, std::memory_order_release,
                                             std::memory_order_relaxed));
    doorbell.ring();
}

std::optional<TransformOutcome> TransformQueue::take() {
    if (ready_ == nullptr) {
        TransformJob* newest = arrived_.exchange(nullptr, std::memory_order_acquire);
        while (newest != nullptr) {  // Turned round: oldest first.
            TransformJob* const older = newest->next;
            newest->next = ready_;
            ready_ = newest;
            newest = older;
        }
    }
    if (ready_ == nullptr) {
        return std::nullopt;
    }
    const std::shared_ptr<TransformJob> job = std::move(ready_->self);
    ready_ = job->next;
    return TransformOutcome{.request = std::move(job->request), .body = std::move(job->body)};
}

Transformer::Transformer(Executor& executor, SlabPool& slabs, MetricRegistry& metrics)
    : executor_(executor),
      slabs_(slabs),
      workers_(std::make_unique<Workers>(Workers{
          .by_index = {},
          .cpu_seconds =
              metrics.counter("causeway_stage_cpu_seconds_total", {{"stage", "transform"}}),
          .coalesced_bytes = metrics.counter("causeway_coalesced_bytes_total"),
          .copied_bytes =
              metrics.counter("causeway_payload_copied_bytes_total", {{"stage", "transform"}})})) {
    for (std::size_t i = 0; i < executor.worker_count(); ++i) {
        workers_->by_index.push_back(std::make_unique<ChunkWorker>());
    }
}

Transformer::~Transformer() {
    CW_ASSERT(bytes_in_progress() == 0);
}

bool Transformer::try_start(TransformRequest& request, TransformQueue& queue) {
    CW_ASSERT(request.payload && request.sealer);
    CW_ASSERT(request.plan.raw_bytes <= plan_raw_bytes_max);
    auto space = std::make_unique<BodySpace>(slabs_, request.plan.raw_bytes);
    if (!space->has_room()) {
        return false;
    }
    bytes_in_progress_.fetch_add(request.plan.raw_bytes, std::memory_order_relaxed);
    std::make_shared<TransformJob>(*this, queue, std::move(request), std::move(space))->start();
    return true;
}

std::uint64_t Transformer::bytes_in_progress() const noexcept {
    return bytes_in_progress_.load(std::memory_order_relaxed);
}

}  // namespace cw::pipeline
