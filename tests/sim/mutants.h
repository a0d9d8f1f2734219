// Planted bugs: what the simulator must notice, or it proves nothing.
//
// Each is a decorator around a seam or a wrong connection between two real parts, compiled into
// this one program and chosen by name; no shipped library knows of them.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace cw::sim {

enum class Mutant : std::uint8_t {
    none,
    ack_before_sync,
    sync_error_retried,
    trusts_page_cache,
    no_payload_checksum,
    timeout_is_success,
    unconditional_manifest,
    name_without_attempt,
    trimmed_before_commit,
    stale_frames_accepted,
    nonce_reused,
    gc_without_boundary,
    torn_tail_in_the_middle,
    coalesced_across_point,
    base_over_writes,
    credit_leak,
    lost_wake_up,
    unsynced_directory,
    slab_leak,
    prune_too_much,
    rewrite_hides_one,
    opener_ignores_note,
    seed_kept_on_disk,
    old_state_believed,
    unread_is_zero,
    rotation_not_resumed,
    no_own_sequences,
    released_before_ready,
    nobody_held,
    spooled_is_committed,
    timers_by_wall,
    keys_made_anew,
    wrap_nonce_fixed,
    note_left_beside,
    manifests_kept,
    witness_forgotten,
    digest_from_older_state,
    unknown_taken_as_equal,
    departed_gone_on_with,
    deleted_undecided,
    buffer_reused,
    never_rests,
    never_let_go,
    shown_again,
};

struct MutantRow {
    Mutant mutant;
    std::string_view name;
    std::string_view what;          // For people.
    std::uint64_t seeds_max;        // It must be caught within so many seeds,
    std::string_view oracles;       // by one of these, with a blank between them.
    std::string_view equivalent{};  // Why it cannot be seen, if it cannot.
};

std::span<const MutantRow> mutant_rows();
// The same for whoever only reads or collects: they read the note that an opener ignores, and make
// no keys.
Mutant mutant_of_tools(Mutant mutant);
std::optional<Mutant> find_mutant(std::string_view name);

}  // namespace cw::sim
