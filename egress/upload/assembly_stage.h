// AssemblyStage: drives every machine's assembly, the jobs and the lanes, on one thread.
//
//   stored ring → MachineAssembly → SegmentBuilder → Lanes → UploadStage → SegmentStored
//
// Memory: payload stays in ingest slabs only while there are enough of them free; the rest is read
// back when its job starts. Records are taken from the ring up to options.backlog_records, which
// all machines share. Those of a stopped machine (fenced, closed, refused) do not count: it must
// not stop the others. Nor do those behind damage: the fence that ends it comes after them. There
// are as many of them as the cache holds, whose index has them all too.
#pragma once

#include "base/conditions.h"
#include "egress/upload/lanes.h"
#include "egress/upload/machine_assembly.h"
#include "egress/upload/segment_builder.h"
#include "egress/upload/status_board.h"
#include "egress/upload/upload_stage.h"
#include "egress/upload/upload_trouble.h"

#include <mutex>

namespace cw::upload {

// Live options on their way from any thread to the assembly stage.
class LiveOptions {
public:
    void set_lanes(const LaneOptions& lanes);
    void set_bandwidth(const BandwidthOptions& bandwidth);
    void set_codec(const pipeline::CodecPolicyOptions& codec);
    struct Changes {
        std::optional<LaneOptions> lanes;
        std::optional<BandwidthOptions> bandwidth;
        std::optional<pipeline::CodecPolicyOptions> codec;
    };
    // What changed since the last call; cheap when nothing did.
    std::optional<Changes> take();

private:
    std::atomic<bool> changed_{false};
    std::mutex mutex_;
    Changes changes_;
};

class AssemblyStage final : public pipeline::Stage, private AssemblyHost, private BuildHost {
public:
    struct Context {
        Clock& clock;
        Random& random;
        const EngineOptions& options;
        RecordReader& reader;
        EngineSink& sink;
        Conditions& conditions;
        MetricRegistry& metrics;
        pipeline::SlabPool& ingest_slabs;
        pipeline::Ring<pipeline::StoredRecord>& stored;
        Channel<PublishEvent>& replies;
        Channel<AssemblyEvent>& events;
        std::vector<Channel<UploadOrder>*> orders;
        std::vector<Channel<UploadAnswer>*> answers;
        LiveOptions& live;
        StatusBoard& board;
    };
    AssemblyStage(Context context, const SegmentBuilder::Context& builder);

    pipeline::Progress step(std::size_t budget) override;
    [[nodiscard]] Nanos next_deadline() const override;
    [[nodiscard]] int event_fd() const override { return context_.reader.event_fd(); }
    [[nodiscard]] std::string_view name() const noexcept override { return "assembly"; }

private:
    struct Machine {
        Machine(const MachineId& id, AssemblyHost& host, MetricRegistry& metrics);
        MachineAssembly assembly;
        Gauge &lanes_active, &lanes_waiting;
        bool stopped = false;  // Its records are not in `backlog_`.
        std::uint32_t jobs = 0;
        std::uint64_t built_bytes = 0, uploaded_bytes = 0, coalesced_bytes = 0;
    };
    struct ControlRead {
        MachineId machine;
        pipeline::StoredRecord record;
        Result<void> outcome;
    };

    // AssemblyHost.
    void step_made(const MachineId& machine, Opening opening, Step step) override;
    void release(pipeline::Lsn lsn) override;
    void read_control(const MachineId& machine, pipeline::StoredRecord record) override;
    void disk_damaged(const MachineId& machine, Opening opening, DamagedRecords damage) override;
    void set_aside(std::ptrdiff_t records) override;
    [[nodiscard]] Nanos now() override { return context_.clock.boot(); }
    [[nodiscard]] const EngineOptions& options() const override { return context_.options; }
    // BuildHost.
    void built(SegmentWork& work, std::uint64_t coalesced_bytes) override;
    void build_failed(SegmentWork& work, const Error& error) override;
    void build_lost(SegmentWork& work, DamagedRecords damage) override;

    Machine& machine_of(const MachineId& id);
    bool take_records(std::size_t budget);
    bool take_replies();
    void handle(Machine& machine, PublishEvent event);
    void open(Machine& machine, const MachineReady& ready);
    void stop(Machine& machine, bool discard);
    void count(Machine& machine);
    bool take_answers();
    void answered(const UploadAnswer& answer);
    void put_failed(SegmentWork& work, const UploadAnswer& answer);
    bool finish_control_reads();
    void apply_live_options();
    void shed_payload();
    void seal();
    bool make_room_for_repair();
    void measure_waits();
    bool start_jobs();
    void count_segment(const pipeline::CodecChoice& choice);
    SegmentWork* next_job(bool resident_only);
    bool dispatch();
    bool flush_releases();
    void dispose(std::vector<std::unique_ptr<SegmentWork>> retired);
    void end_orphan(SegmentWork& work);
    [[nodiscard]] bool quiet() const;
    void refresh_status(Nanos now);

    Context context_;
    std::map<MachineId, std::unique_ptr<Machine>> machines_;
    std::vector<std::unique_ptr<SegmentWork>> orphans_;  // Still known to a job or upload.
    Lanes lanes_;
    UploadTrouble trouble_;
    pipeline::CodecPolicy codec_;
    // For codec_: what segments have waited for since the last one was begun, up to the last step.
    std::int64_t compute_wait_ns_ = 0, uplink_wait_ns_ = 0;
    std::int64_t* waiting_ = nullptr;  // The one of the two that is counting.
    Nanos waiting_since_{};
    std::vector<std::size_t> outstanding_;  // Orders per upload stage.
    std::vector<pipeline::Lsn> releases_;
    // Shared with the reads under way, which may end after this stage.
    std::shared_ptr<std::vector<std::shared_ptr<ControlRead>>> control_done_;
    std::size_t backlog_ = 0;  // Records of machines that are not stopped, but for set_aside().
    Nanos status_at_{}, status_due_{};
    SegmentBuilder builder_;  // Last: its jobs borrow segments.
};

}  // namespace cw::upload
