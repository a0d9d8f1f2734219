// Machine: a protected machine: its disks, somebody who writes to them, and the real agent, which
// is killed, cut off, restarted and pointed at other servers. Remembers the disks at every point it
// made: what a reader of the vault must find there.
// Thread-safety: none.
#pragma once

#include "agent/stream/replicator.h"
#include "agent/stream/spiller.h"
#include "tests/fakes/sim_disk.h"
#include "tests/sim/host_clock.h"
#include "tests/sim/shared_image.h"

#include <map>
#include <memory>
#include <vector>

namespace cw::sim {

class Dial;
class World;

class Machine {
public:
    Machine(World& world, std::size_t index);
    // A copy of `original`: its disks, its state directory, its identity. If the original runs, its
    // agent is not copied with its memory, only as after a power cut.
    Machine(World& world, std::size_t index, const Machine& original);
    ~Machine();

    // One round of the agent's loop. True if it did something.
    bool step();
    [[nodiscard]] Nanos wakes_at();

    void write_some(std::size_t count);
    // Large writes, `bytes` in all.
    void flood(std::uint64_t bytes);
    bool make_point();
    // kill -9, or the power: then the images may lose what was written last.
    void kill(bool power_cut);
    void stop_cleanly();
    // All of it is in the vault: the start after a clean stop goes on without a fence, and one
    // after a kill has only what was written since to send.
    [[nodiscard]] bool at_rest();
    // Its state directory is gone, and sometimes is gone again as soon as it has made a new one:
    // then one history begins over another that may not be named yet.
    void lose_state();
    // Its state directory is saved somewhere, or is what was saved once.
    void save_state();
    void restore_state();
    // The agent stops, one way or the other, and its next start is without the second disk, or with
    // it again. What the guest writes to it meanwhile nobody sees.
    void change_disks();
    [[nodiscard]] bool left_out(std::size_t slot) const noexcept { return slot >= disks_now(); }
    // Whether the disk has come back with this start of the agent.
    [[nodiscard]] bool came_back(std::size_t slot) const noexcept {
        return came_back_ && slot + 1 == images_.size();
    }
    // What a server makes of a disk that came back.
    void on_answered(const pipeline::MachineOpened& opened);
    // The agent's disk spool is full, in schedules where it has one; it is given a larger one.
    [[nodiscard]] bool spool_full() const;
    void give_room();
    void aim_at(std::size_t server) noexcept { server_ = server; }
    [[nodiscard]] std::size_t server() const noexcept { return server_; }
    // While the agent does not run: when it starts again.
    void start_in(std::int64_t ns);
    // What its agent has compared since it was last asked.
    void add_counts();
    // No faults of its devices any more.
    void end_faults();
    // Starts the agent if it does not run and its time has come.
    void tend();

    // A copied machine and its original are told apart by nothing that they say.
    [[nodiscard]] bool copied() const noexcept { return points_.use_count() > 1; }
    [[nodiscard]] const MachineId& id() const noexcept { return id_; }
    [[nodiscard]] bool up() const noexcept { return replicator_ != nullptr; }
    [[nodiscard]] bool live();
    [[nodiscard]] bool consistent() { return up() && replicator_->consistent(); }
    [[nodiscard]] agent::Replicator* replicator() noexcept { return replicator_.get(); }
    // A last point, made when it can be made. True once it is there.
    bool final_point();
    // Everything logged is spooled and everything dirty committed.
    [[nodiscard]] bool settled();
    // The agent has said that its newest point will never be there, or it has begun with an empty
    // state since it made it.
    [[nodiscard]] bool newest_is_lost();
    // Points that are committed, and of which the agent has not heard it.
    [[nodiscard]] std::size_t untold();
    [[nodiscard]] std::string state();

    // As a member of a group (group.h), while the agent runs. Errors: those of make_point().
    [[nodiscard]] agent::AdmissionGate& gate() noexcept { return *gate_; }
    Result<PointId> make_group_point(const GroupId& barrier, const std::string& tag);
    void decide_point(const PointId& point, const GroupId& barrier, bool committed) {
        replicator_->decide_point(point, barrier, committed);
    }
    // Who writes now waits.
    [[nodiscard]] bool held() const;
    // What the guests of a group keep in the last sector of the first disk.
    [[nodiscard]] std::uint64_t counter() const { return counter_in(images_[0]->bytes()); }
    void write_counter(std::uint64_t value);
    static std::uint64_t counter_in(const SharedBytes& disk);

