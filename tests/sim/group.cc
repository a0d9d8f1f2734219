#include "tests/sim/group.h"

#include "tests/sim/machine.h"
#include "tests/sim/world.h"

#include <algorithm>

namespace cw::sim {
namespace {

constexpr std::size_t leader = 0, follower = 1;
constexpr unsigned moves_max = 48;  // A barrier may take long, and a schedule must not.

std::size_t other_of(std::size_t machine) {
    return 1 - machine;
}

}  // namespace

// The connection of the two, from handshake to end. Each end hears of the end in its own time.
class Group::Line {
public:
    Line(World& world, std::uint64_t number) : number_(number), world_(world) {}

    // False: this end knows that it is over.
    bool send(std::size_t to, const agent::BarrierMessage& message) {
        if (over_.at(other_of(to))) {
            return false;
        }
        Pipe& pipe = pipes_.at(to);
        world_.network.send(pipe, agent::encode_barrier(message));
        if (!world_.calm() && world_.hit(world_.settings.barrier_fault)) {
            fail(pipe);
        }
        return true;
    }
    [[nodiscard]] std::optional<agent::BarrierMessage> receive(std::size_t at) {
        std::array<std::byte, 512> piece;
        ByteVector& in = in_.at(at);
        const std::size_t got = world_.network.receive(pipes_.at(at), piece);
        in.insert(in.end(), piece.begin(), piece.begin() + static_cast<std::ptrdiff_t>(got));
        auto decoded = agent::decode_barrier(in);
        CW_ASSERT(decoded.has_value());
        if (!*decoded) {
            return std::nullopt;
        }
        in.erase(in.begin(), in.begin() + static_cast<std::ptrdiff_t>((*decoded)->used));
        return std::move((*decoded)->message);
    }
    // The end at `at` hears of it after `ns`.
    void end(std::size_t at, std::int64_t ns) {
        ends_at_.at(at) = std::min(ends_at_.at(at), world_.clock.boot() + ns);
    }
    // Nobody listens at `at` any more.
    void leave(std::size_t at) { over_.at(at) = true; }
    // True once: the end at `at` has heard of the end.
    bool ended(std::size_t at) {
        return world_.clock.boot() >= ends_at_.at(at) && !std::exchange(over_.at(at), true);
    }
    [[nodiscard]] bool over(std::size_t at) const { return over_.at(at); }
    [[nodiscard]] Nanos due(std::size_t at) const {
        return over_.at(at) ? Nanos{INT64_MAX}
                            : std::min(ends_at_.at(at), pipes_.at(at).next_due());
    }
    [[nodiscard]] std::uint64_t number() const noexcept { return number_; }

private:
    [[nodiscard]] std::int64_t within(std::int64_t ns) const {
        return static_cast<std::int64_t>(world_.random->below(static_cast<std::uint64_t>(ns)));
    }
    void fail(Pipe& pipe) {
        const std::uint64_t how = world_.random->below(3);
        if (how == 0) {
            world_.trace.count("fault.barrier_late");
            pipe.hold_back(within(3 * world_.settings.barrier_hold_ns));
            return;
        }
        world_.trace.count(how == 1 ? "fault.barrier_cut" : "fault.barrier_silent");
        if (how == 1) {
            pipe.truncate(world_.random->below(pipe.in_flight() + 1));
        }
        // TCP tries again for long before it tells anybody.
        const std::int64_t heard_within = how == 1 ? ns_per_s : 30 * ns_per_s;
        pipe.silent = true;
        end(leader, within(heard_within));
        end(follower, within(heard_within));
    }

    const std::uint64_t number_;
    World& world_;
    std::array<Pipe, members> pipes_;  // To each end.
    std::array<ByteVector, members> in_;
    std::array<Nanos, members> ends_at_{Nanos{INT64_MAX}, Nanos{INT64_MAX}};
    std::array<bool, members> over_{};
};

// One machine's part: what agent::Agent has of it. Ends with each agent.
class Group::Part final : public agent::GroupSource, public agent::GroupCoordinator::Lines {
public:
    Part(Group& group, std::size_t index) : group_(group), index_(index) {}
    ~Part() override { end(); }

