#include "tests/sim/server.h"

#include "tests/sim/oracles/oracles.h"
#include "tests/sim/world.h"

#include <utility>

namespace cw::sim {
Server::Server(World& world, std::size_t index)
    : world_(world),
      index_(index),
      storage_(make_storage(world.settings.disk)),
      state_{.identity = index, .witnesses = {}, .random_seed = world.settings.seed + index} {
    fill_disk();
}

Server::Server(World& world, std::size_t index, const Server& original) : Server(world, index) {
    state_ = original.state_;
    original.storage_->copy_to(*storage_);
    storage_->power_cut();
    restarted_ = true;
}

std::unique_ptr<fakes::SimStorage> Server::make_storage(const fakes::FaultPlan& plan) {
    return std::make_unique<fakes::SimStorage>(world_.random->next_u64(), plan, &world_.clock);
}

// A cache has all its room from the day that it is made, so that is when there may be too little.
void Server::fill_disk() {
    if (world_.settings.disk_full && !world_.calm()) {
        storage_->plan().capacity_bytes = world_.random->below(world_.settings.spool_bytes);
    }
}

Server::~Server() {
    if (process_) {
        process_->kill();
    }
}

bool Server::awake() const {
    return up() && world_.clock.boot() >= paused_until_;
}

void Server::kill(bool power_cut) {
    if (!process_ || process_->dead()) {
        return;
    }
    world_.event(power_cut ? "server.power_cut" : "server.kill", index_);
    world_.trace.count(power_cut ? "fault.power_cut" : "fault.kill");
    if (storage_->at_work()) {
        world_.trace.count(power_cut ? "fault.power_cut_at_work" : "fault.kill_at_work");
    }
    take_down(power_cut);
}

// Its disk is at work for moments only: a blow that does not wait for one finds it idle.
void Server::kill_at_work(bool power_cut) {
    strike_cuts_power_ = power_cut;
    strike_is_second_ = false;
    storage_->strike_at(1 + world_.random->below(8));
}

void Server::strike(const char* counted) {
    if (storage_->struck()) {
        world_.trace.count(counted);
        world_.trace.count("fault.second_cut", std::exchange(strike_is_second_, false) ? 1 : 0);
        kill(strike_cuts_power_);
    }
}

void Server::take_down(bool power_cut) {
    process_->kill();
    cut_at_.reset();
    restarted_ = true;
    if (power_cut) {
        storage_->power_cut();
    } else {
        storage_->kill();
    }
    for (const auto& wire : world_.network.wires()) {
        if (wire->server == index_ && !wire->server_gone) {
            wire->server_gone = true;
            wire->agent_told |= !wire->down.silent;
        }
    }
    restart_at_ =
        world_.clock.boot() + static_cast<std::int64_t>(world_.random->below(5000)) * ns_per_ms;
}

void Server::lose() {
    if (lost_) {
        return;
    }
    // Not a power cut: nobody will ask what that has left.
    if (process_ && !process_->dead()) {
        take_down(true);
    }
    world_.event("server.lost", index_);
    world_.trace.count("fault.server_lost");
    lost_ = true;
}

void Server::replace() {
    add_counts();
    storage_ = make_storage(storage_->plan());
    fill_disk();
    // It is somebody else to the vault, and has no witness of it.
    state_ = {.identity = world_.settings.servers + 1 + world_.servers_lost++,
              .witnesses = {},
              .random_seed = world_.random->next_u64()};
    world_.oracles->durability.on_lost(index_);
    lost_ = damaged_ = restarted_ = log_ended_ = false;
}

void Server::pause(std::int64_t ns) {
    world_.event("server.pause", index_, static_cast<std::uint64_t>(ns));
    world_.trace.count("fault.pause");
    paused_until_ = world_.clock.boot() + ns;
}

void Server::end_faults() {
    if (world_.settings.chain_bytes > 0) {
        kill(false);  // It is given the memory for its chains.
    }
    storage_->plan() = {};
    storage_->plan().durable_delay_ns = ns_per_ms;
    paused_until_ = {};
    cut_at_.reset();
    restarted_ = false;
    storage_->strike_at(0);
}

void Server::welcomed() {
    if (std::exchange(restarted_, false) && world_.hit(world_.settings.second_cut)) {
        cut_at_ =
            world_.clock.boot() + static_cast<std::int64_t>(world_.random->below(300)) * ns_per_ms;
    }
}

bool Server::damage_cache() {
    const std::uint64_t live = up() ? process_->spool().usage().live : 0;
    if (live == 0) {
        return false;  // Nobody would ever look.
    }
    const auto done = sim::damage_cache(*storage_, live, *world_.random);
    if (!done) {
        return false;
    }
    damaged_ |= done->lasting;
    world_.event("server.cache_damaged", index_);
    world_.trace.count(done->name);
    return true;
}

bool Server::damaged() const noexcept {
    const fakes::FaultCounts& counts = storage_->counts();
    return damaged_ || counts.write_lost + counts.write_misdirected + counts.write_flipped > 0;
}

// Not while it is made: nobody would have a second copy of its identity.
void Server::let_writes_stray() {
    const bool made = !world_.calm() && storage_->exists("/spool/spool.log");
    fakes::FaultPlan& plan = storage_->plan();
    plan.write_lost = plan.write_misdirected = plan.write_flipped =
        made ? world_.settings.astray : 0;
}

void Server::rot_one_copy() {
    if (!up()) {
        return;
    }
    kill(false);
    if (const auto done = damage_one_copy(*storage_, *world_.random)) {
        world_.event("server.copy_rots", index_);
        world_.trace.count(done->name);
    }
}

void Server::tend() {
    const Nanos now = world_.clock.boot();
    if (up() && cut_at() <= now) {
        cut_at_.reset();
        if (world_.random->below(4) == 0) {
            world_.trace.count("fault.second_cut");
            kill(true);
        } else {
            kill_at_work(true);
            strike_is_second_ = true;
        }
    }
    if (up() && process_->failed()) {
        world_.trace.count("seen.spool_failed");
        kill(false);  // The daemon exits; the kernel keeps its cache.
    }
    if (process_ && process_->dead() && !process_->running()) {
        process_.reset();
    }
    if (!process_ && lost_) {
        replace();
    }
    if (!process_ && now >= restart_at_) {
        let_writes_stray();
        if (world_.settings.astray > 0) {
            log_end_ = find_log_end(*storage_);
            log_ended_ |= strayed_behind(log_end_, storage_->take_astray());
        }
        process_ = std::make_unique<Process>(world_, index_, state_);
        const Result<void> started = process_->start();
        if (storage_->struck()) {
            return strike("fault.struck_in_recovery");
        }
        if (!started) {
            world_.event("server.start_failed " + to_string(started.error()), index_);
            world_.trace.count("seen.start_failed");
            ++failed_starts_;
            start_refused_ = started.error().code;
            if (started.error().code == Errc::config_invalid) {
                world_.trace.count("fault.disk_full");
                if (world_.random->below(4) == 0) {  // Somebody makes room.
                    storage_->plan().capacity_bytes = UINT64_MAX;
                }
            }
            process_->kill();
            storage_->kill();
            restart_at_ = world_.clock.boot() + ns_per_s;
            process_.reset();
            return;
        }
        log_ended_ = false;
        let_writes_stray();
        start_refused_.reset();
        world_.event("server.start", index_);
        world_.trace.count("restarts");
    }
    if (awake() && now >= next_tick_) {
        next_tick_ = now + ns_per_s;
        process_->tick();
        world_.bells_may_ring();
    }
}

std::string Server::state() const {
    std::string out = "server " + std::to_string(index_) + ": ";
    if (!up()) {
        return out + "down";
    }
    const cache::SpoolUsage use = process_->spool().usage();
    const auto kib_of = [](std::uint64_t bytes) { return std::to_string(bytes / kib) + " KiB "; };
    out += kib_of(use.capacity) + "cache, " + kib_of(use.live) + "live, " + kib_of(use.dead) +
           "dead, " + kib_of(use.free) + "free, " + kib_of(use.room) + "room, " +
           kib_of(process_->credit().reserved()) + "promised";
    for (const Condition& condition : process_->conditions().list()) {
        out += "; " + std::string(name_of(condition.code)) + " " + condition.subject;
    }
    return out;
}

void Server::add_counts() {
    const fakes::FaultCounts& counts = storage_->counts();
    world_.trace.count("fault.write_error", counts.write_error);
    world_.trace.count("fault.sync_error", counts.sync_error);
    world_.trace.count("fault.torn_cut", counts.torn_cuts);
    world_.trace.count("fault.read_error", counts.read_error);
    world_.trace.count("fault.astray_lost", counts.write_lost);
    world_.trace.count("fault.astray_misdirected", counts.write_misdirected);
    world_.trace.count("fault.astray_flipped", counts.write_flipped);
    world_.trace.count("fault.weak_read", counts.read_weak);
    world_.trace.count("fault.name_error", counts.metadata_error);
}

}  // namespace cw::sim