    // The disks as they were when each point was cut, by disk; without one that was left out.
    using Images = std::map<DiskId, SharedBytes>;
    [[nodiscard]] const std::map<PointId, Images>& points() const noexcept { return *points_; }
    [[nodiscard]] std::optional<PointId> newest_point() const { return newest_; }
    [[nodiscard]] Images images() const;

    // What hour it is there, against all others.
    void set_clock(std::int64_t ahead_us) noexcept { clock_ahead_us_ = ahead_us; }

private:
    void start();
    // Which disks this start of the agent is given.
    void draw_disks();
    [[nodiscard]] std::size_t disks_now() const noexcept {
        return images_.size() - (away_ ? 1 : 0);
    }
    void take_down();
    // Mostly nullopt: how much whoever writes next is to replace, by what.
    struct WholeBlock {
        std::uint64_t offset;
        ByteVector content;
    };
    std::optional<WholeBlock> draw_whole_block(std::size_t slot);
    void write_whole(std::size_t slot, const WholeBlock& block);
    void empty_state();
    [[nodiscard]] std::unique_ptr<fakes::SimStorage> make_storage(std::uint64_t seed) const;
    void obey_advice();
    bool open_spool();  // False: its device fails.
    void step_spool();
    void close_spool();
    [[nodiscard]] DiskId disk_id(std::size_t slot) const;
    // That anybody may write to.
    [[nodiscard]] std::uint64_t sectors_of(std::size_t slot) const;

    World& world_;
    std::size_t index_;
    std::size_t origin_;  // The index of the machine that this one was once.
    MachineId id_;
    std::size_t server_ = 0;
    std::unique_ptr<fakes::SimStorage> storage_;
    std::vector<std::unique_ptr<SharedImage>> images_;
    std::shared_ptr<std::map<PointId, Images>> points_;  // Shared by the copies of one machine.
    std::optional<PointId> newest_;

    std::int64_t clock_ahead_us_ = 0;
    HostClock clock_;
    std::unique_ptr<Random> random_, same_leaps_;  // The second for a planted bug.
    std::unique_ptr<Disk> disk_;
    std::unique_ptr<agent::StateFile> state_;
    pipeline::SlabPool *pool_, *base_pool_;
    std::unique_ptr<agent::Outbox> outbox_;
    std::unique_ptr<agent::AdmissionGate> gate_;  // None without a group.
    std::unique_ptr<Dial> dial_;
    std::vector<std::unique_ptr<agent::DiskCapture>> captures_;
    std::unique_ptr<agent::Replicator> replicator_;
    std::unique_ptr<agent::Spiller> spool_;  // None in most schedules.
    std::uint64_t spool_grown_ = 0;          // So often.
    bool degraded_ = false;                  // This spool was full, and a disk stopped logging.
    bool fresh_ = true;                      // No state yet.
    bool provable_ = false;                  // The next start may continue the history.
    bool clean_ = false;
    std::uint64_t writes_ = 0;             // To the images, by whomever.
    agent::BaseSender::Compared counted_;  // Of this start of the agent.
    struct Saved {                         // A state directory, and how its agent had ended.
        std::unique_ptr<fakes::SimStorage> storage;
        bool provable = false, clean = false;
        std::uint64_t writes = 0;
    };
    std::optional<Saved> saved_;
    std::optional<Nanos> lose_again_at_;
    bool busy_ = false, pushed_ = false, final_made_ = false;
    // Of the last disk: the agent runs without it; a point was committed with it before, and one
    // made without it since; it came with this start; nobody has answered to that.
    bool away_ = false, in_point_ = false, missed_point_ = false, came_back_ = false,
         unanswered_ = false;
    bool to_change_ = false;  // With the next start.
    Nanos start_at_{}, stepped_at_{};
};

}  // namespace cw::sim
