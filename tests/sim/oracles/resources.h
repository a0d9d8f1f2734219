// Oracles over what must be given back: credit, memory, and objects in the vault.
#pragma once

#include "egress/vault/manifest.h"
#include "tests/sim/oracles/watch.h"

#include <set>

namespace cw::sim {

// Credit that was granted and is not held by a session is cache space lost until a restart.
class CreditOracle {
public:
    explicit CreditOracle(Complain complain) : complain_(std::move(complain)) {}
    // When nothing is in flight: what is reserved is what the sessions may still send.
    void check(std::uint64_t reserved, std::uint64_t unused_by_sessions);
    Looks looks = 0;

private:
    Complain complain_;
};

// Slabs come home when nothing is queued, and when their process has died.
class MemoryOracle {
public:
    explicit MemoryOracle(Complain complain) : complain_(std::move(complain)) {}
    void check(std::size_t slabs_out, const char* when);
    Looks looks = 0;

private:
    Complain complain_;
};

// Garbage collection deletes nothing that the chain names.
class GcOracle {
public:
    explicit GcOracle(Complain complain) : complain_(std::move(complain)) {}
    void check_named(const vault::ChainState& chain, const std::set<blob::BlobName>& present);
    Looks segments = 0;

private:
    Complain complain_;
};

}  // namespace cw::sim
