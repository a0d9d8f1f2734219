// Ledger: the publisher's half of a machine's history, and the rules by which it becomes manifests.
// No I/O: it drafts the next manifest from the finished prefix of steps and folds it in once it is
// known to be stored.
//
// Invariants: steps are published in order; a point is published only when it is exactly the state
// at its place in the order, no fence is open, and nothing of its disks was lost before it; each
// draft passes vault::check_follows().
// Thread-safety: none; the publisher's thread.
#pragma once

#include "egress/upload/events.h"
#include "egress/upload/options.h"
#include "egress/upload/status.h"

#include <deque>
#include <map>
#include <set>

namespace cw::upload {

// The next manifest, and what may be told once it is committed.
struct Draft {
    // Nothing to write when empty: only statuses to tell (dropped or same-as points).
    std::optional<vault::Manifest> manifest;
    StepId through{};  // Steps up to here are done with it.
    pipeline::Committed told;
    std::vector<pipeline::PointKind> kinds;  // Parallel to told.points.
    std::vector<StepId> segments;            // Steps whose segments it names.
    std::vector<vault::IndexRun> runs;       // A checkpoint's new ones: not yet in `manifest`.
    bool correction = false;                 // Replaces swept segments; tells nothing by itself.
    std::set<DiskId> lost_disks;             // Behind a lost segment after these steps.
    std::size_t prunes = 0, deks = 0;        // How many waiting ones it carries.
    bool declares = false;                   // It carries what the agent said of its disks.
    // Of the newest point in it, same-as included.
    std::optional<WallMicros> point_time;
    Nanos point_received{}, point_assembled{};
    std::optional<vault::PointEntry> point;
    SegmentTimes slowest;  // Of the segments it names.
};

class Ledger {
public:
    // `checkpoints`: those before the chain's newest, as far as they are known, ascending.
    Ledger(vault::ChainState state, const std::vector<std::uint64_t>& checkpoints,
           const EngineOptions& options, Nanos now);

    // What the agent says of its disks: sizes and names for what is new. Disks of the chain that it
    // no longer lists stop being required in points.
    void declare(const std::vector<pipeline::DiskHello>& disks, std::string machine_name);
    void add(Step step);
    // False if no step waits for it any more.
    bool stored(SegmentStored stored);
    void lost(const SegmentLost& lost);
    void prune(PruneCommand command) {
        prunes_.push_back(std::move(command));
        news_ = true;
    }
    void add_dek(vault::WrappedDek dek) {
        deks_.push_back(std::move(dek));
        news_ = true;
    }
    void publish_now() noexcept { flush_ = news_ = true; }
    // While held, no segment and no point behind one is published; pruning goes on.
    void hold(bool on) noexcept {
        if (held_ && !on) {
            news_ = true;
            next_age_check_ = Nanos{};
        }
        held_ = on;
    }
    // What a chain's entries take in memory, about.
    static std::uint64_t memory_bytes(const vault::ChainState& state) noexcept;

    // The next manifest (numbers, nonce and time are the writer's), or nothing to do yet.
    std::optional<Draft> draft(Nanos now);
    // The draft's manifest is in the store under `hash`: it is the newest now.
    void fold(const Draft& draft, const Sha256& hash);
    // The draft may be told: its steps are forgotten.
    void settle(const Draft& draft, Nanos now);
    // Segments named by an unsettled draft that are being swept: they are replaced before it is
    // told. Returns their steps.
    std::vector<StepId> replace(const Draft& draft, const std::set<vault::AttemptId>& swept);
    // Steps whose stored segments are too old to be named; they wait for another upload. None while
    // it is held: they would be too old again before they are named.
    std::vector<StepId> aged(Nanos now);

