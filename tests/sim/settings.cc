#include "tests/sim/settings.h"

#include "base/ids.h"

#include <algorithm>
#include <sstream>

namespace cw::sim {
namespace {

class Dice {
public:
    explicit Dice(std::uint64_t seed) : random_(make_seeded_random(seed * 2 + 1)) {}
    std::uint64_t between(std::uint64_t low, std::uint64_t high) {
        return low + random_->below(high - low + 1);
    }
    bool one_in(std::uint64_t n) { return random_->below(n) == 0; }
    // Off in half of the schedules, else 1..max.
    std::uint32_t rate(std::uint32_t max) {
        return one_in(2) ? 0 : static_cast<std::uint32_t>(between(1, max));
    }
    template <typename T>
    T pick(std::initializer_list<T> choices) {
        return choices.begin()[random_->below(choices.size())];
    }

private:
    std::unique_ptr<Random> random_;
};

void draw_limits(Settings& s, Dice& dice) {
    s.region_bytes = dice.pick({1 * mib, 2 * mib, 4 * mib});
    if (s.disk_bytes > 512 * kib) {
        s.region_bytes = 8 * mib;
    }
    s.spool_bytes = std::max<std::uint64_t>(dice.between(20, 40) * mib, 8 * s.region_bytes) /
                    s.region_bytes * s.region_bytes;
    // A connection keeps its least window of credit however idle it is. A cache without one for
    // each machine would leave the last to come with less than a super-chunk needs, for ever.
    if (s.machines > 1) {
        s.spool_bytes = std::max(s.spool_bytes, s.machines * 12 * mib + 4 * s.region_bytes);
    }
    s.batch_bytes = dice.pick<std::uint32_t>({64 * kib, 256 * kib, 1 * mib});
    s.batches_in_flight = static_cast<std::uint32_t>(dice.between(1, 4));
    s.ingest_slabs = dice.between(18, 28);
    s.upload_stages = dice.between(1, 2);
    s.rings = dice.pick<std::size_t>({2, 8, 64, 256});
    s.seal_after_ns = static_cast<std::int64_t>(dice.between(10, 2000)) * ns_per_ms;
    s.commit_interval_ns = static_cast<std::int64_t>(dice.between(1, 1000)) * ns_per_ms;
    s.checkpoint_every = static_cast<std::uint32_t>(dice.between(3, 12));
    s.upload_threads = static_cast<std::uint32_t>(dice.between(1, 6));
    s.jobs = static_cast<std::uint32_t>(dice.between(1, 4));
    s.resident_bytes = dice.between(0, 8) * mib;
    s.backlog_records = dice.pick<std::uint64_t>({16, 256, 65536});
    s.gc_grace_us = static_cast<std::int64_t>(dice.between(30, 600)) * 1'000'000;
}

void draw_faults(Settings& s, Dice& dice) {
    s.latency_ns_max = static_cast<std::int64_t>(dice.between(0, 30)) * ns_per_ms;
    s.dribble_bytes = dice.pick<std::size_t>({0, 0, 0, 1500, 40});
    s.cut = dice.rate(400);
    s.half_open = dice.rate(200);
    s.stale_session = dice.rate(300);
    s.server_kill = dice.rate(400);
    s.server_power_cut = dice.rate(500);
    s.server_pause = dice.rate(200);
    s.takeover =
        s.servers > 1 && !dice.one_in(4) ? static_cast<std::uint32_t>(dice.between(100, 1200)) : 0;
    s.agent_kill = dice.rate(200);
    s.agent_power_cut = dice.rate(100);
    s.agent_stop = dice.rate(100);
    s.wall_jump = dice.rate(100);
    s.rotate = dice.rate(100);
    s.rotate_kek = dice.one_in(6) ? dice.rate(400) : 0;
    s.collect = dice.rate(400);
    s.prune = dice.rate(300);
    s.disk.delay_polls_max = dice.pick<std::uint32_t>({0, 2, 10});
    s.disk.durable_delay_ns = dice.pick<std::int64_t>({0, ns_per_ms, 20 * ns_per_ms});
    s.disk.sync_error = dice.rate(300);
    s.disk.write_error = dice.rate(60);
    s.disk.only_path = "spool";
    s.rot = dice.one_in(6) ? static_cast<std::uint32_t>(dice.between(200, 1000)) : 0;
    const auto chance = [&](double max) {
        return dice.one_in(2) ? 0.0 : max * static_cast<double>(dice.between(1, 100)) / 100;
    };
    s.blob = {.unavailable = chance(0.1),
              .throttled = chance(0.1),
              .lost_reply = chance(0.15),
              .lost_request = chance(0.1),
              .late = chance(0.1)};
    s.blob_latency_ns = static_cast<std::int64_t>(dice.between(0, 200)) * ns_per_ms;
    s.blob_late_ns = static_cast<std::int64_t>(dice.between(1, 120)) * ns_per_s;
    s.worm = dice.one_in(8);
    s.tamper = dice.one_in(4);
    s.second_cut = dice.rate(9000);
    s.agent_lost_state = dice.one_in(4) ? dice.rate(500) : 0;
    s.agent_old_state = dice.one_in(4) ? dice.rate(500) : 0;
    s.server_clone = dice.one_in(5) ? static_cast<std::uint32_t>(dice.between(200, 1000)) : 0;
    s.agent_clone = dice.one_in(5) ? static_cast<std::uint32_t>(dice.between(200, 1000)) : 0;
    if (s.agent_clone > 0) {  // What copies have in common they use when they start.
        s.agent_kill = std::max(s.agent_kill, 500U);
    }
    // A copy of a member would be a group of three that knows of two.
    s.group = s.machines == 2 && s.agent_clone == 0 && !dice.one_in(4);
    s.barrier_fault = dice.rate(2500);
    s.barrier_hold_ns = static_cast<std::int64_t>(dice.between(20, 400)) * ns_per_ms;
    s.server_loss = dice.one_in(4) ? static_cast<std::uint32_t>(dice.between(50, 600)) : 0;
    s.clocks_apart = dice.one_in(4) ? static_cast<std::uint32_t>(dice.between(100, 1000)) : 0;
    // The guests of a group write so often that a record would outgrow a region.
    if (!s.group && dice.one_in(3)) {
        s.agent_spool_room = dice.between(150, 360) * block_bytes;
        s.agent_slabs = dice.between(1, 2) * 4;
        s.agent_give_room = dice.rate(2000);
    }
}

// Drawn last: what was drawn before stays what it was.
void draw_devices(Settings& s, Dice& dice) {
    s.disk.read_weak = dice.rate(200);
    s.disk.metadata_error = dice.one_in(3) ? dice.rate(1000) : 0;
    s.disk.earlier_kept = s.rot > 0;
    s.copy_rot = dice.one_in(4) ? static_cast<std::uint32_t>(dice.between(100, 1000)) : 0;
    s.astray = dice.one_in(8) ? static_cast<std::uint32_t>(dice.between(20, 300)) : 0;
    s.agent_disk.delay_polls_max = dice.pick<std::uint32_t>({0, 2, 10});
    s.agent_disk.durable_delay_ns = dice.pick<std::int64_t>({0, 0, ns_per_ms, 20 * ns_per_ms});
    s.agent_disk.sync_error = dice.rate(200);
    s.agent_disk.write_error = dice.rate(100);
    s.agent_disk.read_error = dice.rate(100);
    s.agent_disk.only_path = "/agent/spool";  // What else lies there must not be lost.
    // About the least that docs/operations.md allows for one machine.
    if (s.machines == 1 && dice.one_in(16)) {
        s.slow_uplink = true;
        s.region_bytes = std::max(s.region_bytes, 2 * mib);
        s.spool_bytes = std::max(dice.between(9, 12) * 2 * mib, 9 * s.region_bytes) /
                        s.region_bytes * s.region_bytes;
        s.dribble_bytes = 0;
        s.actions = std::max(s.actions, 24U);
    }
}

// What makes comparing disks with the vault worth while: several blocks, written whole and back.
void draw_digests(Settings& s, Dice& dice) {
    if (dice.one_in(4)) {
        s.digestless = dice.one_in(4) ? UINT32_MAX : static_cast<std::uint32_t>(dice.between(1, 7));
    }
    s.digests_late = dice.rate(9900);
    if (s.slow_uplink || !dice.one_in(3)) {
        return;
    }
    s.whole_blocks = dice.one_in(2) ? 10'000 : static_cast<std::uint32_t>(dice.between(1000, 7000));
    if (s.disk_bytes <= 512 * kib) {
        s.disk_bytes = dice.between(3, 8) * 64 * kib;
    }
    s.region_bytes = 8 * mib;  // An outage makes one record of as much as a record holds.
    s.spool_bytes = align_up(std::max(s.spool_bytes, 8 * s.region_bytes), s.region_bytes);
    if (!dice.one_in(4)) {  // Else only who has no history compares.
        s.compare_bytes_min = 64 * kib;
        s.agent_kill = std::max(s.agent_kill, 300U);
    }
}

// What the upload side meets where a machine is large, old or busy. Drawn last.
void draw_upload(Settings& s, Dice& dice) {
    if (dice.one_in(2)) {  // An entry takes 65 to 350 bytes.
        s.runs.inline_bytes = dice.pick<std::size_t>({256, 1 * kib, 2 * kib, 4 * kib});
        s.runs.run_bytes = dice.pick<std::size_t>({512, 2 * kib, 8 * kib, 2 * mib});
        s.runs.runs_max = dice.between(1, 4);
    }
    const auto seconds = [&](std::uint64_t low, std::uint64_t high) {
        return static_cast<std::int64_t>(dice.between(low, high)) * ns_per_s;
    };
    s.checkpoints_kept = static_cast<std::uint32_t>(dice.between(1, 4));
    if (dice.one_in(2)) {
        s.segment_age_ns = seconds(120, 900);
    }
    if (dice.one_in(2)) {
        s.same_as_ns = seconds(1, 120);
        s.provisional_ns = seconds(1, 60);
        s.ownership_check_ns = seconds(5, 300);
    }
    if (dice.one_in(3)) {
        s.read_back_every = static_cast<std::uint32_t>(dice.between(1, 3));
    }
    if (dice.one_in(4)) {
        s.connections = static_cast<std::uint32_t>(dice.between(1, 4));
        s.dek_bytes = dice.between(16, 256) * kib;
    }
    if (dice.one_in(8)) {
        s.bandwidth = dice.between(64, 1024) * kib;
    }
    if (dice.one_in(8)) {
        s.chain_bytes = dice.between(2, 24) * kib;
    }
    s.compression =
        dice.pick({pipeline::CompressionMode::automatic, pipeline::CompressionMode::automatic,
                   pipeline::CompressionMode::zstd, pipeline::CompressionMode::off});
    s.disk_full = dice.one_in(8);
    s.long_retention = dice.one_in(4);
}

// Drawn last.
void draw_departures(Settings& s, Dice& dice) {
    if (s.disks < 2 || !dice.one_in(4)) {
        return;
    }
    s.disk_leaves = static_cast<std::uint32_t>(dice.between(600, 2500));
    s.prune = std::max(s.prune, 400U);
    s.long_retention = false;
}

// G7 is looked at where machines move: in half of the schedules one does. A cache from which
// machines move away is never full.
void draw_takeovers(Settings& s, Dice& dice) {
    if (s.slow_uplink) {
        return;
    }
    if (s.servers == 1 && !dice.one_in(4)) {
        s.servers = 2;
    }
    if (s.servers > 1 && dice.one_in(2)) {
        s.takeover = std::max(s.takeover, static_cast<std::uint32_t>(dice.between(400, 1500)));
    }
}

// Drawn last.
void draw_leases(Settings& s, Dice& dice) {
    s.lease = dice.one_in(5) ? static_cast<std::uint32_t>(dice.between(500, 5000)) : 0;
}

}  // namespace

Settings draw_settings(std::uint64_t seed) {
    Dice dice(seed);
    Settings s;
    s.seed = seed;
    s.servers = dice.between(1, 3);
    s.machines = dice.one_in(4) ? 2 : 1;
    s.disks = dice.between(1, 2);
    // Mostly one super-chunk per disk; sometimes several, which costs time.
    s.disk_bytes =
        dice.one_in(24) ? 4 * mib + dice.between(1, 16) * 64 * kib : dice.between(1, 5) * 32 * kib;
    // Rather many short histories than few long ones: most of what can meet does so within a few
    // actions, and a finding is read by a person.
    s.actions =
        static_cast<std::uint32_t>(dice.one_in(12) ? dice.between(50, 100) : dice.between(10, 27));
    draw_limits(s, dice);
    draw_faults(s, dice);
    draw_devices(s, dice);
    draw_digests(s, dice);
    draw_upload(s, dice);
    draw_departures(s, dice);
    draw_leases(s, dice);
    draw_takeovers(s, dice);
    return s;
}

std::string describe(const Settings& s) {
    std::ostringstream out;
    out << "seed=" << s.seed << " servers=" << s.servers << " machines=" << s.machines
        << " disks=" << s.disks << "x" << s.disk_bytes / kib << "KiB actions=" << s.actions
        << " spool=" << s.spool_bytes / mib << "MiB/" << s.region_bytes / mib << "MiB"
        << " rings=" << s.rings << " backlog=" << s.backlog_records
        << " resident=" << s.resident_bytes / mib << "MiB dribble=" << s.dribble_bytes
        << " cut=" << s.cut << " half_open=" << s.half_open << " stale=" << s.stale_session
        << " kill=" << s.server_kill << " power=" << s.server_power_cut
        << " second_cut=" << s.second_cut << " pause=" << s.server_pause
        << " takeover=" << s.takeover << " clone=" << s.server_clone << " loss=" << s.server_loss
        << " agent(kill=" << s.agent_kill << " power=" << s.agent_power_cut
        << " stop=" << s.agent_stop << " lost=" << s.agent_lost_state
        << " old=" << s.agent_old_state << " clone=" << s.agent_clone
        << " spool=" << s.agent_spool_room / kib << "KiB/" << s.agent_slabs
        << " more=" << s.agent_give_room << ") group=" << s.group << "(fault=" << s.barrier_fault
        << " hold=" << s.barrier_hold_ns / ns_per_ms << "ms) disk(sync=" << s.disk.sync_error
        << " write=" << s.disk.write_error << " delay=" << s.disk.delay_polls_max
        << " rot=" << s.rot << "/" << s.copy_rot << " weak=" << s.disk.read_weak
        << " names=" << s.disk.metadata_error << " astray=" << s.astray
        << " slow_uplink=" << s.slow_uplink << ") agent_disk(sync=" << s.agent_disk.sync_error
        << " write=" << s.agent_disk.write_error << " read=" << s.agent_disk.read_error
        << " delay=" << s.agent_disk.delay_polls_max << "/"
        << s.agent_disk.durable_delay_ns / ns_per_ms << "ms) blob(503=" << s.blob.unavailable
        << " 429=" << s.blob.throttled << " lost_reply=" << s.blob.lost_reply
        << " lost_request=" << s.blob.lost_request << " late=" << s.blob.late
        << ") gc=" << s.collect << " prune=" << s.prune << " rotate=" << s.rotate
        << " digests(none=" << s.digestless << " late=" << s.digests_late
        << " whole_blocks=" << s.whole_blocks << " compare=" << s.compare_bytes_min / kib
        << "KiB) kek=" << s.rotate_kek << " worm=" << s.worm << " clocks_apart=" << s.clocks_apart
        << " tamper=" << s.tamper << " runs=" << s.runs.inline_bytes << "/" << s.runs.run_bytes
        << "x" << s.runs.runs_max << " checkpoints=" << s.checkpoints_kept
        << " age=" << s.segment_age_ns / ns_per_s << "s same_as=" << s.same_as_ns / ns_per_s
        << "s provisional=" << s.provisional_ns / ns_per_s
        << "s look=" << s.ownership_check_ns / ns_per_s << "s read_back=" << s.read_back_every
        << " connections=" << s.connections << " dek=" << s.dek_bytes / kib
        << "KiB bandwidth=" << s.bandwidth / kib << "KiB/s chain=" << s.chain_bytes / kib
        << "KiB compression=" << static_cast<int>(s.compression) << " disk_full=" << s.disk_full
        << " long_retention=" << s.long_retention << " disk_leaves=" << s.disk_leaves
        << " lease=" << s.lease;
    return out.str();
}

}  // namespace cw::sim
