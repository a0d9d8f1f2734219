// PointSource: a source that makes a recovery point of a still view, piece by piece. Between two
// points it knows nothing; a source that sees every write needs none.
//
// A passive object: step() does bounded work. Thread-safety: none; the agent's loop.
#pragma once

#include "base/error.h"
#include "base/ids.h"

#include <optional>
#include <string>

namespace cw::agent {

class PointSource {
public:
    virtual ~PointSource() = default;
    // Starts one; false while one runs or the disks are not consistent yet.
    virtual bool begin(std::string tag) = 0;
    [[nodiscard]] virtual bool running() const noexcept = 0;
    // True if it did something (then call again soon).
    virtual bool step() = 0;
    // Gives up what is under way: its point is not made.
    virtual void stop() {}
    // The last one was given up because a disk was resized: the agent must open the disks anew.
    [[nodiscard]] virtual bool resized() const noexcept { return false; }
    // The outcome of the last one: its point, or why there is none.
    [[nodiscard]] virtual const std::optional<Result<PointId>>& outcome() const noexcept = 0;
};

}  // namespace cw::agent
