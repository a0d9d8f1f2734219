#include "pipeline/transform_job.h"

#include "base/checksum.h"
#include "pipeline/crc_combine.h"
#include "pipeline/thread_cpu.h"

#include <algorithm>

namespace cw::pipeline {
namespace {

std::vector<ChunkGroup> group_chunks(const std::vector<PlannedChunk>& chunks) {
    std::vector<ChunkGroup> groups;
    std::uint64_t bytes = 0;
    for (std::size_t i = 0; i < chunks.size(); ++i) {
        if (groups.empty() || bytes + chunks[i].length > group_bytes_max ||
            groups.back().chunk_count == group_chunks_max) {
            groups.push_back({.first_chunk = i, .chunk_count = 0});
            bytes = 0;
        }
        groups.back().chunk_count += 1;
        bytes += chunks[i].length;
    }
    return groups;
}

// The CRC of a source extent, grown in the order of its data: parts that survived come from the
// workers, parts that were overwritten are read here, only to make the whole comparable.
class SourceCrc {
public:
    SourceCrc(const SourceExtent& source, const PayloadSource& payload)
        : source_(&source), payload_(&payload), position_(source.data_position) {}

    void add_fragment(const Fragment& fragment, std::uint32_t crc) {
        read_up_to(fragment.data_position);
        crc_ = crc32c_combine(crc_, crc, fragment.length);
        position_ += fragment.length;
    }
    std::uint32_t finish() {
        read_up_to(source_->data_position + source_->length);
        return crc_;
    }

private:
    void read_up_to(std::uint32_t end) {
        CW_ASSERT(end >= position_ && end <= source_->data_position + source_->length);
        while (position_ < end) {
            const auto room = static_cast<std::uint32_t>(slab_bytes - position_ % slab_bytes);
            const std::uint32_t step = std::min(end - position_, room);
            crc_ = crc32c(payload_->data(source_->record, position_, step), crc_);
            position_ += step;
        }
    }

