#include "agent/scan/source_freeze.h"

namespace cw::agent {

std::optional<Result<void>> SourceFreeze::proof(std::int64_t since_thaw_ns) const {
    if (error()) {
        return std::unexpected(*error());
    }
    if (state() == State::idle || state() == State::finishing) {
        return Result<void>{};
    }
    if (since_thaw_ns >= proof_limit_ns) {
        return fail(unfrozen(), "the thaw was not confirmed within " +
                                    std::to_string(proof_limit_ns / ns_per_s) + " s");
    }
    return std::nullopt;
}

}  // namespace cw::agent
