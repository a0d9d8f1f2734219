#include "tests/sim/mutants.h"

#include <algorithm>
#include <array>

namespace cw::sim {
namespace {

constexpr std::array rows{
    MutantRow{Mutant::ack_before_sync, "ack-before-sync",
              "writes are reported durable without being on the platter", 300, "durability"},
    MutantRow{Mutant::sync_error_retried, "sync-error-retried",
              "after a failed sync the kernel is asked again, and believed", 1000, "durability"},
    MutantRow{Mutant::trusts_page_cache, "trusts-page-cache",
              "a restart reads its log through the page cache", 2000, "durability"},
    MutantRow{Mutant::unsynced_directory, "unsynced-directory",
              "new files are used without a sync of their directory", 300, "durability"},
    MutantRow{Mutant::no_payload_checksum, "no-payload-checksum",
              "what is read back from the cache is not compared with its checksums", 3000,
              "points"},
    MutantRow{Mutant::timeout_is_success, "timeout-is-success",
              "a put whose outcome is unknown counts as stored", 300, "points gc"},
    MutantRow{Mutant::unconditional_manifest, "unconditional-manifest",
              "manifests overwrite what is there", 3000, "fencing"},
    MutantRow{Mutant::name_without_attempt, "name-without-attempt",
              "segments have no attempt in their names", 1000, "fencing"},
    MutantRow{Mutant::trimmed_before_commit, "trimmed-before-commit",
              "the cache forgets what is only durable", 300, "spool"},
    MutantRow{
        Mutant::stale_frames_accepted, "stale-frames-accepted",
        "a session that was displaced is still listened to", 0, "",
        "within one agent a disk, generation and number name one content for ever: a late frame "
        "is a duplicate, comes in order, or is refused as a gap; and a copy of the agent uses "
        "other numbers (docs/decisions/0022), so its frames leave a gap as well. Late frames are "
        "taken 223 times in 1000 seeds, a fifth of them with copies"},
    MutantRow{Mutant::nonce_reused, "nonce-reused",
              "every start draws the same random numbers again", 300, "seals"},
    MutantRow{Mutant::gc_without_boundary, "gc-without-boundary",
              "the collector deletes without announcing it", 2000, "points gc"},
    MutantRow{Mutant::torn_tail_in_the_middle, "torn-tail-in-the-middle",
              "damage in the middle of the log is taken for its end", 300, "durability"},
    MutantRow{Mutant::coalesced_across_point, "coalesced-across-point",
              "a barrier is taken for one record later than it came", 300, "points"},
    MutantRow{Mutant::base_over_writes, "base-over-writes", "initial data lies over newer writes",
              300, "points"},
    MutantRow{Mutant::credit_leak, "credit-leak",
              "some payload never leaves the account of what was promised", 300, "credit"},
    MutantRow{Mutant::lost_wake_up, "lost-wake-up",
              "the cache is not always woken when records wait for it", 300, "convergence"},
    MutantRow{Mutant::slab_leak, "slab-leak", "a slab now and then does not come home", 300,
              "memory"},
    MutantRow{Mutant::prune_too_much, "prune-too-much",
              "retention drops a segment that is still needed", 1000, "points"},
    MutantRow{Mutant::rewrite_hides_one, "rewrite-hides-one",
              "a segment that is written again lacks a chunk that somebody sees", 1000, "points"},
    MutantRow{Mutant::opener_ignores_note, "opener-ignores-note",
              "whoever opens a machine does not ask what was collected", 4000, "points gc"},
    MutantRow{Mutant::seed_kept_on_disk, "seed-kept-on-disk",
              "random numbers come from a seed that a cloned appliance has, too", 4000,
              "seals nonce"},
    MutantRow{Mutant::old_state_believed, "old-state-believed",
              "an agent goes on from whatever state it finds, however old", 8000, "points"},
    MutantRow{Mutant::unread_is_zero, "unread-is-zero",
              "what the cache device cannot read is taken for zeros", 4000, "durability points"},
    MutantRow{Mutant::rotation_not_resumed, "rotation-not-resumed",
              "a rotation of the vault's key that was interrupted is taken for done", 1000, "keys"},
    MutantRow{Mutant::no_own_sequences, "no-own-sequences",
              "an agent always leaves one sequence out, so its copy goes on with the same ones",
              4000, "points"},
    MutantRow{Mutant::released_before_ready, "released-before-ready",
              "a group is let go before every machine of it is held", 300, "groups"},
    MutantRow{Mutant::nobody_held, "nobody-held",
              "the writers of a disk do not pass the gate that a barrier closes", 300, "groups"},
    MutantRow{Mutant::spooled_is_committed, "spooled-is-committed",
              "agents are told that what a server holds is in the vault", 300, "points"},
    MutantRow{Mutant::timers_by_wall, "timers-by-wall-clock",
              "what waits, waits until an hour of the day", 300, "convergence idle"},
    MutantRow{Mutant::keys_made_anew, "keys-made-anew",
              "a server does not ask whether a machine without keys has been here before", 1000,
              "tampering"},
    MutantRow{Mutant::wrap_nonce_fixed, "wrap-nonce-fixed",
              "each key is wrapped by the vault's key with the same nonce", 300, "seals"},
    MutantRow{Mutant::note_left_beside, "note-left-beside",
              "the collector writes its note beside the old one first, and leaves that", 300,
              "leaks"},
    MutantRow{Mutant::manifests_kept, "manifests-kept",
              "the collector takes manifests for gone that it did not delete", 300, "leaks"},
    MutantRow{Mutant::witness_forgotten, "witness-forgotten",
              "what an agent has seen counts only while it is newer than what its server has", 4000,
              "durability tampering"},
    MutantRow{Mutant::digest_from_older_state, "digest-from-older-state",
              "disks are compared with what was committed when they were compared last", 300,
              "points"},
    MutantRow{Mutant::unknown_taken_as_equal, "unknown-taken-as-equal",
              "blocks of which the vault tells nothing count as equal", 300, "points"},
    MutantRow{Mutant::departed_gone_on_with, "departed-gone-on-with",
              "a disk that was left out goes on with what it holds when it is back", 300, "points"},
    MutantRow{Mutant::deleted_undecided, "deleted-undecided",
              "upkeep deletes what nobody sees any more, and no manifest says so", 1000, "gc"},
    MutantRow{Mutant::buffer_reused, "buffer-reused",
              "an object is put again from a buffer that something else was written to meanwhile",
              300, "nonce"},
    MutantRow{Mutant::never_rests, "never-rests", "a stage without work asks to be called at once",
              300, "idle"},
    MutantRow{Mutant::never_let_go, "never-let-go",
              "the cache keeps some of what is in the vault until it is started again", 300,
              "spool"},
    MutantRow{Mutant::shown_again, "shown-again",
              "that the store was away is shown again whenever it is over", 300, "condition"},
};

}  // namespace

std::span<const MutantRow> mutant_rows() {
    return rows;
}

Mutant mutant_of_tools(Mutant mutant) {
    const bool of_servers =
        mutant == Mutant::opener_ignores_note || mutant == Mutant::keys_made_anew;
    return of_servers ? Mutant::none : mutant;
}

std::optional<Mutant> find_mutant(std::string_view name) {
    const auto found = std::ranges::find(rows, name, &MutantRow::name);
    return found == rows.end() ? std::nullopt : std::optional(found->mutant);
}

}  // namespace cw::sim
