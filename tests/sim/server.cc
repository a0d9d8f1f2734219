#include "tests/sim/server.h"

#include "cache/spool_format.h"
#include "tests/sim/oracles/oracles.h"
#include "tests/sim/world.h"

#include <utility>

namespace cw::sim {
namespace {

const std::string log_path = "/spool/spool.log";

// A byte of what the log still needs: its newest batches, as many as hold `live` bytes. Headers and
// tables are hit as often as data.
std::optional<std::uint64_t> rot_place(fakes::SimStorage& storage, std::uint64_t live,
                                       Random& random) {
    const std::uint64_t size = storage.size_of(log_path);
    std::map<std::uint64_t, cache::BatchHeader> batches;  // By number.
    for (const std::uint64_t at : storage.written_blocks(log_path)) {
        const auto head = storage.contents(log_path, at, std::min(block_bytes, size - at));
        const auto header_bytes = cache::peek_batch_header_bytes(head);
        if (!header_bytes || at + *header_bytes > size) {
            continue;
        }
        auto header = cache::decode_batch_header(storage.contents(log_path, at, *header_bytes));
        if (header && header->offset == at) {
            batches[header->number] = std::move(*header);
        }
    }
    // What no later batch calls durable cannot be told from a torn tail.
    std::uint64_t bytes = 0, mark = 0;
    for (const auto& [number, batch] : batches) {
        mark = std::max(mark, batch.durable_through);
    }
    std::vector<const cache::BatchHeader*> needed;
    for (auto it = batches.rbegin(); it != batches.rend() && bytes < live; ++it) {
        if (it->first <= mark) {
            needed.push_back(&it->second);
        }
        bytes += it->second.total_bytes();
    }
    if (needed.empty()) {
        return std::nullopt;
    }
    const cache::BatchHeader& hit = *needed[random.below(needed.size())];
    const std::uint64_t head = hit.header_bytes() + hit.tables_bytes();
    const std::uint64_t body = hit.total_bytes() - head;
    return hit.offset +
           (body == 0 || random.below(2) == 0 ? random.below(head) : head + random.below(body));
}

}  // namespace

Server::Server(World& world, std::size_t index)
    : world_(world),
      index_(index),
      storage_(world.random->next_u64(), world.settings.disk, &world.clock),
      state_{.identity = index, .witnesses = {}, .random_seed = world.settings.seed + index} {}

Server::Server(World& world, std::size_t index, const Server& original) : Server(world, index) {
    state_ = original.state_;
    original.storage_.copy_to(storage_);
    storage_.power_cut();
    restarted_ = true;
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
    process_->kill();
    cut_at_.reset();
    restarted_ = true;
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
    cut_at_.reset();
    restarted_ = false;
}

void Server::welcomed() {
    if (std::exchange(restarted_, false) && world_.hit(world_.settings.second_cut)) {
        cut_at_ =
            world_.clock.boot() + static_cast<std::int64_t>(world_.random->below(300)) * ns_per_ms;
    }
}

bool Server::rot() {
    const std::uint64_t live = up() ? process_->spool().usage().live : 0;
    if (live == 0 || !storage_.exists(log_path)) {
        return false;  // Nobody would ever look.
    }
    const auto place = rot_place(storage_, live, *world_.random);
    if (!place) {
        return false;
    }
    storage_.flip_bit(log_path, *place, static_cast<unsigned>(world_.random->below(8)));
    damaged_ = true;
    world_.event("server.rot", index_);
    world_.trace.count("fault.bit_rot");
    return true;
}

void Server::tend() {
    const Nanos now = world_.clock.boot();
    if (up() && cut_at() <= now) {
        world_.trace.count("fault.second_cut");
        kill(true);
    }
    if (up() && process_->failed()) {
        world_.trace.count("seen.spool_failed");
        kill(false);  // The daemon exits; the kernel keeps its cache.
    }
    if (process_ && process_->dead() && !process_->running()) {
        process_.reset();
    }
    if (!process_ && now >= restart_at_) {
        process_ = std::make_unique<Process>(world_, index_, state_);
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