    // A new agent has come up.
    void begin() {
        World& world = group_.world_;
        member_ = std::make_unique<agent::GroupMember>(*this, world.clock,
                                                       world.settings.barrier_hold_ns);
        if (index_ != leader) {
            return;
        }
        agent::GroupCoordinator::Options options;
        options.members = {"the other"};
        for (std::size_t i = 0; i < members; ++i) {
            options.machines.push_back(world.machines[i]->id());
        }
        // Some ask for longer than members allow.
        options.hold_ns = world.settings.barrier_hold_ns * (1 + world.settings.seed % 2);
        coordinator_ = std::make_unique<agent::GroupCoordinator>(options, *member_, *this,
                                                                 world.clock, *world.random);
    }
    // As with kill -9: whatever it had to say is not said.
    void end() {
        ending_ = true;
        coordinator_.reset();
        member_.reset();
        held_since_.reset();
        ending_ = false;
    }
    [[nodiscard]] bool begun() const noexcept { return member_ != nullptr; }
    [[nodiscard]] agent::GroupMember& member() noexcept { return *member_; }
    [[nodiscard]] agent::GroupCoordinator& coordinator() noexcept { return *coordinator_; }
    [[nodiscard]] bool coordinates() const noexcept { return coordinator_ != nullptr; }
    [[nodiscard]] Machine& machine() const { return *group_.world_.machines[index_]; }

