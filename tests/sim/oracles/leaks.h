// After the last garbage collection nothing is in the vault that nobody needs, in any container.
//
// The bound, per machine: its key object, its head note and its collector's note; its first
// manifest and those from the boundary on; the segments that its chain names; the index runs that
// its newest checkpoint names, and those that its writer may still be about to name.
#pragma once

#include "recovery/catalog.h"
#include "tests/sim/oracles/watch.h"

#include <set>
#include <vector>

namespace cw::sim {

class LeakOracle {
public:
    explicit LeakOracle(Complain complain) : complain_(std::move(complain)) {}
    // `names`: all there is. `chains`: of all machines.
    void check(const std::vector<blob::BlobName>& names,
               const std::vector<recovery::Catalog>& chains);
    Looks objects = 0;

private:
    static void add_needed(const recovery::Catalog& chain, std::set<blob::BlobName>& needed);
    static bool may_be_named(const recovery::Catalog& chain, const blob::BlobName& name);
    Complain complain_;
};

}  // namespace cw::sim
