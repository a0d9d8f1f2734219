// ChainTrail: the hashes of a chain's newest manifests, for comparing what somebody remembers of
// the chain with the manifest of exactly that number.
//
// How far back it goes: to the manifest before the newest checkpoint at the time the chain was read
// (or to the first), and manifests_max at most. Who was connected a moment ago remembers one of the
// newest and is found here. An agent that was away for long, or got an old state directory back,
// remembers an older one, by right: nothing is known of it here, and only the vault can tell.
// Thread-safety: none. A value; 32 bytes per manifest.
#pragma once

#include "base/crypto.h"

#include <cstdint>
#include <deque>
#include <optional>

namespace cw::vault {

class ChainTrail {
public:
    static constexpr std::size_t manifests_max = 512;  // 16 KiB.

    // `number` follows the one that was added last, if any.
    void add(std::uint64_t number, const Sha256& hash);
    // nullopt: it is older than what is kept, or newer than the chain.
    [[nodiscard]] std::optional<Sha256> at(std::uint64_t number) const;
    [[nodiscard]] std::uint64_t bytes() const noexcept { return hashes_.size() * sizeof(Sha256); }

private:
    std::deque<Sha256> hashes_;  // Oldest first, without gaps; the last is of newest_.
    std::uint64_t newest_ = 0;
};

}  // namespace cw::vault
