#include "tests/sim/oracles/resources.h"

namespace cw::sim {

void CreditOracle::check(std::uint64_t reserved, std::uint64_t unused_by_sessions) {
    ++looks;
    if (reserved != unused_by_sessions) {
        complain_("credit", std::to_string(reserved) + " bytes are reserved, sessions hold " +
                                std::to_string(unused_by_sessions));
    }
}

void MemoryOracle::check(std::size_t slabs_out, const char* when) {
    ++looks;
    if (slabs_out != 0) {
        complain_("memory", std::to_string(slabs_out) + " slabs are not home " + when);
    }
}

void GcOracle::check_named(const vault::ChainState& chain,
                           const std::set<blob::BlobName>& present) {
    for (const auto& entry : chain.segments) {
        ++segments;
        const blob::BlobName name = vault::segment_blob(entry.first);
        if (!present.contains(name)) {
            complain_("gc", "the chain names " + to_string(name) + ", which is gone");
        }
    }
}

}  // namespace cw::sim
