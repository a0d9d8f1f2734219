#include "tests/sim/oracles/leaks.h"

#include "egress/vault/index_run.h"
#include "egress/vault/names.h"

#include <algorithm>

namespace cw::sim {

using blob::BlobName;

void LeakOracle::add_needed(const recovery::Catalog& chain, std::set<BlobName>& needed) {
    const MachineId& machine = chain.machine();
    const vault::ChainState& state = chain.state();
    needed.insert(vault::machine_keys_blob(machine));
    needed.insert(vault::head_blob(machine));
    needed.insert(vault::gc_boundary_blob(machine));
    needed.insert(vault::manifest_blob(machine, 1));
    for (std::uint64_t number = std::max<std::uint64_t>(state.newest.boundary, 1);
         number <= state.newest.number; ++number) {
        needed.insert(vault::manifest_blob(machine, number));
    }
    for (const auto& entry : state.segments) {
        needed.insert(vault::segment_blob(entry.first));
    }
    for (const auto& [id, run] : state.runs) {
        needed.insert(vault::segment_blob(vault::index_run_name(machine, run)));
    }
}

// An index run of the epoch, later than all that a checkpoint has named.
bool LeakOracle::may_be_named(const recovery::Catalog& chain, const BlobName& name) {
    const auto segment = name.container == blob::Container::data
                             ? vault::parse_segment_blob(name)
                             : Result<vault::SegmentName>(fail(Errc::not_found));
    const vault::ChainState& state = chain.state();
    return segment && segment->machine == chain.machine() && vault::is_index_run(*segment) &&
           (segment->epoch > state.newest.epoch ||
            (segment->epoch == state.newest.epoch && raw(segment->first_seq) > state.run_counter));
}

void LeakOracle::check(const std::vector<BlobName>& names,
                       const std::vector<recovery::Catalog>& chains) {
    std::set<BlobName> needed{vault::vault_keys_blob()};
    for (const recovery::Catalog& chain : chains) {
        add_needed(chain, needed);
    }
    std::size_t left = 0;
    std::string first;
    for (const BlobName& name : names) {
        ++objects;
        const bool kept = needed.contains(name) ||
                          std::ranges::any_of(chains, [&](const recovery::Catalog& chain) {
                              return may_be_named(chain, name);
                          });
        if (!kept && ++left == 1) {
            first = to_string(name);
        }
    }
    if (left > 0) {
        complain_("leaks", std::to_string(left) + " objects that nobody needs are left: " + first);
    }
}

}  // namespace cw::sim