    [[nodiscard]] Nanos next_deadline() const;
    [[nodiscard]] const vault::ChainState& state() const noexcept { return state_; }
    [[nodiscard]] bool empty() const noexcept { return steps_.empty(); }
    // The step's segment was swept, and is to be stored again.
    [[nodiscard]] bool corrects(StepId step) const { return corrections_.contains(step); }
    [[nodiscard]] bool correcting() const noexcept { return !corrections_.empty(); }
    // The machine has an agent that does not protect this disk any more.
    [[nodiscard]] bool is_left_out(const DiskId& disk) const {
        return !declared_.empty() && !declared_.contains(disk);
    }
    [[nodiscard]] const std::optional<WallMicros>& newest_point_time() const noexcept {
        return newest_point_time_;
    }
    [[nodiscard]] bool disk_lost(const DiskId& disk) const { return lost_disks_.contains(disk); }

private:
    struct Entry {
        Step step;
        std::optional<SegmentStored> stored;
        bool lost = false;
        bool named = false;  // In a manifest that is stored and not settled.
    };
    // The walk over the finished prefix while a draft is made.
    struct Walk {
        Draft draft;
        vault::Manifest next;
        bool changed = false;  // The manifest says something new.
        bool urgent = false;   // It should not wait for the commit interval.
        std::map<DiskId, pipeline::Committed::Disk> disks;
        std::optional<PointId> last_point;
        bool extends = false;    // valid_until of the last point is written again.
        bool undecided = false;  // It met a group point without a result.
    };

    std::optional<Draft> draft_steps(Nanos now);
    std::optional<Draft> draft_correction() const;
    [[nodiscard]] Draft draft_checkpoint() const;
    [[nodiscard]] vault::Manifest next_manifest() const;
    [[nodiscard]] Walk begin_walk() const;
    std::optional<Draft> end_walk(Walk walk, Nanos now);
    // False: the walk ends before this entry.
    bool visit(Walk& walk, const Entry& entry, Nanos now);
    bool visit_segment(Walk& walk, const Entry& entry);
    bool visit_control(Walk& walk, const Step& step);
    bool visit_point(Walk& walk, const Entry& entry, Nanos now);
    [[nodiscard]] std::uint64_t size_after(const Step& step, std::uint64_t before) const;
    bool hides_history(Walk& walk, const Step& step) const;
    void visit_generation(Walk& walk, const Step& step) const;
    // Why the point cannot be published at this place; empty if it can.
    [[nodiscard]] static std::string fault_in(const Walk& walk, const pipeline::Point& point);
    // Protected disks that the point leaves out because its agent no longer has them.
    [[nodiscard]] std::vector<DiskId> departed(const Walk& walk,
                                               const pipeline::Point& point) const;
    [[nodiscard]] const vault::PointEntry* last_point(const Walk& walk) const;
    [[nodiscard]] bool same_as_last(const Walk& walk, const pipeline::Point& point,
                                    const GroupId& group) const;
    void tell_same(Walk& walk, const pipeline::Point& point, Nanos now) const;
    static void tell(Walk& walk, const pipeline::Point& point, pipeline::PointState state,
                     std::uint64_t number, std::string reason = {});
    void publish_point(Walk& walk, const Step& step, const GroupId& group) const;
    void apply_prunes(Walk& walk);
    [[nodiscard]] bool prune_allowed(const PruneCommand& command) const;
    void retire_departed(Walk& walk) const;
    void drop_dead_generations(Walk& walk) const;
    [[nodiscard]] static vault::DiskEntry* find_disk(Walk& walk, const DiskId& disk);
    static pipeline::Committed::Disk& told_disk(Walk& walk, const vault::DiskEntry& disk);

    vault::ChainState state_;
    const EngineOptions& options_;
    std::map<DiskId, pipeline::DiskHello> declared_;
    bool declared_changed_ = false;
    std::string machine_name_;
    std::deque<Entry> steps_;                           // Ids without gaps.
    std::map<PointId, bool> results_;                   // Of group points that are still in steps_.
    std::set<DiskId> lost_disks_;                       // Behind a segment that is lost.
    std::map<StepId, vault::SegmentName> corrections_;  // Swept names, until replaced.
    std::deque<std::uint64_t> checkpoints_;             // The newest few, oldest first.
    std::deque<PruneCommand> prunes_;
    std::vector<vault::WrappedDek> deks_;
    bool flush_ = false;
    bool held_ = false;
    bool news_ = true;               // Something changed since draft() last found nothing to do.
    Nanos first_stored_{INT64_MAX};  // Since when a finished segment waits at the head.
    Nanos provisional_until_{INT64_MAX};
    Nanos held_up_{};   // Since when group points without a result are in the way; 0: none is.
    Nanos extended_{};  // When valid_until was written last.
    Nanos next_age_check_{};
    std::optional<PointId> last_point_;
    std::optional<WallMicros> newest_point_time_;
};

}  // namespace cw::upload
