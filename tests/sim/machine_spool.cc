// The agent's disk spool, in some schedules, and who tends it. It is so small that an outage fills
// it: then the disks go by their maps, unless somebody gives it more room.
#include "cache/region_table.h"
#include "tests/sim/machine.h"
#include "tests/sim/world.h"

#include <algorithm>

namespace cw::sim {
namespace {

const std::string spool_directory = "/agent/spool";
// What waits in an outage grows into one record. None of what is written here is as large.
constexpr std::uint64_t region_bytes = 4 * mib;
constexpr std::uint64_t regions_least = 8, regions_more = 4;

// All but `room` of the least size counts as none.
double throttle_for(std::uint64_t room) {
    const std::uint64_t capacity = (regions_least - 1) * region_bytes,
                        writable = capacity - cache::reserve_regions * region_bytes;
    CW_ASSERT(room <= writable);
    return static_cast<double>(writable - room) / static_cast<double>(capacity);
}

}  // namespace

// As agent::Agent::start(); the operator follows the advice of the error.
bool Machine::open_spool() {
    const std::uint64_t room = world_.settings.agent_spool_room;
    if (room == 0) {
        return true;
    }
    cache::SpoolOptions options;
    options.path = spool_directory;
    options.size_bytes = (regions_least + spool_grown_ * regions_more) * region_bytes;
    options.region_bytes = region_bytes;
    options.throttle_free = throttle_for(room);
    options.prewrite = false;
    const auto open = [&] {
        return agent::Spiller::open(options, {storage_->make_disk(), storage_->make_disk()},
                                    {*outbox_, *pool_, clock_, *random_});
    };
    auto opened = open();
    if (!opened && opened.error().code == Errc::io_error) {
        return false;
    }
    if (!opened) {  // It has another size.
        world_.trace.count("seen.agent_spool_renewed");
        const auto names = disk_->list(spool_directory);
        CW_ASSERT(opened.error().code == Errc::config_invalid && names);
        for (const std::string& name : *names) {
            CW_ASSERT(disk_->remove(spool_directory + "/" + name).has_value());
        }
        opened = open();
    }
    if (!opened) {
        return false;
    }
    spool_ = std::move(*opened);
    degraded_ = false;
    return true;
}

void Machine::close_spool() {
    if (!spool_) {
        return;
    }
    for (const ConditionEvent& event : spool_->conditions().events(4096)) {
        if (event.raised) {
            world_.trace.count("condition.agent." + std::string(name_of(event.condition.code)));
        }
    }
    spool_.reset();
}

bool Machine::spool_full() const {
    return spool_ && spool_->conditions().standing(Errc::spool_full);
}

void Machine::step_spool() {
    if (!spool_) {
        return;
    }
    busy_ |= spool_->step();
    const auto misses = [](const auto& capture) {
        return capture->position().mode != wire::ReplicationMode::data;
    };
    if (!degraded_ && spool_full() && std::ranges::any_of(captures_, misses)) {
        degraded_ = true;
        world_.event("agent.spool_full", index_);
        world_.trace.count("seen.agent_spool_overflowed");
    }
}

void Machine::give_room() {
    world_.event("agent.spool_grows", index_);
    world_.trace.count("seen.agent_spool_grown");
    ++spool_grown_;
    stop_cleanly();
}

}  // namespace cw::sim
