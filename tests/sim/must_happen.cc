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

constexpr Least leasts[] = {
    {"fault.kill", 1},
    {"fault.power_cut", 1},
    {"fault.torn_cut", 1},
    {"fault.power_cut_at_work", 1},
    {"fault.kill_at_work", 1},
    {"fault.struck_in_recovery", 1},
    {"fault.second_cut", 1},
    {"fault.sync_error", 1},
    {"fault.write_error", 1},
    {"fault.bit_rot", 1},
    {"fault.misdirected_write", 1},
    {"fault.lost_write", 1},
    {"fault.bad_sector", 1},
    {"fault.weak_sector", 1},
    {"fault.read_error", 1},
    {"fault.weak_read", 1},
    {"fault.name_error", 1},
    {"fault.astray_lost", 1},
    {"fault.astray_misdirected", 1},
    {"fault.astray_flipped", 1},
    {"fault.slow_uplink", 1},
    {"condition.SPOOL_FULL", 1},
    {"condition.agent.IO_ERROR", 1},
    {"fault.superblock_rot", 1},
    {"fault.checkpoint_rot", 1},
    {"fault.cut", 1},
    {"fault.half_open", 1},
    {"fault.stale_session", 1},
    {"fault.takeover", 1},
    {"fault.server_clone", 1},
    {"fault.server_lost", 1},
    {"fault.agent_clone", 1},
    {"fault.agent_clone_stopped", 1},
    {"fault.agent_clone_off", 1},
    {"fault.agent_clone_killed", 1},
    {"fault.agent_clone_running", 1},
    {"fault.agent_clone_at_rest", 1},
    {"fault.agent_clone_turn", 1},
    {"fault.barrier_late", 1},
    {"fault.barrier_cut", 1},
    {"fault.barrier_silent", 1},
    {"fault.pause", 1},
    {"fault.agent_kill", 1},
    {"fault.agent_power_cut", 1},
    {"fault.agent_stop", 1},
    {"fault.agent_lost_state", 1},
    {"fault.agent_lost_state_again", 1},
    {"fault.agent_old_state", 1},
    {"fault.wall_jump", 1},
    {"fault.clocks_apart", 1},
    {"fault.rotation", 1},
    {"fault.kek_rotation", 1},
    {"seen.kek_rotation_interrupted", 1},
    {"gc.locked", 1},
    {"gc.rewritten", 1},
    {"fault.dribble", 1},
    {"fault.delay", 1},
    {"fault.tampered", 1},
    {"fault.tampered.data.erased", 1},
    {"fault.tampered.data.flipped", 1},
    {"fault.tampered.data.swapped", 1},
    {"fault.tampered.manifest.erased", 1},
    {"fault.tampered.manifest.flipped", 1},
    {"fault.tampered.manifest.swapped", 1},
    {"fault.tampered.keys.erased", 1},
    {"fault.tampered.keys.flipped", 1},
    {"fault.tampered.keys.swapped", 1},
    {"fault.tampered.control.erased", 1},
    {"fault.tampered.control.flipped", 1},
    {"fault.tampered.control.swapped", 1},
    {"fault.tampered.control.rolled_back", 1},
    {"fault.blob.unavailable", 1},
    {"fault.blob.throttled", 1},
    {"fault.blob.lost_reply", 1},
    {"fault.blob.lost_request", 1},
    {"fault.blob.late", 1},
    {"fault.kept_house_while_read", 1},
    {"seen.fenced", 1},
    {"condition.SPOOL_LOST_DURABLE", 1},
    {"condition.FENCED", 1},
    {"condition.BLOB_THROTTLED", 1},
    {"condition.BLOB_UNAVAILABLE", 1},
    {"condition.BLOB_NOT_FOUND", 1},
    {"condition.IO_ERROR", 1},
    {"condition.IDENTITY_REFUSED", 1},
    {"condition.STATE_SUPERSEDED", 1},
    {"seen.state_superseded", 1},
    {"condition.agent.SPOOL_FULL", 1},
    {"seen.agent_spool_grown", 1},
    {"seen.spool_failed", 1},
    {"gc.deleted_segments", 1},
    {"prune.points", 1},
    {"fault.collected_while_asleep", 1},
    {"fault.killed_before_note", 1},
    {"promise.spooled_survives", 1},
    {"promise.welcome_never_goes_back", 1},
    {"promise.point_equals_disks", 1},
    {"promise.committed_point_is_there", 1},
    {"promise.one_content_per_key", 1},
    {"promise.one_content_per_name", 1},
    {"promise.one_manifest_per_number", 1},
    {"promise.credit_comes_back", 1},
    {"promise.memory_comes_back", 1},
    {"promise.named_segment_is_kept", 1},
    {"promise.group_point_is_a_moment", 1},
    {"fault.tampered.manifest.rewound", 1},
    {"fault.tampered.manifest.restored", 1},
    {"fault.tampered.keys.rolled_back", 1},
    {"fault.met.keys.erased", 1},
    {"fault.met.keys.flipped", 1},
    {"fault.met.control.erased", 1},
    {"fault.met.manifest.rewound", 1},
    {"seen.tampering_refused", 1},
    {"seen.rewinding_told_without_witness", 1},
    {"promise.nothing_is_left_behind", 1},
    {"promise.one_message_per_key_and_nonce", 1},
    {"promise.tampered_point_is_right", 1},
    {"promise.server_stops_at_tampering", 1},
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
        {"fault.takeover_in_schedule", result.schedules, 3},
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
