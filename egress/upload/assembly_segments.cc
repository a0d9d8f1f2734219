// The assembly stage's segments: which are built and sent next, and what became of them.
#include "base/assert.h"
#include "base/crash_point.h"
#include "base/log.h"
#include "egress/upload/assembly_stage.h"
#include "egress/upload/pause.h"
#include "egress/vault/names.h"

#include <algorithm>

namespace cw::upload {

void AssemblyStage::built(SegmentWork& work, std::uint64_t coalesced_bytes) {
    if (work.orphaned) {
        end_orphan(work);
        return;
    }
    Machine& machine = machine_of(work.machine);
    CW_ASSERT(machine.jobs > 0);
    --machine.jobs;
    machine.coalesced_bytes += coalesced_bytes;
    work.failures = 0;
    work.not_before = Nanos{};
    work.phase = SegmentPhase::ready;
    lanes_.add(work);
}

void AssemblyStage::build_failed(SegmentWork& work, const Error& error) {
    log_warning("upload.segment.not_built", {{"machine", work.machine},
                                             {"disk", work.key.disk},
                                             {"first", work.first()},
                                             {"error", error}});
    if (work.orphaned) {
        end_orphan(work);
        return;
    }
    Machine& machine = machine_of(work.machine);
    CW_ASSERT(machine.jobs > 0);
    --machine.jobs;
    if (work.failures > 0) {  // The first time may have been this server's memory.
        trouble_.failed(work, error);
        work.not_before = now() + pause_ns(context_.options, work.failures, context_.random, error);
    }
    ++work.failures;
    machine.assembly.requeue(work);
}

void AssemblyStage::build_lost(SegmentWork& work, DamagedRecords damage) {
    if (work.orphaned) {
        end_orphan(work);
        return;
    }
    Machine& machine = machine_of(work.machine);
    CW_ASSERT(machine.jobs > 0);
    --machine.jobs;
    damage.sound = machine.assembly.sound_before(work);
    context_.events.send({.machine = work.machine,
                          .opening = work.opening,
                          .what = SegmentLost{.step = work.step,
                                              .damage = std::move(damage),
                                              .repaired = machine.assembly.repaired(work)}});
    dispose(machine.assembly.lose(work));
}

// Segments that left their ledger: those in someone's hands stay until they come back.
void AssemblyStage::dispose(std::vector<std::unique_ptr<SegmentWork>> retired) {
    for (std::unique_ptr<SegmentWork>& work : retired) {
        trouble_.over(*work);
        if (work->phase == SegmentPhase::ready) {
            lanes_.remove(*work);
        }
        if (work->busy()) {
            if (work->phase != SegmentPhase::sending) {
                --machine_of(work->machine).jobs;
            }
            orphans_.push_back(std::move(work));
        }
    }
}

void AssemblyStage::end_orphan(SegmentWork& work) {
    std::erase_if(orphans_, [&work](const auto& other) { return other.get() == &work; });
}

// At the begin and the end of a step: whatever happens to a job in between rings the doorbell.
void AssemblyStage::measure_waits() {
    const Nanos now = context_.clock.boot();
    if (waiting_ != nullptr) {
        *waiting_ += now - waiting_since_;
    }
    waiting_since_ = now;
    waiting_ = !builder_.starved()       ? nullptr
               : builder_.transforming() ? &compute_wait_ns_
                                         : &uplink_wait_ns_;
}

bool AssemblyStage::start_jobs() {
    if (context_.board.drain.load() == DrainMode::keep) {
        return false;
    }
    bool worked = false;
    bool resident_only = false;
    while (builder_.running() < context_.options.jobs) {
        SegmentWork* const work = next_job(resident_only);
        if (work == nullptr) {
            break;
        }
        Machine& machine = machine_of(work->machine);
        codec_.observe({.compute_bytes = builder_.bytes_in_progress() + work->data_bytes,
                        .uplink_bytes = lanes_.waiting_bytes(),
                        .compute_wait_ns = std::exchange(compute_wait_ns_, 0),
                        .uplink_wait_ns = std::exchange(uplink_wait_ns_, 0)});
        machine.assembly.take_queued(*work);
        ++machine.jobs;
        const std::uint64_t bytes = work->data_bytes;
        const pipeline::CodecChoice codec = codec_.choice();
        if (builder_.start(*work, machine.assembly.keys(), codec)) {
            count_segment(codec);
            machine.built_bytes += bytes;
            worked = true;
        } else {
            --machine.jobs;
            machine.assembly.requeue(*work);
            resident_only = true;  // Read-back memory is in use: what is in memory may go on.
        }
    }
    return worked;
}

void AssemblyStage::count_segment(const pipeline::CodecChoice& choice) {
    const char* const codec = choice.codec == pipeline::Codec::zstd  ? "zstd"
                              : choice.codec == pipeline::Codec::lz4 ? "lz4"
                                                                     : "none";
    context_.metrics
        .counter("causeway_segments_total",
                 {{"codec", codec}, {"level", std::to_string(choice.level)}})
        .add(1);
}

SegmentWork* AssemblyStage::next_job(bool resident_only) {
    const Nanos now = context_.clock.boot();
    SegmentWork* best = nullptr;
    Claim best_claim;
    for (auto& [id, machine] : machines_) {
        SegmentWork* const work = machine->assembly.next_queued(now);
        if (work == nullptr || (resident_only && !work->resident()) ||
            machine->jobs >= lanes_.options().upload_threads_per_vm) {
            continue;
        }
        const Claim claim{.deadline = work->deadline,
                          .in_use = machine->jobs + lanes_.waiting(id),
                          .served = machine->built_bytes};
        if (best == nullptr || goes_first(claim, best_claim, now)) {
            best = work;
            best_claim = claim;
        }
    }
    return best;
}

bool AssemblyStage::dispatch() {
    if (context_.board.drain.load() == DrainMode::keep) {
        return false;
    }
    bool worked = false;
    while (SegmentWork* const work = lanes_.take(context_.clock.boot(), context_.clock.wall())) {
        const auto least = std::ranges::min_element(outstanding_);
        ++*least;
        work->phase = SegmentPhase::sending;
        UploadOrder order{.work = work,
                          .name = vault::segment_blob(work->ref.name),
                          .body = {Bytes(work->header)},
                          .crc64 = work->object_crc64,
                          .nonce = to_hex(work->ref.name.attempt),
                          .concurrency = lanes_.options().total_connections};
        for (const Bytes piece : work->body.pieces()) {
            order.body.push_back(piece);
        }
        order.body.emplace_back(work->tail);
        context_.orders[static_cast<std::size_t>(least - outstanding_.begin())]->send(
            std::move(order));
        worked = true;
    }
    return worked;
}

bool AssemblyStage::take_answers() {
    bool worked = false;
    for (Channel<UploadAnswer>* const answers : context_.answers) {
        UploadAnswer answer;
        while (answers->receive(answer)) {
            answered(answer);
            worked = true;
        }
    }
    return worked;
}

void AssemblyStage::answered(const UploadAnswer& answer) {
    SegmentWork& work = *answer.work;
    CW_ASSERT(work.phase == SegmentPhase::sending && outstanding_[answer.uploader] > 0);
    --outstanding_[answer.uploader];
    const std::optional<Error>& error = answer.result.error;
    lanes_.finished(work.machine, error && action_of(error->code) == Action::throttle);
    if (work.orphaned) {
        end_orphan(work);
        return;
    }
    if (answer.result.outcome != blob::PutOutcome::stored) {
        put_failed(work, answer);
        return;
    }
    CW_CRASH_POINT("upload.segment_stored");
    Machine& machine = machine_of(work.machine);
    const std::uint64_t bytes = work.object_bytes();
    machine.uploaded_bytes += bytes;
    context_.metrics
        .counter("causeway_uploaded_bytes_total", {{"machine", to_string(work.machine)}})
        .add(static_cast<double>(bytes));
    trouble_.over(work);
    work.failures = 0;
    work.phase = SegmentPhase::stored;
    work.put_started = answer.started;
    work.times.uploaded = answer.finished;
    work.drop_object();
    context_.events.send({.machine = work.machine,
                          .opening = work.opening,
                          .what = SegmentStored{.step = work.step,
                                                .ref = work.ref,
                                                .put_started = work.put_started,
                                                .times = work.times}});
}

// Unknown: the object may exist, now or later, so the same bytes go out under another attempt's
// name; the old one is at most an orphan. A name that is taken is treated alike, also when it is
// by other bytes that the store made of ours. Bytes that are no longer what was verified are built
// again from the cache.
void AssemblyStage::put_failed(SegmentWork& work, const UploadAnswer& answer) {
    const Error error = answer.result.error.value_or(Error{Errc::blob_unavailable, "no answer"});
    if (answer.result.outcome == blob::PutOutcome::unknown || error.code == Errc::blob_conflict ||
        error.code == Errc::object_corrupt) {
        context_.random.fill(work.ref.name.attempt);
    }
    if (error.code != Errc::blob_conflict) {
        trouble_.failed(work, error);
    }
    work.not_before = now() + pause_ns(context_.options, work.failures, context_.random, error);
    ++work.failures;
    if (error.code == Errc::blob_checksum) {  // Sending it again would not help.
        machine_of(work.machine).assembly.requeue(work);
        return;
    }
    work.phase = SegmentPhase::ready;
    lanes_.add(work);
}

}  // namespace cw::upload
