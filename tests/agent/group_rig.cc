#include "tests/agent/group_rig.h"

namespace cw::agent::test {

GroupRig::GroupRig(std::size_t count, bool both, std::uint64_t seed)
    : random_(make_seeded_random(seed)) {
    for (std::size_t i = 0; i < count; ++i) {
        machines_.push_back(std::make_unique<CounterMachine>(clock));
        members_.push_back(std::make_unique<GroupMember>(*machines_[i], clock, hold_ns));
    }
    for (std::size_t self = 0; self < (both ? 2U : 1U); ++self) {
        GroupCoordinator::Options options{.members = {}, .machines = {}, .hold_ns = hold_ns};
        for (std::size_t index = 0; index + 1 < count; ++index) {
            options.members.push_back("machine " + std::to_string(machine_of(self, index)));
        }
        for (std::size_t machine = 0; machine < count; ++machine) {
            options.machines.push_back(make_id<MachineId>(*random_));
        }
        auto lines = std::make_unique<CoordinatorLines>();
        lines->rig = this;
        lines->self = self;
        lines->mind =
            std::make_unique<GroupCoordinator>(options, *members_[self], *lines, clock, *random_);
        lines_.emplace(self, std::move(lines));
    }
}

bool GroupRig::CoordinatorLines::send(std::size_t index, const BarrierMessage& message) {
    const std::size_t to = rig->machine_of(self, index);
    if (rig->dead_.contains(to)) {
        return false;
    }
    rig->put({self, to, false, message});
    return true;
}

void GroupRig::put(Packet packet) {
    if (!lose.contains(sent++)) {
        wire_.push_back(std::move(packet));
    }
}

bool GroupRig::deliver(std::size_t nth) {
    if (nth >= wire_.size()) {
        return false;
    }
    const Packet packet = wire_[nth];
    wire_.erase(wire_.begin() + static_cast<std::ptrdiff_t>(nth));
    if (dead_.contains(packet.to) || dead_.contains(packet.from)) {
        return true;
    }
    if (packet.answer) {
        const std::size_t index = packet.from < packet.to ? packet.from : packet.from - 1;
        lines_.at(packet.to)->mind->take(index, packet.message);
        return true;
    }
    // A member tells coordinators apart by number; 0 is its own.
    if (auto answer = members_[packet.to]->take(packet.from + 1, packet.message)) {
        put({packet.to, packet.from, true, std::move(*answer)});
    }
    return true;
}

void GroupRig::step() {
    for (std::size_t i = 0; i < members_.size(); ++i) {
        if (!dead_.contains(i)) {
            members_[i]->step();
        }
    }
    for (auto& [self, lines] : lines_) {
        if (!dead_.contains(self)) {
            lines->mind->step();
        }
    }
}

void GroupRig::settle() {
    for (int round = 0; round < 1000; ++round) {
        while (deliver()) {
        }
        step();
        clock.advance(20 * ns_per_ms);
    }
}

void GroupRig::kill(std::size_t machine) {
    dead_.insert(machine);
    for (auto& [self, lines] : lines_) {
        if (self != machine && !dead_.contains(self)) {
            lines->mind->lost(machine < self ? machine : machine - 1);
        }
    }
    for (std::size_t i = 0; i < members_.size(); ++i) {
        if (i != machine) {
            members_[i]->lost(machine + 1);
        }
    }
}

}  // namespace cw::agent::test