    // GroupSource, as agent::Agent is one.
    Result<PointId> hold(const GroupId& barrier, const std::string& tag, Nanos until) override {
        machine().gate().close(until);
        auto made = machine().make_group_point(barrier, tag);
        if (made) {
            held_since_ = group_.world_.clock.boot();
        } else {
            machine().gate().open();
        }
        return made;
    }
    bool let_go() override {
        held_since_.reset();
        return ending_ || machine().gate().open();
    }
    void decide(const PointId& point, const GroupId& barrier, bool committed) override {
        if (!ending_) {
            machine().decide_point(point, barrier, committed);
        }
    }
    // Lines, of the one that coordinates.
    bool send(std::size_t, const agent::BarrierMessage& message) override {
        Line* const line = group_.line_.get();
        if (line == nullptr || !line->send(follower, message)) {
            return false;
        }
        if (group_.world_.mutant == Mutant::released_before_ready &&
            message.type == agent::BarrierType::prepare) {
            forged_ = message.barrier;
        }
        return true;
    }
    // Takes what was sent for what was answered.
    bool forge() {
        const auto barrier = std::exchange(forged_, std::nullopt);
        if (!barrier || !coordinator_) {
            return false;
        }
        coordinator_->take(0, {agent::BarrierType::ready, true, *barrier});
        return true;
    }
    // A guest waits here.
    void waits() {
        World& world = group_.world_;
        if (held_since_ && world.clock.boot() - *held_since_ > world.settings.barrier_hold_ns) {
            world.violated("groups", "a guest waits for longer than its machine allows");
        }
    }

private:
    Group& group_;
    const std::size_t index_;
    std::unique_ptr<agent::GroupMember> member_;
    std::unique_ptr<agent::GroupCoordinator> coordinator_;
    std::optional<Nanos> held_since_;
    std::optional<GroupId> forged_;  // Only for a planted bug.
    bool ending_ = false;
};

Group::Group(World& world) : world_(world) {
    CW_ASSERT(world.machines.size() == members);
    for (std::size_t i = 0; i < members; ++i) {
        parts_.at(i) = std::make_unique<Part>(*this, i);
    }
}

Group::~Group() = default;

void Group::begin() {
    if (!parts_[leader]->coordinates() || !parts_[leader]->coordinator().begin("simulated")) {
        return;
    }
    asked_ = true;
    moves_left_ = moves_max;
    world_.event("group.begin");
    world_.trace.count("group.begun");
}

void Group::connect() {
    if (line_ && line_->over(leader) && line_->over(follower)) {
        line_.reset();
        const std::uint64_t pause_ms = world_.calm() ? 10 : world_.random->below(2000);
        connect_at_ = world_.clock.boot() + static_cast<std::int64_t>(pause_ms) * ns_per_ms;
    }
    const bool both = parts_[leader]->begun() && parts_[follower]->begun();
    if (!line_ && both && world_.clock.boot() >= connect_at_) {
        line_ = std::make_unique<Line>(world_, ++lines_);
    }
}

bool Group::deliver(std::size_t to) {
    bool any = false;
    while (line_ && !line_->over(to)) {
        const auto message = line_->receive(to);
        if (!message) {
            break;
        }
        any = true;
        world_.event("group.message", static_cast<std::uint64_t>(message->type), to);
        if (to == leader) {
            parts_[leader]->coordinator().take(0, *message);
        } else if (const auto answer = parts_[follower]->member().take(line_->number(), *message)) {
            line_->send(leader, *answer);
        }
    }
    return any;
}

bool Group::step(std::size_t machine) {
    if (machine >= members) {
        return false;
    }
    Part& part = *parts_.at(machine);
    if (!part.begun()) {
        part.begin();
    }
    connect();
    bool worked = part.forge();
    worked |= deliver(machine);
    if (line_ && line_->ended(machine)) {
        worked = true;
        if (machine == leader) {
            part.coordinator().lost(0);
        } else {
            part.member().lost(line_->number());
        }
    }
    part.member().step();
    if (machine != leader) {
        return worked;
    }
    part.coordinator().step();
    if (asked_ && !part.coordinator().running()) {
        asked_ = false;
        const bool made = part.coordinator().outcome()->has_value();
        calm_made_ |= made && world_.calm();
        world_.event(made ? "group.point" : "group.incomplete");
        world_.trace.count(made ? "group.points" : "group.incomplete");
    }
    return worked;
}

Nanos Group::wakes_at(std::size_t machine) const {
    if (machine >= members) {
        return Nanos{INT64_MAX};
    }
    const Part& part = *parts_.at(machine);
    if (!part.begun()) {
        return Nanos{0};
    }
    Nanos due = parts_.at(machine)->member().deadline();
    if (part.coordinates()) {
        due = std::min(due, parts_.at(machine)->coordinator().deadline());
    }
    if (line_) {
        return std::min(due, line_->due(machine));
    }
    return parts_.at(other_of(machine))->begun() ? std::min(due, connect_at_) : due;
}

void Group::on_down(std::size_t machine) {
    if (machine >= members) {
        return;
    }
    parts_.at(machine)->end();
    asked_ = asked_ && machine != leader;
    if (line_) {
        line_->leave(machine);
        line_->end(other_of(machine),
                   static_cast<std::int64_t>(world_.random->below(200)) * ns_per_ms);
    }
}

void Group::play() {
    const Part& first = *parts_[leader];
    const bool matters = asked_ ? moves_left_ > 0 : world_.random->below(64) == 0;
    if (!matters || !first.begun() || !parts_[follower]->begun()) {
        return;
    }
    // The first one serves when the other has answered; the other answers.
    const std::uint64_t ours = first.machine().counter();
    const std::uint64_t theirs = parts_[follower]->machine().counter();
    const std::size_t turn = ours == theirs ? leader : follower;
    Part& part = *parts_.at(turn);
    if (part.machine().held()) {
        part.waits();
    } else if (world_.random->below(2) == 0) {
        moves_left_ -= moves_left_ > 0 ? 1 : 0;
        part.machine().write_counter(turn == leader ? ours + 1 : ours);
        world_.bells_may_ring();
    }
}

bool Group::stood() {
    // Now and then, as people do: one of them may be out of reach for a minute yet.
    if (!calm_made_ && line_ && world_.clock.boot() >= next_calm_try_ &&
        world_.machines[leader]->consistent() && world_.machines[follower]->consistent()) {
        next_calm_try_ = world_.clock.boot() + ns_per_s;
        begin();
    }
    return calm_made_;
}

}  // namespace cw::sim
