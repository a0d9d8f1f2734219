#include "tests/sim/must_happen.h"

#include <algorithm>
#include <cstdio>
#include <string>

namespace cw::sim {
namespace {

using Number = unsigned long long;

struct Least {
    const char* name;
    std::uint64_t count;  // Of ci_schedules: about a third of what any of them do.
};

// What happens less than five times in them is not insisted on, or a schedule more or less would
// decide: gc.rescued (1), seen.moved_while_read (1), seen.pruned_while_read (0) and
// condition.SPOOL_SLOW (1).
constexpr Least leasts[] = {
    {"fault.kill", 6'800},
    {"fault.power_cut", 2'200},
    {"fault.torn_cut", 500},
    {"fault.power_cut_at_work", 1'000},
    {"fault.kill_at_work", 780},
    {"fault.struck_in_recovery", 630},
    {"fault.second_cut", 1'000},
    {"fault.sync_error", 1'400},
    {"fault.write_error", 250},
    {"fault.bit_rot", 59},
    {"fault.misdirected_write", 10},
    {"fault.lost_write", 48},
    {"fault.bad_sector", 28},
    {"fault.weak_sector", 32},
    {"fault.read_error", 5'000},
    {"fault.weak_read", 1'600},
    {"fault.name_error", 1'100},
    {"fault.astray_lost", 260},
    {"fault.astray_misdirected", 260},
    {"fault.astray_flipped", 250},
    {"fault.slow_uplink", 2'900},
    {"condition.SPOOL_FULL", 12},
    {"condition.agent.IO_ERROR", 2},
    {"fault.superblock_rot", 790},
    {"fault.checkpoint_rot", 1'500},
    {"fault.cut", 490},
    {"fault.half_open", 210},
    {"fault.stale_session", 350},
    {"fault.takeover", 6'300},
    {"fault.server_clone", 480},
    {"fault.server_lost", 1'900},
    {"fault.agent_clone", 440},
    {"fault.agent_clone_stopped", 72},
    {"fault.agent_clone_off", 77},
    {"fault.agent_clone_killed", 76},
    {"fault.agent_clone_running", 77},
    {"fault.agent_clone_at_rest", 140},
    {"fault.agent_clone_turn", 4'300},
    {"fault.digests_late", 11'000},
    {"fault.digests_died", 490},
    {"seen.digests_asked", 7'200},
    {"seen.digests_known", 5'500},
    {"seen.digests_unknown", 1'100},
    {"seen.digests_waited_in_vain", 520},
    {"seen.digests_stale", 970},
    {"seen.compared_equal", 340},
    {"seen.compared_equal_after_all", 50},
    {"seen.compared_blocks_sent", 14'000},
    {"fault.barrier_late", 250},
    {"fault.barrier_cut", 280},
    {"fault.barrier_silent", 280},
    {"fault.pause", 6'300},
    {"fault.agent_kill", 7'300},
    {"fault.agent_power_cut", 420},
    {"fault.agent_stop", 1'900},
    {"fault.agent_lost_state", 920},
    {"fault.agent_lost_state_again", 420},
    {"fault.agent_old_state", 46},
    {"fault.disk_left_out", 780},
    {"fault.disk_back", 770},
    {"seen.disk_back_compared", 110},
    {"seen.disk_back_after_it_was_retired", 10},
    {"fault.lease.data", 570},
    {"fault.lease.manifest", 690},
    {"fault.lease.keys", 1'000},
    {"fault.lease.control", 620},
    {"seen.refused_by_lease", 1'300},
    {"condition.BLOB_LEASED", 160},
    {"fault.wall_jump", 1'400},
    {"fault.clocks_apart", 1'500},
    {"fault.rotation", 1'100},
    {"fault.kek_rotation", 180},
    {"seen.kek_rotation_interrupted", 490},
    {"gc.locked", 31},
    {"gc.rewritten", 2'700},
    {"fault.dribble", 3'000'000},
    {"fault.delay", 970'000},
    {"fault.tampered", 2'700},
    {"fault.tampered.data.erased", 130},
    {"fault.tampered.data.flipped", 140},
    {"fault.tampered.data.swapped", 99},
    {"fault.tampered.manifest.erased", 130},
    {"fault.tampered.manifest.flipped", 130},
    {"fault.tampered.manifest.swapped", 110},
    {"fault.tampered.keys.erased", 140},
    {"fault.tampered.keys.flipped", 140},
    {"fault.tampered.keys.swapped", 77},
    {"fault.tampered.control.erased", 130},
    {"fault.tampered.control.flipped", 130},
    {"fault.tampered.control.swapped", 82},
    {"fault.tampered.control.rolled_back", 130},
    {"fault.blob.unavailable", 23'000},
    {"fault.blob.throttled", 16'000},
    {"fault.blob.lost_reply", 21'000},
    {"fault.blob.lost_request", 17'000},
    {"fault.blob.late", 17'000},
    {"fault.kept_house_while_read", 16'000},
    {"seen.fenced", 710},
    {"condition.SPOOL_LOST_DURABLE", 580},
    {"condition.FENCED", 620},
    {"condition.BLOB_THROTTLED", 3'800},
    {"condition.BLOB_UNAVAILABLE", 10'000},
    {"condition.BLOB_NOT_FOUND", 1'100},
    {"condition.IO_ERROR", 1'200},
    {"condition.IDENTITY_REFUSED", 78},
    {"condition.STATE_SUPERSEDED", 76},
    {"seen.state_superseded", 36},
    {"condition.VAULT_ROLLED_BACK", 21},
    {"condition.CONTROL_LOST", 8},
    {"condition.KEY_UNAVAILABLE", 8},
    {"condition.OBJECT_CORRUPT", 14},
    {"condition.OUT_OF_BUDGET", 130},
    {"fault.disk_full", 3'000},
    {"seen.index_run_stored", 2'000},
    {"seen.index_run_read", 30'000},
    {"seen.segment_read_back", 6'600},
    {"condition.agent.SPOOL_FULL", 53},
    {"seen.agent_spool_grown", 21},
    {"seen.spool_failed", 940},
    {"gc.deleted_segments", 13'000},
    {"gc.deleted_manifests", 10'000},
    {"gc.deleted_index_runs", 420},
    {"prune.points", 1'200},
    {"prune.segments", 5'000},
    {"fault.collected_while_asleep", 390},
    {"fault.killed_before_note", 130},
    {"promise.spooled_survives", 9'600},
    {"promise.welcome_never_goes_back", 23'000},
    {"promise.let_go_when_committed", 38'000},
    {"promise.point_equals_disks", 47'000},
    {"promise.committed_point_is_there", 50'000},
    {"promise.one_content_per_key", 140'000},
    {"promise.one_content_per_name", 62'000},
    {"promise.one_manifest_per_number", 200'000},
    {"promise.credit_comes_back", 6'900},
    {"promise.memory_comes_back", 6'900},
    {"promise.named_segment_is_kept", 44'000},
    {"promise.group_point_is_a_moment", 1'100},
    {"fault.tampered.manifest.rewound", 550},
    {"fault.tampered.manifest.restored", 550},
    {"fault.tampered.keys.rolled_back", 3},
    {"fault.met.keys.erased", 120},
    {"fault.met.keys.flipped", 120},
    {"fault.met.control.erased", 120},
    {"fault.met.manifest.rewound", 270},
    {"fault.met.manifest.restored", 130},
    {"fault.met.unknown_there", 220},
    {"fault.met.by_servers_first", 100},
    {"seen.tampering_refused", 3'000},
    {"seen.rewinding_told_without_witness", 180},
    {"promise.nothing_is_left_behind", 120'000},
    {"promise.condition_is_over", 6'000},
    {"promise.machine_converges", 4'000},
    {"promise.empty_when_all_is_committed", 6'000},
    {"promise.replaced_key_opens_nothing", 200},
    {"promise.one_message_per_key_and_nonce", 270'000},
    {"promise.tampered_point_is_right", 5'200},
    {"promise.server_stops_at_tampering", 830},
};

std::uint64_t count_of(const CampaignResult& result, const std::string& name) {
    const auto found = result.counts.find(name);
    return found == result.counts.end() ? 0 : found->second;
}

}  // namespace

bool everything_happened(const CampaignResult& result) {
    bool all = true;
    for (const Least& least : leasts) {
        const std::uint64_t n = count_of(result, least.name);
        if (n < least.count) {
            std::printf("FAIL sim: %s happened %llu times, not %llu\n", least.name,
                        static_cast<Number>(n), static_cast<Number>(least.count));
            all = false;
        }
    }
    return all;
}

bool shares_are_large(const CampaignResult& result) {
    struct Share {
        const char* name;
        std::uint64_t of;
        std::uint64_t least_one_in;
    };
    const Share shares[] = {
        {"fault.power_cut_at_work", count_of(result, "fault.power_cut"), 2},
        {"fault.torn_cut", count_of(result, "fault.power_cut"), 5},
        {"fault.takeover_in_schedule", result.schedules, 2},
    };
    bool all = true;
    for (const Share& share : shares) {
        const std::uint64_t n = count_of(result, share.name);
        if (n * share.least_one_in < share.of) {
            std::printf("FAIL sim: %s happened %llu times of %llu, fewer than one in %llu\n",
                        share.name, static_cast<Number>(n), static_cast<Number>(share.of),
                        static_cast<Number>(share.least_one_in));
            all = false;
        }
    }
    return all;
}

}  // namespace cw::sim
