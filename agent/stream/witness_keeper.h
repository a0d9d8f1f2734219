// WitnessKeeper: the newest manifest of this machine that a server has told of. HELLO names it, so
// that no server goes on with a vault that was put back to an earlier day.
//
// It is written down while the agent runs, not only when it stops: after a kill the agent still
// bears witness of what was committed up to a minute before. An older witness is as good as far as
// it reaches: a server compares the manifest of exactly its number.
//
// Thread-safety: none; the replicator's thread. Lifetime: `state` outlives it.
#pragma once

#include "agent/state_file.h"
#include "base/clock.h"

namespace cw::agent {

class WitnessKeeper {
public:
    static constexpr std::int64_t note_every_ns = 60 * ns_per_s;

    explicit WitnessKeeper(StateFile& state);

    // A manifest is committed. One that is not newer changes nothing.
    void take(std::uint64_t number, const Sha256& hash) noexcept;
    // Writes the witness down where it is newer than what is written and the last time was long
    // enough ago. A state that cannot be written is logged and tried again after that time: what is
    // lacking then is evidence, no data. Returns when it wants to be called again at the latest.
    Nanos tend(Nanos now);

    [[nodiscard]] std::uint64_t number() const noexcept { return number_; }
    [[nodiscard]] const Sha256& hash() const noexcept { return hash_; }

private:
    StateFile& state_;
    std::uint64_t number_ = 0, noted_ = 0;
    Sha256 hash_{};
    Nanos due_{};
};

}  // namespace cw::agent
