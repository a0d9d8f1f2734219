#include "tests/sim/machine.h"

#include "pipeline/generation.h"
#include "tests/sim/dial.h"
#include "tests/sim/group.h"
#include "tests/sim/mutant_parts.h"
#include "tests/sim/oracles/oracles.h"
#include "tests/sim/server.h"
#include "tests/sim/world.h"

#include <algorithm>

namespace cw::sim {
namespace {

constexpr std::size_t base_slabs = 12;
const std::string state_directory = "/agent";

// A pool of its own for each size: what an agent has to spare it judges by all that its pool holds.
pipeline::SlabPool* log_pool(std::size_t index, std::size_t slabs) {
    return pool_for(index, "agent " + std::to_string(slabs), slabs, slabs).pool.get();
}

// What one disk starts with.
struct DiskStart {
    agent::DirtyMap map;
    agent::DiskCapture::Start start;
};

}  // namespace

Machine::Machine(World& world, std::size_t index)
    : world_(world),
      index_(index),
      origin_(index),
      server_(world.random->below(world.settings.servers)),
      storage_(make_storage(world.random->next_u64())),
      points_(std::make_shared<std::map<PointId, Images>>()),
      clock_(world.clock, clock_ahead_us_, world.mutant == Mutant::timers_by_wall),
      random_(make_seeded_random(world.random->next_u64())),
      pool_(log_pool(index, world.settings.agent_slabs)),
      base_pool_(pool_for(index, "agent base", base_slabs, base_slabs).pool.get()) {
    id_.bytes.fill(std::byte{static_cast<unsigned char>(0xa0 + index)});
    for (std::size_t i = 0; i < world.settings.disks; ++i) {
        images_.push_back(std::make_unique<SharedImage>(world.settings.disk_bytes));
    }
    write_some(4);
}

Machine::Machine(World& world, std::size_t index, const Machine& original)
    : world_(world),
      index_(index),
      origin_(original.origin_),
      id_(original.id_),
      server_(original.server_),
      storage_(make_storage(world.random->next_u64())),
      points_(original.points_),
      newest_(original.newest_),
      clock_(world.clock, clock_ahead_us_, world.mutant == Mutant::timers_by_wall),
      random_(make_seeded_random(world.random->next_u64())),
      pool_(log_pool(index, world.settings.agent_slabs)),
      base_pool_(pool_for(index, "agent base", base_slabs, base_slabs).pool.get()),
      fresh_(original.fresh_),
      provable_(!original.up() && original.provable_),
      clean_(!original.up() && original.clean_),
      writes_(original.writes_),
      away_(original.away_),
      in_point_(original.in_point_),
      missed_point_(original.missed_point_),
      start_at_(original.start_at_) {
    original.storage_->copy_to(*storage_);
    if (original.up()) {
        storage_->power_cut();
        start_at_ = world.clock.boot();
    }
    for (const auto& image : original.images_) {
        images_.push_back(std::make_unique<SharedImage>(image->bytes()));
    }
}

std::unique_ptr<fakes::SimStorage> Machine::make_storage(std::uint64_t seed) const {
    fakes::FaultPlan plan = world_.settings.agent_disk;
    if (world_.calm()) {
        plan.write_error = plan.sync_error = plan.read_error = 0;
    }
    return std::make_unique<fakes::SimStorage>(seed, plan, &world_.clock);
}

Machine::~Machine() {
    take_down();
}

DiskId Machine::disk_id(std::size_t slot) const {
    DiskId id;
    id.bytes.fill(std::byte{static_cast<unsigned char>(16 * (origin_ + 1) + slot)});
    return id;
}

void Machine::take_down() {
    if (up() && world_.group) {
        world_.group->on_down(index_);
    }
    add_counts();
    close_spool();
    replicator_.reset();
    dial_.reset();
    captures_.clear();
    gate_.reset();
    outbox_.reset();
    state_.reset();
    disk_.reset();
}

// As agent::Agent::start() and open_disk() decide it.
void Machine::start() {
    disk_ = storage_->make_disk();
    state_ = agent::StateFile::open(*disk_, state_directory).value();
    outbox_ = std::make_unique<agent::Outbox>(4 * mib);
    outbox_->on_push([this] { pushed_ = true; });
    if (!open_spool()) {  // As a service manager has it.
        world_.trace.count("seen.agent_start_failed");
        take_down();
        start_at_ = world_.clock.boot() + ns_per_s;
        return;
    }
    draw_disks();
    dial_ = std::make_unique<Dial>(world_, *this, index_);
    if (world_.group) {
        gate_ = std::make_unique<agent::AdmissionGate>(world_.clock);
    }
    agent::AdmissionGate* const held_by =
        world_.mutant == Mutant::nobody_held ? nullptr : gate_.get();
    const bool provable = provable_ && !fresh_;
    agent::AgentState before = state_->get();
    // A disk that the agent is started without it forgets.
    const std::size_t known = before.disks.empty() ? disks_now() : before.disks.size();
    before.disks.resize(disks_now());
    std::vector<DiskStart> disks;
    for (std::size_t i = 0; i < disks_now(); ++i) {
        agent::DiskState& disk = before.disks[i];
        disk.id = disk_id(i);
        disk.size_bytes = images_[i]->size();
        const agent::DirtyMap::Target target{state_directory + "/map" + std::to_string(i), disk.id,
                                             disk.size_bytes};
        auto map = provable && i < known ? agent::DirtyMap::open(*disk_, target)
                                         : agent::DirtyMap::create(*disk_, target);
        bool holds = provable && pipeline::names_history(disk.generation);
        if (!map) {
            holds = false;
            map = agent::DirtyMap::create(*disk_, target);
        }
        const bool exact = holds && clean_ && raw(disk.next) != 0;
        if (!holds) {
            disk.generation = pipeline::without_history(disk.generation);
        }
        disks.push_back({std::move(map).value(),
                         {.key = {id_, disk.id, disk.generation},
                          .slot = static_cast<std::uint16_t>(i),
                          .next = exact ? disk.next : disk.limit,
                          .limit = disk.limit,
                          .stream_hash = disk.stream_hash,
                          .logging = exact}});
        disk.next = {};
    }
    ++before.boot_counter;
    before.clean = false;
    CW_ASSERT(state_->update([&](agent::AgentState& s) { s = before; }).has_value());
    same_leaps_ = make_agent_random(world_, *random_);
    replicator_ = std::make_unique<agent::Replicator>(
        agent::Replicator::Options{id_, "machine", "simulated", 20 * ns_per_ms,
                                   world_.settings.compare_bytes_min},
        agent::Replicator::Context{*dial_, *outbox_, *pool_, *base_pool_, *state_, clock_,
                                   same_leaps_ ? *same_leaps_ : *random_, gate_.get()});
    for (std::size_t i = 0; i < disks.size(); ++i) {
        const bool holds = pipeline::names_history(before.disks[i].generation);
        captures_.push_back(std::make_unique<agent::DiskCapture>(
            disks[i].start, std::move(disks[i].map),
            agent::DiskCapture::Parts{*images_[i], *outbox_, *pool_, clock_, *state_, held_by}));
        replicator_->add_disk(*captures_.back(), "disk" + std::to_string(i), holds);
    }
    fresh_ = clean_ = false;
    counted_ = {};
    world_.event("agent.start", index_, provable ? 1 : 0);
}

void Machine::kill(bool power_cut) {
    if (!up()) {
        return;
    }
    world_.event(power_cut ? "agent.power_cut" : "agent.kill", index_);
    world_.trace.count(power_cut ? "fault.agent_power_cut" : "fault.agent_kill");
    take_down();
    provable_ = !power_cut;
    if (power_cut) {
        storage_->power_cut();
        // What the guest had not flushed may be gone.
        if (world_.settings.whole_blocks == 0 || random_->below(3) == 0) {
            const std::uint64_t sector = random_->below(sectors_of(0));
            CW_ASSERT(images_[0]->zero(sector * sector_bytes, sector_bytes, false).has_value());
        }
        ++writes_;
        if (saved_) {
            saved_->provable &= saved_->clean;  // The kernel that took its map is gone.
        }
    } else {
        storage_->kill();
    }
    start_at_ = world_.clock.boot() + static_cast<std::int64_t>(random_->below(3000)) * ns_per_ms;
}

bool Machine::at_rest() {
    const auto committed = [](const auto& capture) {
        return capture->position().uncommitted_bytes == 0;
    };
    return consistent() && replicator_->all_spooled() && std::ranges::all_of(captures_, committed);
}

// As agent::Agent::leave_state(); without waiting for the server.
void Machine::stop_cleanly() {
    if (!up()) {
        return;
    }
    world_.event("agent.stop", index_);
    world_.trace.count("fault.agent_stop");
    const bool all_spooled = replicator_->all_spooled();
    std::vector<agent::DiskState> disks = state_->get().disks;
    for (std::size_t i = 0; i < captures_.size(); ++i) {
        CW_ASSERT(captures_[i]->sync_map().has_value());
        const auto at = captures_[i]->position();
        const bool exact = all_spooled && at.logging && !captures_[i]->fence_open();
        disks[i].next = exact ? at.next : Seq{};
        disks[i].generation = at.generation;
        const auto lock = captures_[i]->lock();
        disks[i].stream_hash = captures_[i]->stream_hash_locked();
    }
    const auto witness = replicator_->witness();
    CW_ASSERT(state_
                  ->update([&](agent::AgentState& s) {
                      s.disks = disks;
                      s.clean = true;
                      s.witness_number = witness.first;
                      s.witness_hash = witness.second;
                  })
                  .has_value());
    take_down();
    storage_->kill();
    provable_ = clean_ = true;
    start_at_ = world_.clock.boot() + static_cast<std::int64_t>(random_->below(2000)) * ns_per_ms;
}

void Machine::end_faults() {
    fakes::FaultPlan& plan = storage_->plan();
    plan.write_error = plan.sync_error = plan.read_error = 0;
    if (away_) {
        kill(false);  // Its disk is there at the next start.
    }
    to_change_ = false;
}

void Machine::start_in(std::int64_t ns) {
    CW_ASSERT(!up());
    start_at_ = world_.clock.boot() + ns;
}

void Machine::tend() {
    if (lose_again_at_ && !world_.calm() && world_.clock.boot() >= *lose_again_at_) {
        world_.trace.count("fault.agent_lost_state_again");
        lose_state();
    }
    obey_advice();
    if (!up() && world_.clock.boot() >= start_at_) {
        start();
    }
}

bool Machine::step() {
    if (!up()) {
        return false;
    }
    pushed_ = false;
    stepped_at_ = world_.clock.boot();
    busy_ = replicator_->step();
    step_spool();
    if (world_.group) {
        busy_ |= world_.group->step(index_);
    }
    return busy_;
}

Nanos Machine::wakes_at() {
    if (!up()) {
        return start_at_;
    }
    if (busy_ || pushed_) {
        return Nanos{0};
    }
    Nanos due = replicator_->next_deadline();
    if (world_.group) {
        due = std::min(due, world_.group->wakes_at(index_));
    }
    if (spool_ && spool_->busy()) {
        due = std::min(due, stepped_at_ + ns_per_ms);
    }
    if (dial_->due()) {
        due = std::min(due, *dial_->due());
    }
    if (const auto wire = dial_->wire(); wire && !wire->agent_gone) {
        due = std::min(due, wire->down.next_due());
        if (wire->agent_told && wire->down.in_flight() == 0) {
            due = Nanos{0};
        }
    }
    return due;
}

bool Machine::live() {
    return up() && replicator_->status().link == agent::LinkState::live;
}

std::string Machine::state() {
    if (!up()) {
        return "agent down";
    }
    const auto status = replicator_->status();
    std::string out(agent::name_of(status.link));
    if (status.last_error) {
        out += " (" + to_string(*status.last_error) + ")";
    }
    for (const auto& disk : status.disks) {
        out += "; " + disk.phase + " " + disk.reason + " next " + std::to_string(raw(disk.next)) +
               " spooled " + std::to_string(raw(disk.spooled)) + " committed " +
               std::to_string(raw(disk.committed));
    }
    if (spool_ && spool_->busy()) {
        out += "; its spool is busy";
    }
    return out;
}

}  // namespace cw::sim
