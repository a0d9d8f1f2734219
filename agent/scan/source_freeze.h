// SourceFreeze: makes those who write still for the moment of a cut, and always lets them go again.
//
// That they were still is known only when they have been let go: who held them may have had to let
// go before, because we stood still for too long. What runs after that (a post-hook) proves nothing
// of it. Passive: step() never waits. Thread-safety: none; the agent's loop.
#pragma once

#include "base/clock.h"
#include "base/error.h"

#include <optional>
#include <string>

namespace cw::agent {

class SourceFreeze {
public:
    // finishing: they go on again, and a post-hook runs still.
    enum class State : std::uint8_t { idle, asking, freezing, frozen, thawing, finishing };
    // A thaw takes milliseconds. What is behind the cut is not sent before it is known what the cut
    // is called, so that nobody waits for that any longer.
    static constexpr std::int64_t proof_limit_ns = 5 * ns_per_s;

    virtual ~SourceFreeze() = default;
    // False: there is nothing to begin with; what an earlier agent left is undone all the same.
    [[nodiscard]] virtual bool able() const noexcept { return true; }
    [[nodiscard]] virtual State state() const noexcept = 0;
    // A cut is to be made of it.
    [[nodiscard]] bool holding() const noexcept {
        return state() == State::asking || state() == State::freezing || state() == State::frozen;
    }
    // Idle only.
    virtual void begin() = 0;
    // Idle again without having been frozen: error() says why.
    virtual State step() = 0;
    // After frozen: at once when the cut is made.
    virtual void thaw() = 0;
    // Finishing or idle after a thaw, and none: they were still from frozen until thaw().
    [[nodiscard]] virtual const std::optional<Error>& error() const noexcept = 0;
    // Whether they were still for the cut that thaw() was called after, so long ago. None: that is
    // not known yet. Errors: error(), or unfrozen(): it is not known in time.
    [[nodiscard]] std::optional<Result<void>> proof(std::int64_t since_thaw_ns) const;
    // Why no freeze can be begun, and nobody knows when one can: a thaw is owed that should long
    // have been confirmed. None: idle, or soon. Errors: unfrozen().
    [[nodiscard]] virtual std::optional<Error> hindrance() const { return std::nullopt; }
    // What a cut is called for which they may not have been still.
    [[nodiscard]] virtual Errc unfrozen() const noexcept = 0;
    // For the point: what ran and how it went.
    [[nodiscard]] virtual std::string summary() const = 0;
    // Readable when step() has something to do; -1: look often while it is not idle.
    [[nodiscard]] virtual int fd() const noexcept { return -1; }
};

}  // namespace cw::agent
