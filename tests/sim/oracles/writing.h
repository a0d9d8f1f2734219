// Two oracles over everything that is put into the vault.
#pragma once

#include "base/checksum.h"
#include "egress/blob/store.h"
#include "tests/sim/oracles/watch.h"

#include <map>
#include <set>
#include <string>

namespace cw::sim {

// No key is used for two contents: a segment's key commitment and a manifest's salt each stand for
// one key whose nonces begin anew.
class NonceOracle {
public:
    explicit NonceOracle(Complain complain) : complain_(std::move(complain)) {}
    void on_put(const blob::PutRequest& request, Bytes object, const Sha256& content);
    Looks keys = 0;

private:
    Complain complain_;
    std::map<std::string, Sha256> used_;  // By key identity.
};

// Segments and manifests are created, never replaced; a name has one content for ever; what was
// told as committed under a number is what the vault has under it.
class FencingOracle {
public:
    explicit FencingOracle(Complain complain) : complain_(std::move(complain)) {}
    void on_put(const blob::PutRequest& request, const Sha256& content);
    void on_committed(const pipeline::Committed& committed);
    // What a server writes is a chain that it can go on from: none is given up.
    void on_given_up(const std::string& why) {
        complain_("chain", "a server gave a machine up: " + why);
    }
    // A number that was collected may be created again, by who slept meanwhile: the collector's
    // note tells him that nobody reads it.
    void on_remove(const blob::BlobName& name) {
        content_.erase(name);
        removed_.insert(name);
    }
    // By number; an agent may still be about to hear of the last.
    [[nodiscard]] std::map<std::uint64_t, Sha256> committed_of(const MachineId& machine) const;
    // An adversary has taken the newest manifests, and what knew of them: a server that has not
    // seen them gives their numbers again, until an agent is heard. `is_there`: what is left.
    void on_taken_back(const std::function<bool(const blob::BlobName&)>& is_there);
    // Each object's first content, if it is still there, must be its last.
    void check(const std::function<std::optional<ByteVector>(const blob::BlobName&)>& bytes_of);
    Looks names = 0, manifests = 0;

private:
    Complain complain_;
    std::map<blob::BlobName, Sha256> content_;  // Data: of all puts; a name is tried by one only.
    std::map<std::pair<MachineId, std::uint64_t>, Sha256> told_;
    std::set<blob::BlobName> removed_;
};

}  // namespace cw::sim
