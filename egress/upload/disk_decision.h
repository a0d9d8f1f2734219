// What the agent must do with a disk: decided from what it says, what is committed and what this
// server's cache holds. Pure.
#pragma once

#include "egress/upload/ports.h"

namespace cw::upload {

// What this server knows of a disk. Pointers are null when it knows nothing.
struct DiskKnowledge {
    const vault::DiskEntry* committed = nullptr;
    const StreamWatermark* cached = nullptr;  // Of the generation that HELLO names.
    Generation newest_cached{};               // Of the disk's histories in the cache, 0: none.
    bool damaged = false;  // What the cache holds beyond committed cannot be published.
};

// Whose history it is: the high half of a generation grows with each agent that begins without any
// state (generation 0, next sequence 1) on a disk that has a history already, and with nothing
// else. An agent that has lost only its proof goes on in the half that is there.
constexpr std::uint64_t origin_of(Generation generation) noexcept {
    return raw(generation) >> 32;
}

// A HELLO of generation 0 has no history it can prove: it is given an unused one.
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
