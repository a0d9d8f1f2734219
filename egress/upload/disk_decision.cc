#include "egress/upload/disk_decision.h"

#include "pipeline/generation.h"
#include "pipeline/point.h"

#include <algorithm>

namespace cw::upload {
namespace {

using pipeline::DiskAction;
using pipeline::DiskHello;
using pipeline::DiskWelcome;

// A point names each disk of its machine once.
static_assert(pipeline::disks_per_machine_max == vault::disks_per_manifest_max);

// Nothing larger is sold; a peer's number beyond it is nonsense.
constexpr std::uint64_t disk_bytes_max = 64ULL << 40;
// No disk begins so often, in either half of a generation.
constexpr std::uint64_t beginnings_max = 1ULL << 31;

void set_bits(ByteVector& bitmap, const std::vector<std::uint32_t>& ordinals) {
    for (const std::uint32_t ordinal : ordinals) {
        const std::size_t at = ordinal / 8;
        if (at >= bitmap.size()) {
            bitmap.resize(at + 1);
        }
        bitmap[at] |= std::byte{1} << (ordinal % 8);
    }
}

DiskWelcome answer(const DiskHello& hello, DiskAction action, std::string reason = {}) {
    DiskWelcome welcome;
    welcome.disk = hello.disk;
    welcome.generation = hello.generation;
    welcome.action = action;
    welcome.reason = std::move(reason);
    return welcome;
}

// The fence that is open at the durable end of the history, and what is held beneath it.
void fill_fence(DiskWelcome& welcome, const vault::DiskEntry* entry,
                const StreamWatermark* cached) {
    const bool same = entry != nullptr && entry->generation == welcome.generation;
    const Seq chain_fence = same ? entry->open_fence : Seq{};
    const Seq committed = same ? entry->committed : Seq{};
    // The cache knows better as soon as it holds anything beyond the manifest.
    const bool ahead = cached != nullptr && cached->durable > committed;
    welcome.fence = ahead ? cached->fence : chain_fence;
    welcome.resync_open = raw(welcome.fence) != 0;
    if (!welcome.resync_open) {
        return;
    }
    if (welcome.fence == chain_fence) {
        welcome.base_durable = entry->base_done;
    }
    if (cached != nullptr && cached->fence == welcome.fence) {
        set_bits(welcome.base_durable, cached->base_ordinals);
    }
}

// True if the vault holds content that a new history can be compared with.
bool has_content(const DiskHello& hello, const vault::DiskEntry* entry) {
    return entry != nullptr && hello.size_bytes >= entry->size_bytes &&
           (raw(entry->committed) > 0 || raw(entry->parent_generation) != 0);
}

// Generation 0: nothing is known. It is the vault's, or of what waits here to get there.
Generation newest_known(const DiskKnowledge& known) {
    return std::max(known.committed != nullptr ? known.committed->generation : Generation{},
                    known.newest_cached);
}

// An agent must not bring its disk to where numbers end: beyond what is known here it may name what
// another server gave it, which is far from there.
bool may_be_given(Generation generation, Generation newest) {
    const std::uint64_t origin = pipeline::origin_of(generation);
    const auto history = static_cast<std::uint32_t>(raw(generation));
    return origin < UINT32_MAX &&
           (generation <= newest || (origin < beginnings_max && history < beginnings_max));
}

bool without_state(const DiskHello& hello) {
    return raw(hello.generation) == 0 && raw(hello.next_seq) == 1;
}

DiskWelcome refuse_superseded(const DiskHello& hello, Generation newest) {
    DiskWelcome welcome =
        answer(hello, DiskAction::reject,
               "the state of this agent is of generation " + std::to_string(raw(hello.generation)) +
                   ", origin " + std::to_string(pipeline::origin_of(hello.generation)) +
                   "; an agent that began without a state sends the disk now, of origin " +
                   std::to_string(pipeline::origin_of(newest)));
    welcome.superseded = true;
    return welcome;
}

// Above every one that may have been used.
Generation unused_generation(const DiskHello& hello, const DiskKnowledge& known) {
    const Generation newest = std::max(hello.generation, newest_known(known));
    return without_state(hello) && raw(newest) != 0 ? pipeline::first_of_next_origin(newest)
                                                    : Generation{raw(newest) + 1};
}

// Everything again, compared with what there is. Sequences that the agent has used in its history
// must never come again with other content (an older server's cache may still hold them), so unless
// the history is unused the agent begins a new one.
DiskWelcome begin_history(const DiskHello& hello, const DiskKnowledge& known, bool unused,
                          std::string reason) {
    const DiskAction action =
        has_content(hello, known.committed) ? DiskAction::resync : DiskAction::initial;
    DiskWelcome welcome = answer(hello, action, std::move(reason));
    if (!unused) {
        welcome.generation = unused_generation(hello, known);
    }
    return welcome;
}

std::string gap_text(Seq durable, Seq oldest_held) {
    return "writes between sequence " + std::to_string(raw(durable)) + " and " +
           std::to_string(raw(oldest_held)) + " are not held any more";
}

std::string size_text(const DiskHello& hello, const vault::DiskEntry& entry) {
    return "resize: the size changed from " + std::to_string(entry.size_bytes) + " to " +
           std::to_string(hello.size_bytes) + " bytes";
}

// Why a disk of which the agent can prove nothing is compared.
std::string unproven_text(const vault::DiskEntry* entry) {
    return entry != nullptr && raw(entry->open_fence) != 0
               ? "seed: compared with a first copy that did not end"
               : "the agent has no history it can prove";
}

// `committed` and `entry` are of the history that HELLO names, or zero and null.
DiskWelcome decide_history(const DiskHello& hello, const DiskKnowledge& known, Seq committed,
                           const vault::DiskEntry* entry) {
    const Seq cached = known.cached != nullptr ? known.cached->durable : Seq{};
    const bool damaged =
        known.damaged_after.has_value() || (known.cached != nullptr && known.cached->base_lost);
    const StreamWatermark* const usable = damaged ? nullptr : known.cached;
    // What is published all the same is not to come again: its sequences are used.
    const Seq sound = std::max(committed, known.damaged_after.value_or(Seq{}));
    const Seq durable = damaged ? sound : std::max(committed, cached);
    if (hello.next_seq <= std::max(committed, cached)) {
        return begin_history(hello, known, false,
                             "the agent's history ends before sequence " +
                                 std::to_string(raw(hello.next_seq)) + ", but " +
                                 std::to_string(raw(std::max(committed, cached))) +
                                 " is stored: it went back in time");
    }
    DiskWelcome welcome = answer(hello, DiskAction::continue_);
    welcome.durable = durable;
    welcome.committed = committed;
    if (damaged || hello.oldest_held > next(durable)) {
        if (!hello.catch_up_possible) {
            return begin_history(
                hello, known, false,
                damaged ? "writes in the cache are damaged" : gap_text(durable, hello.oldest_held));
        }
        welcome.action = DiskAction::catch_up;
        welcome.reason =
            damaged ? "writes in the cache are damaged" : gap_text(durable, hello.oldest_held);
        return welcome;
    }
    fill_fence(welcome, entry, usable);
    return welcome;
}

DiskWelcome decide_same_history(const DiskHello& hello, const DiskKnowledge& known) {
    const vault::DiskEntry& entry = *known.committed;
    const Seq cached = known.cached != nullptr ? known.cached->durable : Seq{};
    if (raw(std::max(entry.committed, cached)) == 0 && raw(hello.next_seq) == 1) {
        return begin_history(hello, known, true, "nothing of this history is stored yet");
    }
    // Nothing is under way that could explain these.
    const bool settled = cached <= entry.committed && hello.next_seq == next(entry.committed);
    if (settled && hello.size_bytes != entry.size_bytes) {
        return begin_history(hello, known, false, size_text(hello, entry));
    }
    if (cached <= entry.committed && raw(entry.committed) > 0 && !entry.protected_ &&
        raw(entry.open_fence) == 0) {
        return begin_history(hello, known, false, "the disk was not protected for a while");
    }
    return decide_history(hello, known, entry.committed, &entry);
}

}  // namespace

ListedDisks::ListedDisks(const vault::Manifest& newest, const std::vector<DiskId>& cached)
    : listed_(cached.begin(), cached.end()) {
    for (const vault::DiskEntry& disk : newest.disks) {
        listed_.insert(disk.disk);
    }
}

bool ListedDisks::no_room_for(const DiskId& disk) const {
    return listed_.size() >= vault::disks_per_manifest_max && !listed_.contains(disk);
}

DiskWelcome decide_disk(const DiskHello& hello, const DiskKnowledge& known) {
    const Generation newest = newest_known(known);
    if (raw(hello.next_seq) == 0 || hello.size_bytes == 0 || hello.size_bytes % sector_bytes != 0 ||
        hello.size_bytes > disk_bytes_max || hello.oldest_held > hello.next_seq ||
        !may_be_given(hello.generation, newest)) {
        return answer(hello, DiskAction::reject, "size, sequence or generation is impossible");
    }
    if (known.no_room) {
        return answer(hello, DiskAction::reject,
                      "the machine has had " + std::to_string(vault::disks_per_manifest_max) +
                          " other disks, which is the most that it can have: enrol it as another");
    }
    const vault::DiskEntry* const entry = known.committed;
    if (!without_state(hello) &&
        pipeline::origin_of(hello.generation) < pipeline::origin_of(newest)) {
        return refuse_superseded(hello, newest);
    }
    if (!pipeline::names_history(hello.generation)) {
        const bool resized = entry != nullptr && entry->size_bytes != hello.size_bytes;
        return begin_history(hello, known, false,
                             resized ? size_text(hello, *entry) : unproven_text(entry));
    }
    // Replaced in the vault, or by what waits here to get there: a copy of the machine has sent it,
    // or this agent itself, whose state is an old one.
    if (hello.generation < newest) {
        return begin_history(hello, known, false,
                             "the agent's history (generation " +
                                 std::to_string(raw(hello.generation)) +
                                 ") was replaced by generation " + std::to_string(raw(newest)));
    }
    if (entry != nullptr && hello.generation == entry->generation) {
        return decide_same_history(hello, known);
    }
    if (known.cached != nullptr && raw(known.cached->durable) > 0) {
        return decide_history(hello, known, Seq{}, nullptr);
    }
    return begin_history(hello, known, raw(hello.next_seq) == 1,
                         entry == nullptr ? "the disk is new here"
                                          : "the disk has a new history: generation " +
                                                std::to_string(raw(hello.generation)) + " after " +
                                                std::to_string(raw(entry->generation)));
}

}  // namespace cw::upload
