#include "egress/vault/past_checkpoints.h"

#include "egress/vault/names.h"

#include <algorithm>

namespace cw::vault {

std::vector<std::uint64_t> past_checkpoints(blob::BlobStore& store, const VaultIdentity& vault,
                                            const MachineKeys& keys, const ChainState& state,
                                            std::size_t count) {
    std::vector<std::uint64_t> out;
    std::uint64_t known = state.newest.checkpoint;
    while (out.size() < count && known > std::max<std::uint64_t>(state.newest.boundary, 1)) {
        const auto before =
            blob::get_and_wait(store, {.name = manifest_blob(state.newest.machine, known - 1),
                                       .offset = 0,
                                       .length = 0,
                                       .if_match = {}});
        const auto manifest =
            before ? open_manifest(before->bytes, vault, keys) : std::unexpected(before.error());
        if (!manifest || manifest->number != known - 1) {
            break;
        }
        const auto past = std::max<std::uint64_t>(manifest->checkpoint, 1);
        if (past >= known || past < state.newest.boundary) {
            break;
        }
        out.push_back(past);
        known = past;
    }
    std::ranges::reverse(out);
    return out;
}

}  // namespace cw::vault
