#include "tests/sim/mutant_digests.h"

#include "tests/sim/machine.h"
#include "tests/sim/world.h"

#include <algorithm>
#include <iterator>

namespace cw::sim {

void OlderStates::note(const ingest::DigestRequest& request, const ingest::DigestReply& told) {
    told_[{request.machine, request.disk, request.first_block, request.summaries}] = told;
}

std::optional<ingest::DigestReply> OlderStates::answer(const ingest::DigestRequest& request) const {
    const auto found =
        told_.find({request.machine, request.disk, request.first_block, request.summaries});
    if (found == told_.end()) {
        return std::nullopt;
    }
    ingest::DigestReply reply = found->second;
    reply.session = request.session;
    reply.slot = request.slot;
    return reply;
}

void go_on_with_departed(const World& world, std::size_t server, const FingerprintSecret& secret,
                         ingest::DigestReply& reply) {
    const bool back = std::ranges::any_of(world.machines, [&](const auto& one) {
        return one->id() == reply.machine && one->server() == server && one->came_back(reply.slot);
    });
    if (back) {
        reply.known.assign(reply.known.size(), false);
        take_unknown_as_equal(world, server, secret, reply);
    }
}

void take_unknown_as_equal(const World& world, std::size_t server, const FingerprintSecret& secret,
                           ingest::DigestReply& reply) {
    const auto machine = std::ranges::find_if(world.machines, [&](const auto& one) {
        return one->id() == reply.machine && one->server() == server;
    });
    if (machine == world.machines.end()) {
        return;
    }
    const Machine::Images images = (*machine)->images();
    const SharedBytes& disk = std::next(images.begin(), reply.slot)->second;
    std::vector<Fingerprint> all;
    auto told = reply.fingerprints.begin();
    for (std::size_t i = 0; i < reply.known.size(); ++i) {
        const std::uint64_t begin = (reply.first_block + i) * agent::map_block_bytes;
        if (reply.known[i]) {
            all.push_back(*told++);
        } else if (begin + agent::map_block_bytes <= disk.size()) {
            ByteVector block(agent::map_block_bytes);
            disk.read(begin, block);
            all.push_back(fingerprint(block, secret));
            reply.known[i] = true;
        }
    }
    reply.fingerprints = std::move(all);
}

}  // namespace cw::sim
