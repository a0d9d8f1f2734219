// Machines of a group without a network: every message is a thing that can be lost, late or last.
#pragma once

#include "agent/group/group_coordinator.h"

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>

namespace cw::agent::test {

// A machine whose only disk is a counter. It writes when it is not held.
class CounterMachine final : public GroupSource {
public:
    explicit CounterMachine(Clock& clock) : clock_(clock) {}
    Result<PointId> hold(const GroupId& barrier, const std::string&, Nanos until) override {
        if (refuses) {
            return fail(Errc::resync_required, "told to refuse");
        }
        held_ = true;
        broken_ = false;
        until_ = until;
        cuts[barrier] = counter;
        PointId id;
        id.bytes = barrier.bytes;
        return id;
    }
    bool let_go() override {
        const bool held =
            std::exchange(held_, false) && !broken_ && !leaks && clock_.boot() - until_ < 0;
        return held;
    }
    void decide(const PointId&, const GroupId& barrier, bool committed) override {
        decided.emplace(barrier, committed);
    }
    // A writer comes: false while it is held. When the time is over it opens the gate itself.
    bool may_write() {
        if (held_ && clock_.boot() - until_ < 0) {
            return false;
        }
        broken_ = broken_ || held_;
        return true;
    }
    [[nodiscard]] bool held() const { return held_; }

    std::uint64_t counter = 0;
    bool refuses = false;
    bool leaks = false;  // A writer comes through although the time is not over.
    std::map<GroupId, std::uint64_t> cuts;
    std::map<GroupId, bool> decided;

private:
    Clock& clock_;
    bool held_ = false, broken_ = false;
    Nanos until_{};
};

// `count` machines; machine 0 coordinates all others, and with `both` machine 1 does too.
class GroupRig {
public:
    static constexpr std::int64_t hold_ns = 300 * ns_per_ms;

    explicit GroupRig(std::size_t count, bool both = false, std::uint64_t seed = 1);
    GroupCoordinator& coordinator(std::size_t machine = 0) { return *lines_.at(machine)->mind; }
    CounterMachine& machine(std::size_t i) { return *machines_.at(i); }
    GroupMember& member(std::size_t i) { return *members_.at(i); }
    // Delivers the oldest message under way, or the `nth`. False: there is none.
    bool deliver(std::size_t nth = 0);
    [[nodiscard]] std::size_t under_way() const { return wire_.size(); }
    // Delivers everything, then lets time pass until nobody waits for anything.
    void settle();
    // The machine is gone, and everybody notices.
    void kill(std::size_t machine);
    void step();

    ManualClock clock;
    std::uint64_t sent = 0;
    std::set<std::uint64_t> lose;  // The numbers, from 0, of messages that never arrive.

private:
    struct Packet {
        std::size_t from, to;
        bool answer;  // To the coordinator on `to`.
        BarrierMessage message;
    };
    struct CoordinatorLines final : GroupCoordinator::Lines {
        bool send(std::size_t index, const BarrierMessage& message) override;
        GroupRig* rig = nullptr;
        std::size_t self = 0;
        std::unique_ptr<GroupCoordinator> mind;
    };
    [[nodiscard]] std::size_t machine_of(std::size_t coordinator, std::size_t index) const {
        return index < coordinator ? index : index + 1;
    }
    void put(Packet packet);

    std::unique_ptr<Random> random_;
    std::vector<std::unique_ptr<CounterMachine>> machines_;
    std::vector<std::unique_ptr<GroupMember>> members_;
    std::map<std::size_t, std::unique_ptr<CoordinatorLines>> lines_;
    std::set<std::size_t> dead_;
    std::deque<Packet> wire_;
};

}  // namespace cw::agent::test
