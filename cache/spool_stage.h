// SpoolStage: the spool between rings. Records of the machines' current sessions go in, in order
// per history; durable ones come out towards the upload side, and reactors are told what is
// durable.
//
// Opening a machine: the control side sends OpenStreams and gets StreamsOpened (what the spool
// holds); it decides with the vault's answer, sends SettleStreams, and only then lets the agent
// send. From OpenStreams on, records of older sessions are dropped, also those that the spool has
// taken and not begun to write: the answer waits for the device only, never for room. Whatever is
// dropped is accounted for by a Spooled note all the same: duplicates with the durable mark, gaps
// with the expected sequence.
//
// Thread-safety: step() and the rings' ends named "in" belong to the spool's thread; drain(),
// delivered_recovered(), failed(), usage(), forget_machine() from any thread.
#pragma once

#include "cache/spool.h"
#include "cache/spooled_notes.h"
#include "cache/stored_backlog.h"
#include "pipeline/messages.h"
#include "pipeline/point.h"
#include "pipeline/ring.h"
#include "pipeline/stage.h"

#include <atomic>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <variant>
#include <vector>

namespace cw::cache {

// A machine has a new session; the older one, if any, is over.
struct OpenStreams {
    MachineId machine;
    SessionId session{};
    std::uint32_t reactor = 0;  // Where its acknowledgements go.
    std::uint64_t token = 0;    // Comes back.
};
// Histories the session may append to. `committed`: what the vault holds of each; 0 for a new one.
// `open_fence`: the fence that is open there, 0 if none.
struct SettleStreams {
    struct Entry {
        StreamKey key;
        Seq committed{};
        Seq open_fence{};
        // The agent is to repair what is damaged, or lost everywhere: what the cache holds beyond
        // this it may send again, some of it under the sequences that it had.
        std::optional<Seq> sent_again_after = std::nullopt;
    };
    std::vector<Entry> streams;
};
// The session ended; ignored unless it is the current one.
struct CloseStreams {
    MachineId machine;
    SessionId session{};
};
// A generation is over.
struct ForgetStreams {
    std::vector<StreamKey> keys;
};
using SpoolCommand = std::variant<OpenStreams, SettleStreams, CloseStreams, ForgetStreams>;

// The answer to OpenStreams: every history of the machine that the spool knows.
struct StreamsOpened {
    MachineId machine;
    SessionId session{};
    std::uint32_t reactor = 0;
    std::uint64_t token = 0;
    std::vector<StreamState> streams;
};

// Rings and bells that appliance connects; all outlive the stage. Whoever pushes into an "in" ring
// rings the doorbell of this stage's Runner.
struct SpoolStagePorts {
    std::vector<pipeline::Ring<Record>*> records;             // In, by reactor.
    std::vector<pipeline::Ring<pipeline::Spooled>*> spooled;  // Out, by reactor.
    pipeline::Ring<SpoolCommand>* commands = nullptr;         // In.
    pipeline::Ring<StreamsOpened>* opened = nullptr;          // Out.
    pipeline::Ring<pipeline::Release>* releases = nullptr;    // In.
    pipeline::Ring<StoredRecord>* stored = nullptr;           // Out.
    std::function<void(std::uint32_t)> wake_reactor;
    std::function<void()> wake_control, wake_stored;
    // Credit. Each record's payload, once, when it was taken or dropped: its reservation is used
    // up.
    std::function<void(std::uint64_t)> payload_taken;
    // Bytes that may be promised to peers in all; told whenever it changed.
    std::function<void(std::uint64_t)> set_room;
};

struct SpoolStageOptions {
    // Memory for payload that waits for a slow upload side: whole slabs.
    std::uint64_t resident_bytes_max = 64 * mib;
    std::size_t points_remembered = 64;  // Per machine, to recognise repeated ones.
};

class SpoolStage final : public pipeline::Stage {
public:
    // `disk` is the spool's own; `spool` is freshly opened: its recovered records are sent first.
    SpoolStage(Spool& spool, Disk& disk, Clock& clock, SpoolStagePorts ports,
               SpoolStageOptions options = {});

