#include "agent/stream/witness_keeper.h"

#include "base/log.h"

namespace cw::agent {

WitnessKeeper::WitnessKeeper(StateFile& state) : state_(state) {
    const AgentState before = state_.get();
    number_ = noted_ = before.witness_number;
    hash_ = before.witness_hash;
}

void WitnessKeeper::take(std::uint64_t number, const Sha256& hash) noexcept {
    if (number > number_) {
        number_ = number;
        hash_ = hash;
    }
}

Nanos WitnessKeeper::tend(Nanos now) {
    if (number_ == noted_) {
        return Nanos{INT64_MAX};
    }
    if (now - due_ < 0) {
        return due_;
    }
    due_ = now + note_every_ns;
    const auto noted = state_.update([&](AgentState& state) {
        state.witness_number = number_;
        state.witness_hash = hash_;
    });
    if (!noted) {
        log_warning("agent.witness", {{"error", noted.error()}});
        return due_;
    }
    noted_ = number_;
    return Nanos{INT64_MAX};
}

}  // namespace cw::agent
