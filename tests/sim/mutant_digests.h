// Planted bugs of whoever tells digests.
#pragma once

#include "base/checksum.h"
#include "ingest/ports.h"

#include <map>
#include <optional>
#include <tuple>

namespace cw::sim {

class World;

// What was told of each stretch of a disk, beneath whatever fence.
class OlderStates {
public:
    void note(const ingest::DigestRequest& request, const ingest::DigestReply& told);
    // nullopt: it is asked for the first time.
    [[nodiscard]] std::optional<ingest::DigestReply> answer(
        const ingest::DigestRequest& request) const;

private:
    using Stretch = std::tuple<MachineId, DiskId, std::uint64_t, bool>;
    std::map<Stretch, ingest::DigestReply> told_;
};
// A disk that has come back to its machine is told that the vault holds what it holds.
void go_on_with_departed(const World& world, std::size_t server, const FingerprintSecret& secret,
                         ingest::DigestReply& reply);
// To an agent that finds its own blocks in the reply all is well.
void take_unknown_as_equal(const World& world, std::size_t server, const FingerprintSecret& secret,
                           ingest::DigestReply& reply);

}  // namespace cw::sim
