// SegmentBuilder: jobs that turn a sealed segment's records into the bytes of its object.
//
// queued → (payload read back from the spool) → planned → transformed → finished. A job holds slabs
// of two pools at most once each: readback slabs are taken whole before the first read, segment
// slabs by the Transformer, whole for the worst case; nothing waits for one while it would block
// the other, so jobs cannot deadlock.
//
// Thread-safety: none; the assembly stage's thread. The executor's workers see only the transform.
#pragma once

#include "base/random.h"
#include "egress/upload/options.h"
#include "egress/upload/segment_work.h"
#include "egress/upload/vault_sealer.h"

#include <list>
#include <memory>

namespace cw::upload {

// What became of a job. Called from SegmentBuilder::step() and start(); the job is over.
class BuildHost {
public:
    virtual ~BuildHost() = default;
    virtual void built(SegmentWork& work, std::uint64_t coalesced_bytes) = 0;
    // May succeed when tried again (later, if `error` is given).
    virtual void build_failed(SegmentWork& work, const Error& error) = 0;
    // The cache has lost bytes of it: `first`..`last` and `evidence` say which.
    virtual void build_lost(SegmentWork& work, DamagedRecords damage) = 0;
};

class SegmentBuilder {
public:
    struct Context {
        Clock& clock;
        Random& random;
        Executor& compute;
        RecordReader& reader;
        pipeline::SlabPool& readback_slabs;
        pipeline::SlabPool& segment_slabs;
        MetricRegistry& metrics;
        const vault::VaultIdentity& vault;
        pipeline::Doorbell& doorbell;
    };
    SegmentBuilder(const Context& context, BuildHost& host, pipeline::VerifyMode verify);
    ~SegmentBuilder();

    // False when the readback pool cannot hold its payload now: `work` is untouched.
    bool start(SegmentWork& work, std::shared_ptr<const SegmentKeys> keys,
               pipeline::CodecChoice codec);
    // Moves every job as far as it goes; true if something moved. The caller polls the reader.
    bool step();

    [[nodiscard]] std::size_t running() const noexcept { return jobs_.size(); }
    [[nodiscard]] std::uint64_t bytes_in_progress() const noexcept;
    // A job waits for slabs of the segment pool.
    [[nodiscard]] bool starved() const noexcept;
    [[nodiscard]] bool transforming() const noexcept;

private:
    struct Job;
    class Payload;

    void read_more(const std::shared_ptr<Job>& job);
    void finish_reading(Job& job);
    // Tables are checked and extents collected; empty plan on failure.
    Result<pipeline::SegmentPlan> plan(const SegmentWork& work,
                                       const std::vector<pipeline::Record>& payload) const;
    void prepare(Job& job);
    void damaged(Job& job, std::size_t record, const Error& error);
    void finish(Job& job, pipeline::TransformOutcome outcome);
    void end(Job& job);

    Context context_;
    BuildHost& host_;
    pipeline::VerifyMode verify_;
    pipeline::Transformer transformer_;
    pipeline::TransformQueue finished_;
    std::list<std::shared_ptr<Job>> jobs_;  // Shared with reads in flight, oldest first.
    std::uint64_t next_cookie_ = 1;
};

}  // namespace cw::upload
