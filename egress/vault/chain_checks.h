// The rules between one manifest and the next, in parts: chain.cc puts them together. Private to
// the vault room.
#pragma once

#include "egress/vault/manifest.h"

#include <set>

namespace cw::vault {

// An error about `next`.
std::unexpected<Error> broken(const Manifest& next, const std::string& what);

// Rules of a manifest by itself.
Result<void> check_form(const Manifest& next);
// A point is complete and within what is committed, and no disk of it has a fence open at its cut.
Result<void> check_point(const Manifest& next, const PointEntry& point);

std::size_t entries_of(const IndexRunRef& run);
bool is_dead(const IndexRunRef& run, std::size_t entry);
// How many of the entries [from, to) are not dead.
std::size_t alive_in(const IndexRunRef& run, std::size_t from, std::size_t to);

// What a checkpoint's runs keep alive, beside what it repeats itself.
struct Kept {
    std::set<std::uint32_t> runs;  // Known before, and named again.
    std::size_t segments = 0, points = 0;
};
// Of the manifest that a chain is read from.
Result<Kept> check_first_runs(const Manifest& first);
// The lists of `next` against the state, before anything is changed. A checkpoint repeats what the
// state holds, itself or in its runs, and may add to it.
Result<Kept> check_runs(const ChainState& state, const Manifest& next,
                        const std::vector<IndexRun>& fresh);
Result<void> check_segments(const ChainState& state, const Manifest& next,
                            const std::vector<IndexRun>& fresh, const Kept& kept);
Result<void> check_points(const ChainState& state, const Manifest& next,
                          const std::vector<IndexRun>& fresh, const Kept& kept);

// A takeover may take back what nobody was told of (FORMAT.md): no segment and no point of it
// stays.
Result<void> check_taken_back(const ChainState& state, const Manifest& next);

}  // namespace cw::vault
