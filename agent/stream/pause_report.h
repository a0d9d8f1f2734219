// PauseReport: for how long points kept a machine's writers waiting, and what became of the limit.
// Thread-safety: none; the agent's loop.
#pragma once

#include "base/clock.h"
#include "base/ids.h"

#include <cstdint>
#include <string>

namespace cw::agent {

// Of a point: all disks' writers together, whatever the disks do meanwhile.
inline constexpr std::int64_t point_pause_max_ns = 300 * ns_per_ms;

class PauseReport {
public:
    struct Numbers {
        std::uint64_t points = 0;      // That were cut.
        std::uint64_t over_limit = 0;  // Of them: in more time, by somebody else's hand (QEMU).
        std::uint64_t given_up = 0;    // Not cut: the limit came first.
        std::int64_t last_ns = 0, longest_ns = 0;
        std::string waited_for;      // The last time it was given up: the disk,
        std::int64_t waited_ns = 0;  // and how long.
    };

    void cut(const PointId& id, std::int64_t pause_ns);
    // Empty: no disk did; the agent itself stood still.
    void gave_up(std::string disk, std::int64_t after_ns);
    [[nodiscard]] const Numbers& numbers() const noexcept { return numbers_; }

private:
    Numbers numbers_;
};

}  // namespace cw::agent
