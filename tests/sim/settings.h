// What one seed decides before anything runs: sizes, limits, and which faults may happen how often.
//
// Every schedule has its own mix ("swarm"): a fault class that is off lets others be seen that it
// would mask. Rates are per 10,000 decisions of their kind unless a name says otherwise.
#pragma once

#include "egress/vault/index_run.h"
#include "pipeline/codec_policy.h"
#include "tests/fakes/memory_vault.h"
#include "tests/fakes/sim_disk.h"

#include <cstdint>
#include <string>

namespace cw::sim {

inline constexpr std::size_t agent_slabs_max = 24;

struct Settings {
    std::uint64_t seed = 1;

    // Who takes part.
    std::size_t servers = 1, machines = 1, disks = 1;
    std::uint64_t disk_bytes = 0;
    std::uint32_t actions = 60;  // What the schedule's author does in the safety phase.

    // Limits of the process servers.
    std::uint64_t region_bytes = 0, spool_bytes = 0;
    std::uint32_t batch_bytes = 0, batches_in_flight = 4;
    std::size_t ingest_slabs = 0, upload_stages = 1, rings = 64;
    std::int64_t seal_after_ns = 0, commit_interval_ns = 0;
    std::uint32_t checkpoint_every = 64, upload_threads = 4, jobs = 4;
    std::uint64_t resident_bytes = 0, backlog_records = 0;
    std::int64_t gc_grace_us = 0;
    // What in production only large, old or busy machines come to: 0 or the default where not.
    vault::RunLimits runs;
    std::int64_t segment_age_ns = 12 * 3600 * ns_per_s, same_as_ns = 900 * ns_per_s;
    std::int64_t provisional_ns = 30 * ns_per_s, ownership_check_ns = 300 * ns_per_s;
    std::uint32_t read_back_every = 0, checkpoints_kept = 4, connections = 64;
    std::uint64_t dek_bytes = 1024 * gib, bandwidth = 0;
    std::uint64_t chain_bytes = 0;  // While there are faults: then somebody gives them more memory.
    pipeline::CompressionMode compression = pipeline::CompressionMode::automatic;

    // Network.
    std::int64_t latency_ns_max = 0;
    std::size_t dribble_bytes = 0;  // 0: a read gets all there is.
    std::uint32_t cut = 0, half_open = 0, stale_session = 0;

    // Processes.
    std::uint32_t server_kill = 0, server_power_cut = 0, server_pause = 0, takeover = 0;
    // The power goes soon after a restarted server has told an agent what it holds: what it read
    // must have been on the platter, not only in the kernel's cache.
    std::uint32_t second_cut = 0;
    std::uint32_t agent_kill = 0, agent_power_cut = 0, agent_stop = 0;
    std::uint32_t agent_lost_state = 0, agent_old_state = 0, agent_clone = 0;
    // The agent's disk spool takes about so much (0: it has none), and it begins to fill when half
    // of so much memory is in use. Rate: somebody sees that it is full and gives it more room.
    std::uint64_t agent_spool_room = 0;
    std::size_t agent_slabs = agent_slabs_max;
    std::uint32_t agent_give_room = 0;
    std::uint32_t server_clone = 0, server_loss = 0;
    // Servers that tell no digests, by index from the lowest bit: a pool may be mixed. Rates: a
    // reply of the others finds no room, and is tried again; a write replaces a whole block by one
    // of a few contents, so that disks come back to what they were.
    std::uint32_t digestless = 0, digests_late = 0, whole_blocks = 0;
    std::uint64_t compare_bytes_min = 256 * mib;  // See agent::Replicator::Options.
    // Two machines that share recovery points; what befalls a barrier's messages.
    bool group = false;
    std::uint32_t barrier_fault = 0;
    std::int64_t barrier_hold_ns = 0;
    std::uint32_t wall_jump = 0, clocks_apart = 0, rotate = 0, rotate_kek = 0, collect = 0,
                  prune = 0;

    // Disk and store.
    fakes::FaultPlan disk;
    std::uint32_t rot = 0;       // Damage to what the cache holds: cache_damage.h.
    std::uint32_t copy_rot = 0;  // The same to one of two copies: nothing is lost by it.
    // Of writes to the cache's log once it has been made, each way they can go astray.
    std::uint32_t astray = 0;
    fakes::FaultPlan agent_disk;  // Of the agents' devices.
    // A small cache, much that is written, and an uplink that is too slow for it in the middle of
    // the schedule.
    bool slow_uplink = false;
    fakes::BlobFaultRates blob;
    std::int64_t blob_latency_ns = 0, blob_late_ns = 0;
    std::uint32_t lease = 0;  // Another program takes a lease on an object, for a while.
    bool worm = false;
    bool tamper = false;          // The adversary comes when all has converged.
    bool disk_full = false;       // A server's new disk has no room for its cache for a while.
    bool long_retention = false;  // The product's table, not one of minutes.
    // Rate: an agent is started without its second disk, or with it again. Points live for seconds
    // there, so that what the vault holds of such a disk may be let go of.
    std::uint32_t disk_leaves = 0;
};

[[nodiscard]] inline bool tells_digests(const Settings& settings, std::size_t server) {
    return (settings.digestless >> (server % 32) & 1) == 0;
}

Settings draw_settings(std::uint64_t seed);
std::string describe(const Settings& settings);

}  // namespace cw::sim