    const SourceExtent* source_;
    const PayloadSource* payload_;
    std::uint32_t position_;
    std::uint32_t crc_ = 0;
};

// Holes that touch become one: a zeroed disk is one index entry, not one per chunk.
std::vector<PlannedHole> merge_holes(std::vector<PlannedHole> holes) {
    std::ranges::sort(holes, {}, &PlannedHole::disk_offset);
    std::vector<PlannedHole> merged;
    for (const PlannedHole& hole : holes) {
        if (!merged.empty() && merged.back().codec == hole.codec &&
            merged.back().disk_offset + merged.back().length == hole.disk_offset) {
            merged.back().length += hole.length;
            merged.back().last_seq = std::max(merged.back().last_seq, hole.last_seq);
        } else {
            merged.push_back(hole);
        }
    }
    return merged;
}

}  // namespace

TransformJob::TransformJob(Transformer& transformer, TransformQueue& target,
                           TransformRequest&& asked, std::unique_ptr<BodySpace> room)
    : owner(transformer),
      queue(target),
      request(std::move(asked)),
      space_(std::move(room)),
      groups_(group_chunks(request.plan.chunks)),
      outputs_(groups_.size()),
      fragment_crcs_(request.plan.fragments.size()),
      groups_left_(groups_.size()) {}

void TransformJob::start() {
    if (groups_.empty()) {
        complete();
        return;
    }
    const std::size_t tasks = std::min(groups_.size(), owner.executor_.worker_count());
    for (std::size_t i = 0; i < tasks; ++i) {
        // Shared by the tasks and, once it is finished, the queue: a late task may outlive the
        // rest.
        owner.executor_.post([job = shared_from_this()] { job->work(); });
    }
}

void TransformJob::work() {
    std::size_t index = next_group_.fetch_add(1, std::memory_order_relaxed);
    if (index >= groups_.size()) {
        return;
    }
    Counter& cpu_seconds = owner.workers_->cpu_seconds;
    std::int64_t cpu_before = thread_cpu_ns();
    for (; index < groups_.size(); index = next_group_.fetch_add(1, std::memory_order_relaxed)) {
        if (!failed_.load(std::memory_order_relaxed)) {
            run_group(index);
        }
        const std::int64_t cpu_now = thread_cpu_ns();
        cpu_seconds.add(static_cast<double>(cpu_now - cpu_before) / 1e9);
        cpu_before = cpu_now;
        // The last one sees everything the others wrote.
        if (groups_left_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
            complete();
            return;
        }
    }
}

void TransformJob::run_group(std::size_t index) {
    ChunkWorker& worker = *owner.workers_->by_index[owner.executor_.worker_index()];
    const GroupContext context{
        .request = request, .space = *space_, .fragment_crcs = fragment_crcs_};
    Result<GroupOutput> output = worker.run(context, groups_[index]);
    if (output) {
        outputs_[index] = std::move(*output);
    } else if (!failed_.exchange(true, std::memory_order_relaxed)) {
        failure_ = std::move(output).error();
    }
}

// After a failed verification the sources are not judged: not every chunk has been read. Starting
// the job again tells whether they are to blame.
void TransformJob::complete() {
    std::optional<TransformFailure> failure;
    if (failed_.load(std::memory_order_relaxed)) {
        failure = TransformFailure{.error = std::move(*failure_), .record = {}, .extent_index = {}};
    } else {
        failure = check_sources();
    }
    if (failure) {
        body = std::unexpected(std::move(*failure));
    } else {
        body = assemble();
        owner.workers_->coalesced_bytes.add(static_cast<double>(request.plan.coalesced_bytes));
    }
    owner.workers_->copied_bytes.add(static_cast<double>(request.plan.gathered_bytes));
    space_.reset();
    outputs_.clear();
    owner.bytes_in_progress_.fetch_sub(request.plan.raw_bytes, std::memory_order_relaxed);
    queue.push(shared_from_this());
}

std::optional<TransformFailure> TransformJob::check_sources() const {
    const SegmentPlan& plan = request.plan;
    std::vector<SourceCrc> crcs;
    crcs.reserve(plan.sources.size());
    for (const SourceExtent& source : plan.sources) {
        crcs.emplace_back(source, *request.payload);
    }
    // Fragments come in disk order, which within one source is the order of its data.
    for (std::size_t i = 0; i < plan.fragments.size(); ++i) {
        crcs[plan.fragments[i].source].add_fragment(plan.fragments[i], fragment_crcs_[i]);
    }
    for (std::size_t i = 0; i < crcs.size(); ++i) {
        const SourceExtent& source = plan.sources[i];
        if (crcs[i].finish() != source.crc) {
            return TransformFailure{
                .error = {Errc::record_corrupt, "record " + std::to_string(source.record) +
                                                    ", extent " +
                                                    std::to_string(source.extent_index) +
                                                    " changed since its CRC-32C was checked"},
                .record = source.record,
                .extent_index = source.extent_index};
        }
    }
    return std::nullopt;
}

SealedBody TransformJob::assemble() {
    SealedBody out;
    std::ranges::sort(outputs_, {}, &GroupOutput::body_offset);
    std::vector<PlannedHole> holes = request.plan.holes;
    std::uint64_t accounted_bytes = 0;
    for (GroupOutput& group : outputs_) {
        CW_ASSERT(group.body_bytes == 0 || group.body_offset == out.stored_bytes);
        out.crc64 = crc64nvme_combine(out.crc64, group.crc64, group.body_bytes);
        out.stored_bytes += group.body_bytes;
        for (SealedChunk& chunk : group.sealed) {
            accounted_bytes += chunk.raw_length;
            CW_ASSERT(chunk.ordinal == out.chunks.size());
            out.chunks.push_back(std::move(chunk));
        }
        for (const PlannedHole& hole : group.holes) {
            accounted_bytes += hole.length;
            holes.push_back(hole);
        }
    }
    CW_ASSERT(accounted_bytes == request.plan.raw_bytes);
    CW_ASSERT(out.stored_bytes == space_->used_bytes());
    for (const PlannedHole& hole : merge_holes(std::move(holes))) {
        SealedChunk& chunk = out.chunks.emplace_back();
        chunk.ordinal = static_cast<std::uint32_t>(out.chunks.size() - 1);
        chunk.disk_offset = hole.disk_offset;
        chunk.raw_length = hole.length;
        chunk.codec = hole.codec;
        chunk.last_seq = hole.last_seq;
    }
    out.raw_bytes = request.plan.raw_bytes;
    out.slabs = space_->finish();
    return out;
}

}  // namespace cw::pipeline
