#include "egress/vault/chain_trail.h"

#include "base/assert.h"

namespace cw::vault {

void ChainTrail::add(std::uint64_t number, const Sha256& hash) {
    CW_ASSERT(number > 0 && (hashes_.empty() || number == newest_ + 1));
    hashes_.push_back(hash);
    newest_ = number;
    if (hashes_.size() > manifests_max) {
        hashes_.pop_front();
    }
}

std::optional<Sha256> ChainTrail::at(std::uint64_t number) const {
    if (number > newest_ || newest_ - number >= hashes_.size()) {
        return std::nullopt;
    }
    return hashes_[hashes_.size() - 1 - (newest_ - number)];
}

}  // namespace cw::vault
