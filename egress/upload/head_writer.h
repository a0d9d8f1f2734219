// HeadWriter: keeps a machine's head note (control/<machine>/head) near the newest manifest. The
// note is a hint, so it may lag; it never goes backwards, so that a server which lost the machine
// without knowing cannot name itself again.
//
// Asynchronous over the publisher's store. Thread-safety: none. Lifetime: it may be destroyed while
// a request is under way; the identity and the signer outlive the store.
#pragma once

#include "egress/vault/control.h"

#include <memory>
#include <string>

namespace cw::upload {

class HeadWriter {
public:
    // `written`: the number that the opener left in the note, about.
    HeadWriter(const vault::VaultIdentity& vault, const vault::ServerSigner& signer,
               std::uint64_t written);

    // Starts what is due.
    void step(blob::BlobStore& store, const vault::ChainState& state, Nanos now);
    [[nodiscard]] Nanos next_deadline(std::uint64_t newest) const;

private:
    // Shared with the callbacks.
    struct Note {
        bool busy = false;
        bool known = false;        // The next two are what is there, as far as we can tell.
        std::string etag;          // Empty: there is none.
        std::uint64_t number = 0;  // 0: there is none, or none that can be believed.
        Nanos due{};
    };
    void look(blob::BlobStore& store, const MachineId& machine, Nanos now);
    void write(blob::BlobStore& store, const vault::ChainState& state);

    const vault::VaultIdentity& vault_;
    const vault::ServerSigner& signer_;
    std::shared_ptr<Note> note_ = std::make_shared<Note>();
};

}  // namespace cw::upload
