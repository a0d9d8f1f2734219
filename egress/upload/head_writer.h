// HeadWriter: keeps a machine's head note (control/<machine>/head) near the newest manifest. The
// note is a hint, so it may lag; it never goes backwards, so that a server which lost the machine
// without knowing cannot name itself again.
//
// A note that cannot be written, because somebody holds a lease on it or locked it, costs nobody a
// point. It is a condition about "head of machine …", tried again with the next interval.
//
// Asynchronous over the publisher's store. Thread-safety: none. Lifetime: it may be destroyed while
// a request is under way; the identity, the signer and the conditions outlive the store.
#pragma once

#include "base/conditions.h"
#include "egress/vault/control.h"

#include <memory>
#include <optional>
#include <string>

namespace cw::upload {

class HeadWriter {
public:
    // `written`: the number that the opener left in the note, about.
    HeadWriter(const vault::VaultIdentity& vault, const vault::ServerSigner& signer,
               Conditions& conditions, std::uint64_t written);
    ~HeadWriter();
    HeadWriter(const HeadWriter&) = delete;
    HeadWriter& operator=(const HeadWriter&) = delete;

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
        bool orphaned = false;  // Its writer is gone: nothing is told any more.
        std::string subject;
        std::optional<Errc> told;
    };
    static void tell(Note& note, Conditions& conditions, const std::optional<Error>& trouble);
    void look(blob::BlobStore& store, const MachineId& machine, Nanos now);
    void write(blob::BlobStore& store, const vault::ChainState& state);

    const vault::VaultIdentity& vault_;
    const vault::ServerSigner& signer_;
    Conditions& conditions_;
    std::shared_ptr<Note> note_ = std::make_shared<Note>();
};

}  // namespace cw::upload
