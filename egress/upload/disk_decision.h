// What the agent must do with a disk: decided from what it says, what is committed and what this
// server's cache holds. Pure.
#pragma once

#include "egress/upload/ports.h"

#include <optional>
#include <set>

namespace cw::upload {

// What this server knows of a disk. Pointers are null when it knows nothing.
struct DiskKnowledge {
    const vault::DiskEntry* committed = nullptr;
    const StreamWatermark* cached = nullptr;  // Of the generation that HELLO names.
    Generation newest_cached{};               // Of the disk's histories in the cache, 0: none.
    // What the cache holds beyond this, or beyond committed, cannot be published. nullopt: it can.
    std::optional<Seq> damaged_after = std::nullopt;
    bool no_room = false;  // A new disk would be one more than a manifest lists.
};

// The disks that a machine's manifests list, or will when its cache is published. A disk that was
// once listed stays so.
class ListedDisks {
public:
    ListedDisks(const vault::Manifest& newest, const std::vector<DiskId>& cached);
    void add(const DiskId& disk) { listed_.insert(disk); }
    [[nodiscard]] bool no_room_for(const DiskId& disk) const;

private:
    std::set<DiskId> listed_;
};

// A HELLO of an older origin (pipeline/generation.h) is superseded: an agent that began without any
// state has taken the disk over since. Which of the two machines is wanted only people know: the
// one that was failed over, or its old source, started again with the state of before.
//
// A HELLO whose generation names no history cannot prove any: it is given an unused one.
//
// The welcome's `generation` is the one the agent continues with: it differs from HELLO's when the
// agent's history is unusable and it must begin a new one. `durable` and `committed` count in it.
//
// catch_up: the generation is kept; the agent opens a fence at its next sequence and sends the
// union of its uncommitted maps as BASE. initial, resync: in an unused generation it opens a fence
// at sequence 1 and sends everything, or what differs; digests may be served only from a manifest
// in which the disk has that generation and `committed` has reached the fence.
pipeline::DiskWelcome decide_disk(const pipeline::DiskHello& hello, const DiskKnowledge& known);

}  // namespace cw::upload
