// MachineAssembly: the records of one machine, in append order, become steps of its ledger.
//
// Per disk it collects an open write segment and, beneath a fence, an open base segment. A barrier
// (recovery point) seals all disks of the machine; a fence, its end, a resize and a new generation
// seal their disk: no segment spans a barrier. What the vault holds already is released at once.
//
// Before the machine is opened, and after it was stopped, records are only held (without payload).
// Thread-safety: none; the assembly stage's thread.
#pragma once

#include "egress/upload/options.h"
#include "egress/upload/segment_work.h"

#include <deque>
#include <map>
#include <memory>
#include <optional>

namespace cw::upload {

// What a machine's assembly tells its stage.
class AssemblyHost {
public:
    virtual ~AssemblyHost() = default;
    virtual void step_made(const MachineId& machine, Opening opening, Step step) = 0;
    virtual void release(pipeline::Lsn lsn) = 0;
    // The head of the line is a control record without its payload: read it back, then call
    // MachineAssembly::payload_read().
    virtual void read_control(const MachineId& machine, pipeline::StoredRecord record) = 0;
    // A disk cannot go on without its agent's help.
    virtual void disk_damaged(const MachineId& machine, Opening opening, DamagedRecords damage) = 0;
    // So many more records (or fewer) lie behind damage: they wait for the agent's repair, which
    // must not wait for room among them.
    virtual void set_aside(std::ptrdiff_t records) = 0;
    [[nodiscard]] virtual Nanos now() = 0;
    [[nodiscard]] virtual const EngineOptions& options() const = 0;
};

class MachineAssembly {
public:
    MachineAssembly(const MachineId& machine, AssemblyHost& host);

    // A record in append order. It is processed at once when the machine is open and nothing is
    // held.
    void take(pipeline::StoredRecord stored);
    // Processes what was held, until the line is empty or a payload must be read first.
    void pump();
    // The answer to AssemblyHost::read_control().
    void payload_read(pipeline::StoredRecord record, Result<void> outcome);

    void open(const MachineReady& ready);
    void set_keys(std::shared_ptr<const SegmentKeys> keys) { keys_ = std::move(keys); }
    // Steps up to `through` are in the vault: their records are released.
    void committed(StepId through);
    // Nothing of this opening will be published any more: records are held again (or released).
    // Returns the sealed segments, of which jobs, lanes and uploads may still know.
    std::vector<std::unique_ptr<SegmentWork>> stop(bool discard);
    // The disk's agent was told, with the vault's end of the history, to repair it: the first fence
    // of `session` covers all above that, also what was assembled since, and ends any damage.
    void allow_repair(const DiskId& disk, SessionId session);
    // Releases what lies behind damage of disks whose agents are repairing it. False: nothing.
    bool let_go_behind_damage();
    // The segment cannot be built: it and what follows of its disk, up to a fence that repairs, is
    // not published. Returns their segments, as stop() does.
    std::vector<std::unique_ptr<SegmentWork>> lose(SegmentWork& work);
    // Whether the agent has repaired already what is lost with the segment: its catch-up for damage
    // further on began behind it, and holds everything that was not committed.
    [[nodiscard]] bool repaired(const SegmentWork& work) const;
    // What of the disk is published although `work` is lost.
    [[nodiscard]] Seq sound_before(const SegmentWork& work) const;

    void seal_all();
    // Seals what is due, unless sealed work is still waiting: then a bigger segment costs nothing.
    void seal_due(Nanos now);
    [[nodiscard]] Nanos next_seal() const;

    // The oldest sealed segment that waits for a job and may start; null if none.
    [[nodiscard]] SegmentWork* next_queued(Nanos now) const;
    // When next_queued() may turn from null without anything else happening.
    [[nodiscard]] Nanos next_start() const;
    // A job takes what next_queued() said, or gives it back to be built again.
    void take_queued(SegmentWork& work);
    void requeue(SegmentWork& work);
    [[nodiscard]] SegmentWork* find(StepId step) const;
    // Drops payload that no job uses; returns the slabs given back. Newest first.
    std::size_t shed_payload(std::size_t slabs_wanted);

