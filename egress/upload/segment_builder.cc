#include "egress/upload/segment_builder.h"

#include "base/assert.h"
#include "base/checksum.h"
#include "base/crash_point.h"
#include "pipeline/crc_combine.h"
#include "pipeline/extent_table.h"

#include <algorithm>
#include <thread>

namespace cw::upload {
namespace {

// Reads of one job with the device at once.
constexpr std::size_t reads_in_flight_max = 16;

std::vector<vault::Chunk> index_of(pipeline::SealedBody& body) {
    std::vector<vault::Chunk> chunks;
    chunks.reserve(body.chunks.size());
    for (pipeline::SealedChunk& sealed : body.chunks) {
        const bool hole = sealed.stored_length == 0;
        vault::Chunk chunk;
        chunk.ordinal = sealed.ordinal;
        chunk.disk_offset = sealed.disk_offset;
        chunk.raw_length = sealed.raw_length;
        chunk.stored_offset = hole ? 0 : vault::segment_header_bytes + sealed.stored_offset;
        chunk.stored_length = sealed.stored_length;
        chunk.codec = static_cast<vault::Codec>(sealed.codec);
        chunk.last_seq = sealed.last_seq;
        chunk.tag = sealed.tag;
        chunk.fingerprints = std::move(sealed.fingerprints);
        chunks.push_back(std::move(chunk));
    }
    body.chunks.clear();
    return chunks;
}

vault::SegmentRef new_ref(const SegmentWork& work, const SegmentKeys& keys, Random& random) {
    vault::SegmentRef ref;
    ref.name.machine = work.machine;
    ref.name.disk = work.key.disk;
    ref.name.generation = work.key.generation;
    ref.name.epoch = keys.epoch;
    ref.name.first_seq = work.first();
    random.fill(ref.name.attempt);
    random.fill(ref.segment_id);
    random.fill(ref.salt);
    ref.dek_version = keys.dek->version;
    ref.base = work.base;
    ref.last_seq = work.last;
    return ref;
}

}  // namespace

// The payload while the transform reads it.
class SegmentBuilder::Payload final : public pipeline::PayloadSource {
public:
    explicit Payload(std::vector<pipeline::Record> records) : records_(std::move(records)) {}
    [[nodiscard]] Bytes data(std::uint32_t record, std::uint32_t position,
                             std::uint32_t length) const override {
        return records_[record].data_in_slab(position, length);
    }

private:
    std::vector<pipeline::Record> records_;
};

struct SegmentBuilder::Job {
    SegmentWork* work = nullptr;
    std::shared_ptr<const SegmentKeys> keys;
    pipeline::CodecChoice codec;
    std::uint64_t cookie = 0;
    // While reading. It lives in the job, which the reads share: a reader that finishes late must
    // not find the memory gone.
    std::vector<pipeline::Record> payload;
    bool read_back = false;
    std::size_t next_read = 0, reads_open = 0;
    std::optional<std::pair<std::size_t, Error>> read_failure;
    // From planning on.
    std::shared_ptr<VaultSealer> sealer;
    std::optional<pipeline::TransformRequest> request;
};

SegmentBuilder::SegmentBuilder(const Context& context, BuildHost& host, pipeline::VerifyMode verify)
    : context_(context),
      host_(host),
      verify_(verify),
      transformer_(context.compute, context.segment_slabs, context.metrics),
      finished_(context.doorbell) {}

SegmentBuilder::~SegmentBuilder() {
    // Workers use the transformer and the queue until their job has arrived here.
    std::size_t transforming = static_cast<std::size_t>(std::ranges::count_if(
        jobs_, [](const auto& job) { return job->work->phase == SegmentPhase::transforming; }));
    while (transforming > 0) {
        if (finished_.take()) {
            --transforming;
        } else {
            std::this_thread::yield();
        }
    }
}

bool SegmentBuilder::start(SegmentWork& work, std::shared_ptr<const SegmentKeys> keys,
                           pipeline::CodecChoice codec) {
    CW_ASSERT(work.phase == SegmentPhase::queued && !work.records.empty());
    const bool resident = work.resident();
    // Only this thread takes from the pool, so what is free now stays free.
    if (!resident && context_.readback_slabs.free_count() < work.slabs) {
        return false;
    }
    auto job = std::make_shared<Job>();
    job->work = &work;
    job->keys = std::move(keys);
    job->codec = codec;
    job->cookie = next_cookie_++;
    jobs_.push_back(job);
    if (resident) {
        job->payload = std::move(work.payload);
        job->read_back = work.read_back;
        work.drop_payload();
        prepare(*job);
        return true;
    }
    work.phase = SegmentPhase::reading;
    job->read_back = true;
    job->payload.resize(work.records.size());
    for (std::size_t i = 0; i < work.records.size(); ++i) {
        pipeline::Record& record = job->payload[i];
        record.header = work.records[i].header(work.key, work.record_type());
        for (std::size_t s = 0; s < record.slab_count(); ++s) {
            record.slabs[s] = context_.readback_slabs.try_take();
            CW_ASSERT(record.slabs[s]);
        }
    }
    read_more(job);
    return true;
}

void SegmentBuilder::read_more(const std::shared_ptr<Job>& job) {
    while (job->next_read < job->payload.size() && job->reads_open < reads_in_flight_max &&
           !job->read_failure) {
        const std::size_t index = job->next_read++;
        ++job->reads_open;
        context_.reader.read(job->work->records[index].lsn, job->payload[index],
                             [job, index](Result<void> outcome) {
                                 --job->reads_open;
                                 if (!outcome && !job->read_failure) {
                                     job->read_failure = {index, std::move(outcome).error()};
                                 }
                             });
    }
}

bool SegmentBuilder::step() {
    bool moved = false;
    // Every call below may end jobs: walk a copy.
    const std::vector<std::shared_ptr<Job>> jobs(jobs_.begin(), jobs_.end());
    bool slabs_short = false;
    for (const std::shared_ptr<Job>& job : jobs) {
        if (job->work->phase == SegmentPhase::reading) {
            read_more(job);
            const bool all = job->next_read == job->payload.size() || job->read_failure;
            if (all && job->reads_open == 0) {
                finish_reading(*job);
                moved = true;
            }
        } else if (job->work->phase == SegmentPhase::planned && !slabs_short) {
            // Oldest first: a small job must not keep overtaking a big one.
            prepare(*job);
            slabs_short = job->request.has_value();
            moved |= !slabs_short;
        }
    }
    while (auto outcome = finished_.take()) {
        const auto at = std::ranges::find_if(
            jobs_, [&outcome](const auto& job) { return job->cookie == outcome->request.cookie; });
        CW_ASSERT(at != jobs_.end());
        const std::shared_ptr<Job> job = *at;
        finish(*job, std::move(*outcome));
        moved = true;
    }
    return moved;
}

void SegmentBuilder::finish_reading(Job& job) {
    if (job.read_failure) {
        damaged(job, job.read_failure->first, job.read_failure->second);
        return;
    }
    prepare(job);
}

// Plans once, then offers the request until slabs are there.
void SegmentBuilder::prepare(Job& job) {
    SegmentWork& work = *job.work;
    if (work.phase != SegmentPhase::planned) {
        auto plan = this->plan(work, job.payload);
        if (!plan) {
            damaged(job, 0, plan.error());
            return;
        }
        work.ref = new_ref(work, *job.keys, context_.random);
        job.sealer = std::make_shared<VaultSealer>(
            vault::SegmentCrypto::make(context_.vault.id, work.ref, *job.keys->dek),
            job.keys->fingerprint_secret);
        pipeline::TransformRequest request;
        request.plan = std::move(*plan);
        request.payload = std::make_unique<Payload>(std::move(job.payload));
        request.sealer = job.sealer;
        request.codec = job.codec;
        request.verify = verify_;
        request.cookie = job.cookie;
        job.request = std::move(request);
        job.payload.clear();
        work.phase = SegmentPhase::planned;
    }
    // The inline executor finishes inside the call: the phase must be right before it.
    work.phase = SegmentPhase::transforming;
    if (transformer_.try_start(*job.request, finished_)) {
        job.request.reset();
    } else {
        work.phase = SegmentPhase::planned;
    }
}

Result<pipeline::SegmentPlan> SegmentBuilder::plan(
    const SegmentWork& work, const std::vector<pipeline::Record>& payload) const {
    std::vector<pipeline::PlanInput> inputs;
    inputs.reserve(work.extents);
    for (std::size_t i = 0; i < payload.size(); ++i) {
        const pipeline::Record& record = payload[i];
        const std::string where =
            "record " + std::to_string(i) + " of " + std::to_string(payload.size());
        if (crc32c(record.table.bytes()) != record.header.table_crc) {
            return fail(Errc::record_corrupt, where + ": extent table");
        }
        const auto table =
            pipeline::read_extent_table(record.table.bytes(), record.header.data_bytes, UINT64_MAX);
        if (!table) {
            return fail(Errc::record_corrupt, where + ": " + table.error().detail);
        }
        if (!work.base && table->extents.size() != record.header.seq_count) {
            return fail(Errc::record_corrupt, where + ": other extents than sequences");
        }
        for (std::size_t e = 0; e < table->extents.size(); ++e) {
            const Seq seq = work.base ? work.after : advance(record.header.seq, e);
            if (work.base || seq > work.after) {  // Below: another server committed it.
                inputs.push_back({.record = static_cast<std::uint32_t>(i),
                                  .extent_index = static_cast<std::uint32_t>(e),
                                  .seq = seq,
                                  .extent = table->extents[e]});
            }
        }
    }
    if (inputs.empty()) {
        return fail(Errc::record_corrupt, "no extents");
    }
    return pipeline::build_plan(inputs);
}

// What was in memory may have been broken there: read it back before judging the cache.
void SegmentBuilder::damaged(Job& job, std::size_t record, const Error& error) {
    SegmentWork& work = *job.work;
    const bool hopeless = job.read_back && error.code == Errc::record_corrupt;
    const HeldRecord& held = work.records[std::min(record, work.records.size() - 1)];
    DamagedRecords damage{
        .key = work.key,
        .first = work.first(),
        .last = work.last,
        .evidence = "sequence " + std::to_string(raw(held.seq)) + ": " + to_string(error)};
    end(job);
    work.drop_payload();
    if (hopeless) {
        host_.build_lost(work, std::move(damage));
    } else {
        host_.build_failed(work, error);
    }
}

void SegmentBuilder::finish(Job& job, pipeline::TransformOutcome outcome) {
    SegmentWork& work = *job.work;
    const std::uint64_t coalesced = outcome.request.plan.coalesced_bytes;
    outcome.request.payload.reset();  // Slabs go home before anything else is done.
    if (!outcome.body) {
        const pipeline::TransformFailure failure = std::move(outcome.body).error();
        damaged(job, failure.record.value_or(0), failure.error);
        return;
    }
    work.body = std::move(*outcome.body);
    const std::vector<vault::Chunk> chunks = index_of(work.body);
    vault::SegmentTail tail =
        vault::finish_segment(work.ref, job.sealer->crypto(), chunks,
                              vault::segment_header_bytes + work.body.stored_bytes);
    work.header = job.sealer->crypto().header();
    work.tail = std::move(tail.bytes);
    work.ref = tail.ref;
    // The body's was made by the pass that sealed and verified it: nothing reads it a second time.
    work.object_crc64 =
        crc64nvme(work.tail, pipeline::crc64nvme_combine(crc64nvme(work.header), work.body.crc64,
                                                         work.body.stored_bytes));
    work.times.transformed = context_.clock.boot();
    CW_ASSERT(work.object_bytes() == work.ref.object_bytes);
    CW_CRASH_POINT("upload.segment_built");
    end(job);
    host_.built(work, coalesced);
}

void SegmentBuilder::end(Job& job) {
    std::erase_if(jobs_, [&job](const auto& other) { return other.get() == &job; });
}

std::uint64_t SegmentBuilder::bytes_in_progress() const noexcept {
    return transformer_.bytes_in_progress();
}

bool SegmentBuilder::starved() const noexcept {
    return std::ranges::any_of(
        jobs_, [](const auto& job) { return job->work->phase == SegmentPhase::planned; });
}

bool SegmentBuilder::transforming() const noexcept {
    return std::ranges::any_of(
        jobs_, [](const auto& job) { return job->work->phase == SegmentPhase::transforming; });
}

}  // namespace cw::upload
