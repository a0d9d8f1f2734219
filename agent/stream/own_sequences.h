// OwnSequences: sequences that name who used them.
//
// Two machines made from one snapshot have one identity, one history and one sequence limit. If
// each went on from there, a server that both of them reach by turns would hold one history of two
// disks. So each start of an agent begins its sequences at a random distance above the limit, with
// a fence, and its state file keeps where its own sequences lie (DiskState::own). What a server
// holds of a history ends with a sequence; if that is none of the agent's own, another one wrote
// beneath this identity, and the agent begins a new history instead of going on in that one. The
// number is in every cache and every manifest already: it survives restarts and takeovers of
// servers, and no server must know of it.
//
// Thread-safety: values.
#pragma once

#include "base/ids.h"
#include "base/random.h"

namespace cw::agent {

struct OwnSequences {
    bool begun = false;    // By this start of the agent, in this generation.
    Seq after{}, first{};  // Of the newest leap: the fence `first` follows sequence `after`.
    Seq sent{};            // The highest that a server was sent, as far as anybody can know.

    // What HELLO says of the oldest record that is held: sequences that were never used are not
    // missing.
    [[nodiscard]] Seq held_from(Seq oldest) const noexcept {
        return raw(first) != 0 && oldest == first ? next(after) : oldest;
    }
    // Whether the record at `oldest` can be placed only by a server that takes leaps.
    [[nodiscard]] bool leaps_at(Seq oldest) const noexcept {
        return raw(first) != 0 && oldest == first && next(after) != first;
    }
};

// How many sequences are left out. After 2^61 (two million starts) none: they end at 2^62.
inline std::uint64_t random_leap(Random& random, Seq next) {
    constexpr std::uint64_t leap_max = 1ULL << 40, seq_end = 1ULL << 61;
    return raw(next) < seq_end ? 1 + random.below(leap_max) : 0;
}

}  // namespace cw::agent