    [[nodiscard]] bool active() const noexcept { return active_; }
    [[nodiscard]] bool idle() const noexcept {
        return steps_.empty() && held_.empty() && !any_open();
    }
    [[nodiscard]] Opening opening() const noexcept { return opening_; }
    [[nodiscard]] const std::shared_ptr<const SegmentKeys>& keys() const noexcept { return keys_; }
    [[nodiscard]] const MachineId& machine() const noexcept { return machine_; }
    [[nodiscard]] std::size_t backlog_records() const noexcept { return backlog_records_; }
    [[nodiscard]] std::uint64_t backlog_bytes() const noexcept { return backlog_bytes_; }
    struct DiskState {
        DiskId disk;
        Seq assembled{};
        bool damaged = false;
    };
    [[nodiscard]] std::vector<DiskState> disks() const;

private:
    // A record that waits for its machine, or a control record that made a step.
    struct Waiting {
        pipeline::StreamKey key;
        pipeline::RecordType type{};
        HeldRecord held;
    };
    struct Disk {
        Generation generation{};
        Seq committed{}, assembled{};
        Seq fence{};
        ByteVector base_done;   // Super-chunks in the vault under `fence`.
        ByteVector base_taken;  // The others that came.
        bool damaged = false;
        SessionId repair_session{};  // 0: none.
        std::unique_ptr<SegmentWork> writes, base;
        std::vector<Waiting> skipped;  // Behind damage: of no use, kept until it is repaired.
    };
    struct Entry {
        StepId id{};
        StepKind kind{};
        pipeline::StreamKey key;
        Seq seq{};
        bool abandoned = false;                // Behind damage: its records go to `skipped`.
        bool repairs = false;                  // A fence: all before it lies beneath it again.
        std::vector<Waiting> records;          // The control record; all of an abandoned segment.
        std::unique_ptr<SegmentWork> segment;  // Of a segment step.
    };

    void process(pipeline::StoredRecord stored);
    void take_write(pipeline::StoredRecord stored, Disk& disk);
    void take_base(pipeline::StoredRecord stored, Disk& disk);
    void take_control(const pipeline::StoredRecord& stored, Disk& disk);
    void take_point(const pipeline::StoredRecord& stored);
    void take_point_result(const pipeline::StoredRecord& stored);
    // The disk's state for a record's generation; null if the record is of an older history.
    Disk* disk_of(const pipeline::StoredRecord& stored);
    void collect(std::unique_ptr<SegmentWork>& open, pipeline::StoredRecord stored, Seq after);
    void seal(std::unique_ptr<SegmentWork>& open);
    void seal_disk(Disk& disk);
    // A step of `kind` with the record's stream, sequence and times filled in.
    [[nodiscard]] Step step_of(StepKind kind, const pipeline::StoredRecord& stored);
    void send_step(Step step, std::optional<Waiting> record,
                   std::unique_ptr<SegmentWork> segment = nullptr);
    void finish(Entry& entry);
    [[nodiscard]] static bool base_complete(const Disk& disk, std::uint32_t super_chunks);
    void report_gap(Disk& disk, const pipeline::StoredRecord& stored);
    void report_damage(Disk& disk, const pipeline::StoredRecord& stored, Seq first,
                       std::string_view evidence);
    void skip(Disk& disk, const Waiting& waiting);
    void release_skipped(const Entry& end);
    template <typename Line>
    static void hold_segment(const SegmentWork& work, Line& line);
    // Takes the segment out of the ledger.
    std::unique_ptr<SegmentWork> retire(Entry& entry);
    void release(const HeldRecord& held);
    [[nodiscard]] bool any_open() const noexcept;
    [[nodiscard]] static Waiting waiting_of(const pipeline::StoredRecord& stored);

    MachineId machine_;
    AssemblyHost& host_;
    bool active_ = false;
    std::optional<Waiting> reading_;  // A control record whose payload is being read back.
    Opening opening_{};
    std::shared_ptr<const SegmentKeys> keys_;
    std::uint64_t next_step_ = 1;
    std::map<DiskId, Disk> disks_;
    std::deque<Waiting> held_;
    std::deque<Entry> steps_;         // Ids without gaps.
    std::deque<SegmentWork*> queue_;  // Sealed and not taken by a job, oldest first.
    std::size_t backlog_records_ = 0;
    std::uint64_t backlog_bytes_ = 0;
};

}  // namespace cw::upload
