// SourceFreeze: makes those who write still for the moment of a cut, and always lets them go again.
//
// That they were still is known only when they have been let go: who held them may have had to let
// go before, because we stood still for too long. Passive: step() never waits.
// Thread-safety: none; the agent's loop.
#pragma once

#include "base/error.h"

#include <optional>
#include <string>

namespace cw::agent {

class SourceFreeze {
public:
    enum class State : std::uint8_t { idle, asking, freezing, frozen, thawing };

    virtual ~SourceFreeze() = default;
    // False: there is nothing to begin with; what an earlier agent left is undone all the same.
    [[nodiscard]] virtual bool able() const noexcept { return true; }
    [[nodiscard]] virtual State state() const noexcept = 0;
    // Idle only.
    virtual void begin() = 0;
    // Idle again without having been frozen: error() says why.
    virtual State step() = 0;
    // After frozen: at once when the cut is made.
    virtual void thaw() = 0;
    // Idle again after a thaw, and none: they were still from frozen until thaw().
    [[nodiscard]] virtual const std::optional<Error>& error() const noexcept = 0;
    // For the point: what ran and how it went.
    [[nodiscard]] virtual std::string summary() const = 0;
    // Readable when step() has something to do; -1: look often while it is not idle.
    [[nodiscard]] virtual int fd() const noexcept { return -1; }
};

}  // namespace cw::agent
