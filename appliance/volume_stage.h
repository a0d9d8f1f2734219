// VolumeStage: a master target's terminal stage. Durable records come in, in append order, and go
// to the TargetDisk of their disk; machines are welcomed with what those hold; operators' words are
// carried out.
//
//   stored ring → (read back what has no payload) → TargetDisk::take → sync → Release
//   POINT → merged into every overlay of the machine → Committed to its reactor
//   digest requests of a resync ↔ TargetDigests
//
// It offers what upload::Engine offers: post(OpenCommand) and stored(); it speaks through the same
// EngineSink. A record is released after its target's redo log is on stable storage, or when it is
// of no use: no target, an older history, or a damaged disk (the agent sends that range again).
//
// One step takes at most `budget` records and does at most one piece of each merge and switch. No
// record is taken while a point is being merged.
// Thread-safety: step() on its Runner; post(), ask() and status() from any thread.
#pragma once

#include "appliance/target_digests.h"
#include "appliance/target_disk.h"
#include "base/clock.h"
#include "pipeline/ring.h"
#include "pipeline/slab.h"
#include "pipeline/stage.h"

#include <deque>
#include <future>
#include <map>
#include <mutex>

namespace cw::appliance {

// What an operator wants of one target.
struct TargetOrder {
    enum class What : std::uint8_t { switch_, cancel };
    What what{};
    MachineId machine;
    std::string disk;  // UUID or name, as configured.
    PointId point;     // switch_: the point that the target must hold.
};

class VolumeStage final : public pipeline::Stage {
public:
    // All outlive the stage.
    struct Context {
        Clock& clock;
        volume::VolumeWriter::Context volume;
        upload::RecordReader& reader;
        pipeline::SlabPool& readback_slabs;  // At least readback_slabs_min.
        upload::EngineSink& sink;
        Conditions& conditions;
        TargetDigests::Send send_digests;  // On the stage's thread.
        pipeline::Doorbell& doorbell;      // Of the Runner that steps this stage.
    };
    static constexpr std::size_t records_ahead = 4;
    static constexpr std::size_t readback_slabs_min =
        records_ahead * pipeline::slabs_per_record_max;

    // `secret`: for fingerprints, fresh per process. Opens the targets.
    VolumeStage(Context context, std::vector<TargetOptions> targets, FingerprintSecret secret);

    pipeline::Progress step(std::size_t budget) override;
    [[nodiscard]] Nanos next_deadline() const override;
    [[nodiscard]] int event_fd() const override { return context_.reader.event_fd(); }
    [[nodiscard]] std::string_view name() const noexcept override { return "volume"; }

    // In: the spool's thread pushes, in append order, and rings the doorbell.
    pipeline::Ring<pipeline::StoredRecord>& stored() noexcept { return stored_; }
    void post(upload::OpenCommand command);
    void ask_digests(const ingest::DigestRequest& request);
    // The future is ready when the order was carried out or refused. Errors: not_found (no such
    // target), point_not_found, target_switching, target_unsafe, and the device's.
    std::future<Result<void>> ask(TargetOrder order);
    // Not older than a moment.
    [[nodiscard]] std::vector<TargetStatus> status() const;

private:
    struct Slot {
        pipeline::StoredRecord stored;
        bool reading = false;
        std::optional<Result<void>> read;  // Of a record that came without payload.
    };
    struct Order {
        TargetOrder order;
        std::promise<Result<void>> done;
    };
    struct Outgoing {
        std::uint32_t reactor = 0;
        pipeline::Committed committed;
    };

    // A point whose targets merge.
    struct PointUnderWay {
        MachineId machine;
        pipeline::Point point;
        std::vector<TargetDisk*> targets;
    };

    bool take_commands();
    bool take_records(std::size_t budget);
    void welcome(const upload::OpenCommand& command);
    Result<void> carry_out(const TargetOrder& order);
    bool open_targets();
    bool fill_window();
    bool start_read(Slot& slot);
    bool take_front();
    void take(pipeline::Record& record);
    void take_point(pipeline::Record& record);
    // nullopt: its merges are under way.
    std::optional<pipeline::PointStatus> begin_point(const pipeline::Record& record,
                                                     const pipeline::Point& point);
    [[nodiscard]] bool merging() const noexcept;
    bool merge();
    void finish_point();
    void tell(const MachineId& machine, const pipeline::Point& point, pipeline::PointStatus status);
    void sync();
    bool apply();
    bool flush();
    void end_session(const TargetDisk& target, const std::string& why);
    void note_status(bool worked);
    void refresh_status();
    TargetDisk* find(const MachineId& machine, const DiskId& disk);

    Context context_;
    std::vector<std::unique_ptr<TargetDisk>> targets_;
    const FingerprintSecret secret_;
    pipeline::Ring<pipeline::StoredRecord> stored_{256};
    TargetDigests digests_;
    std::optional<PointUnderWay> point_;
    std::deque<std::unique_ptr<Slot>> window_;     // Popped, not taken; in order.
    std::map<MachineId, std::uint32_t> reactors_;  // Of each machine's newest session.

    std::vector<pipeline::Lsn> taken_;  // Wait for the next sync.
    std::uint64_t taken_bytes_ = 0;
    pipeline::Release release_;
    std::deque<pipeline::MachineOpened> opened_;
    std::deque<Outgoing> committed_;
    std::deque<upload::DamagedRecords> ended_;
    Nanos open_due_{}, refreshed_{};
    bool status_stale_ = false;

    mutable std::mutex mutex_;  // Commands in, status out.
    std::deque<upload::OpenCommand> opens_;
    std::deque<Order> orders_;
    std::vector<TargetStatus> status_;
};

}  // namespace cw::appliance
