// VolumeStage: a master target's terminal stage. Durable records come in, in append order, and go
// to the TargetDisk of their disk; machines are welcomed with what those hold; operators' words are
// carried out.
//
//   stored ring → RecordWindow → TargetDisk::take → sync → Release
//   POINT → PointMerge → Committed to the machine's reactor
//   digest requests of a resync ↔ TargetDigests
//
// It offers what upload::Engine offers: post(OpenCommand) and stored(); it speaks through the same
// EngineSink, by its VolumeOutbox. A record is released after its target's redo log is on stable
// storage, or when it is of no use: no target, an older history, or a damaged disk (the agent sends
// that range again).
//
// One step takes at most `budget` records and does at most one piece of each merge and switch. No
// record is taken while a point is being merged.
// Thread-safety: step() on its Runner; post(), ask() and status() from any thread.
#pragma once

#include "appliance/master_target/point_merge.h"
#include "appliance/master_target/record_window.h"
#include "appliance/master_target/target_digests.h"
#include "appliance/master_target/target_set.h"
#include "appliance/master_target/volume_outbox.h"
#include "base/clock.h"
#include "pipeline/stage.h"

#include <deque>
#include <future>
#include <mutex>
#include <vector>

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
    static constexpr std::size_t readback_slabs_min = RecordWindow::readback_slabs_min;

    // `secret`: for fingerprints, fresh per process. Opens the targets.
    VolumeStage(Context context, std::vector<TargetOptions> targets, FingerprintSecret secret);

    pipeline::Progress step(std::size_t budget) override;
    [[nodiscard]] Nanos next_deadline() const override;
    [[nodiscard]] int event_fd() const override { return context_.reader.event_fd(); }
    [[nodiscard]] std::string_view name() const noexcept override { return "volume"; }

    // In: the spool's thread pushes, in append order, and rings the doorbell.
    pipeline::Ring<pipeline::StoredRecord>& stored() noexcept { return window_.stored(); }
    void post(upload::OpenCommand command);
    void ask_digests(const ingest::DigestRequest& request);
    // The future is ready when the order was carried out or refused. Errors: not_found (no such
    // target), point_not_found, target_switching, target_unsafe, and the device's.
    std::future<Result<void>> ask(TargetOrder order);
    // Not older than a moment.
    [[nodiscard]] std::vector<TargetStatus> status() const;

private:
    struct Order {
        TargetOrder order;
        std::promise<Result<void>> done;
    };

    bool take_commands();
    void welcome(const upload::OpenCommand& command);
    Result<void> carry_out(const TargetOrder& order);
    bool open_targets();
    bool take_records(std::size_t budget);
    bool take_front();
    void take(const pipeline::Record& record);
    void note_lost(const pipeline::StoredRecord& stored, const Error& error);
    void sync();
    bool apply();
    void note_status(bool worked);
    void refresh_status();

    Context context_;
    const FingerprintSecret secret_;
    TargetSet targets_;
    TargetDigests digests_;
    RecordWindow window_;
    VolumeOutbox outbox_;
    PointMerge points_;

    std::vector<pipeline::Lsn> taken_;  // Wait for the next sync.
    std::uint64_t taken_bytes_ = 0;
    Nanos refreshed_{};
    bool status_stale_ = false;

    mutable std::mutex mutex_;  // Commands in, status out.
    std::deque<upload::OpenCommand> opens_;
    std::deque<Order> orders_;
    std::vector<TargetStatus> status_;
};

}  // namespace cw::appliance