    pipeline::Progress step(std::size_t budget) override;
    [[nodiscard]] Nanos next_deadline() const override;
    [[nodiscard]] int event_fd() const override { return disk_.event_fd(); }
    [[nodiscard]] std::string_view name() const noexcept override { return "spool"; }

    // Takes what is in the rings, makes it durable, tells the reactors, closes the spool; then
    // step() says drained.
    void drain() noexcept { draining_.store(true, std::memory_order_relaxed); }
    // Everything recovered has been pushed into `stored`.
    [[nodiscard]] bool delivered_recovered() const noexcept { return delivered_.load(); }
    // The device failed; nothing is acknowledged any more. Restart the process.
    [[nodiscard]] bool failed() const noexcept { return failed_.load(); }
    // As of the last step. Any thread.
    [[nodiscard]] SpoolUsage usage() const;
    // An operator's word: no agent will repair what was lost of the machine here. With the next
    // step its histories are forgotten, and with them its losses, also by what the next start
    // reads. What its session, if any, still sends is dropped: end that one next. Its records stay
    // until they are released. Any thread; ring the Runner's doorbell.
    void forget_machine(const MachineId& machine);

private:
    struct SeenPoint {
        PointId id;
        bool durable = false;
    };
    struct Machine {
        SessionId session{};  // 0: none.
        std::uint32_t reactor = 0;
        std::deque<SeenPoint> points;
    };

    // Flow (spool_stage.cc).
    bool take_commands();
    bool take_releases();
    bool take_records(std::size_t budget);
    bool deliver_recovered();
    bool take_durable();
    bool flush();
    void update_room();
    [[nodiscard]] bool inputs_empty() const;
    bool finish_drain();

    // Whose records are taken, and what is told of them (spool_stage_sessions.cc).
    bool forget_machines();
    void on(const OpenStreams& command);
    void on(const SettleStreams& command);
    void on(const CloseStreams& command);
    void on(const ForgetStreams& command);
    // What the machine's older session left, and is not on its way to the device.
    void take_back(const MachineId& id, Machine& machine);
    // False while records of an older session of the machine are not durable yet, or never will be.
    bool answer(const OpenStreams& question);
    bool answer_some();
    // False if the spool has no room now: the record stays.
    bool offer(std::uint32_t reactor, Record& record);
    // Why the record is not to be stored, having told its reactor; or false.
    bool drop_needless(std::uint32_t reactor, const Record& record, const Machine& machine);
    bool drop_point(std::uint32_t reactor, const Record& record, const Machine& machine,
                    const pipeline::Point& point);
    [[nodiscard]] bool cuts_fit(MachineId machine, const pipeline::Point& point) const;
    pipeline::Spooled& account(std::uint32_t reactor, const Record& record);
    void tell_durable(const StoredRecord& stored);
    [[nodiscard]] bool waits_for_others() const;
    void remember_point(Machine& machine, const PointId& id, bool durable);
    void remember_recovered(const Record& record);

    Spool& spool_;
    Disk& disk_;
    Clock& clock_;
    SpoolStagePorts ports_;
    SpoolStageOptions options_;
    std::map<MachineId, Machine> machines_;
    std::vector<std::optional<Record>> held_;  // By reactor: popped, no room yet.
    SpooledNotes notes_;
    StoredBacklog backlog_;
    std::vector<OpenStreams> questions_;  // Of machines, not answered yet.
    std::deque<StreamsOpened> answers_;
    // A full ring has no bell of its own. It may stay full for as long as the store is away.
    static constexpr std::int64_t retry_min_ns = 2 * ns_per_ms, retry_max_ns = 64 * ns_per_ms;
    std::int64_t retry_ns_ = retry_min_ns;
    Nanos retry_at_{};
    std::uint64_t room_told_ = UINT64_MAX;
    bool recovered_read_ = false, closed_ = false;
    mutable std::mutex shared_mutex_;  // Of the next two.
    SpoolUsage usage_;
    std::vector<MachineId> to_forget_;
    std::atomic<bool> draining_{false}, delivered_{false}, failed_{false};
};

}  // namespace cw::cache
