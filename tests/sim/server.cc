#include "tests/sim/server.h"

#include "tests/sim/oracles/oracles.h"
#include "tests/sim/world.h"

namespace cw::sim {

Server::Server(World& world, std::size_t index)
    : world_(world),
      index_(index),
      storage_(world.random->next_u64(), world.settings.disk, &world.clock) {}

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
    process_->kill();
    if (power_cut) {
        storage_.power_cut();
    } else {
        storage_.kill();
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

void Server::pause(std::int64_t ns) {
    world_.event("server.pause", index_, static_cast<std::uint64_t>(ns));
    world_.trace.count("fault.pause");
    paused_until_ = world_.clock.boot() + ns;
}

void Server::end_faults() {
    storage_.plan() = {};
    storage_.plan().durable_delay_ns = ns_per_ms;
    paused_until_ = {};
}

bool Server::rot() {
    const std::string log = "/spool/spool.log";
    if (!storage_.exists(log)) {
        return false;
    }
    // The regions only: with both superblocks gone the server is a new one, by decree.
    const std::uint64_t first = 64 * kib;
    storage_.flip_bit(log, first + world_.random->below(world_.settings.spool_bytes / 4),
                      static_cast<unsigned>(world_.random->below(8)));
    damaged_ = true;
    world_.event("server.rot", index_);
    world_.trace.count("fault.bit_rot");
    return true;
}

void Server::tend() {
    const Nanos now = world_.clock.boot();
    if (up() && process_->failed()) {
        world_.trace.count("seen.spool_failed");
        kill(false);  // The daemon exits; the kernel keeps its cache.
    }
    if (process_ && process_->dead() && !process_->running()) {
        process_.reset();
    }
    if (!process_ && now >= restart_at_) {
        process_ = std::make_unique<Process>(world_, index_, witnesses_);
        const Result<void> started = process_->start();
        if (!started) {
            world_.event("server.start_failed " + to_string(started.error()), index_);
            world_.trace.count("seen.start_failed");
            ++failed_starts_;
            process_->kill();
            storage_.kill();
            restart_at_ = world_.clock.boot() + ns_per_s;
            process_.reset();
            return;
        }
        world_.event("server.start", index_);
        world_.trace.count("restarts");
    }
    if (awake() && now >= next_tick_) {
        next_tick_ = now + ns_per_s;
        process_->tick();
        world_.bells_may_ring();
    }
}

void Server::add_counts() {
    const fakes::FaultCounts& counts = storage_.counts();
    world_.trace.count("fault.write_error", counts.write_error);
    world_.trace.count("fault.sync_error", counts.sync_error);
    world_.trace.count("fault.torn_cut", counts.torn_cuts);
    world_.trace.count("fault.read_error", counts.read_error);
}

}  // namespace cw::sim
