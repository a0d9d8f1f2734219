// Group: two machines that share recovery points. The agent's own barrier, coordinator and member,
// over lines that lose, delay and break what is said; and two guests who play ping-pong with a
// counter on their disks, so that a point that is no moment of both can be told by its bytes.
// Thread-safety: none.
#pragma once

#include "agent/group/group_coordinator.h"
#include "tests/sim/network.h"

#include <array>
#include <memory>
#include <optional>

namespace cw::sim {

class Machine;
class World;

class Group {
public:
    static constexpr std::size_t members = 2;  // The first one coordinates.

    explicit Group(World& world);
    ~Group();

    // The operator asks for a group point.
    void begin();
    // One round of `machine`'s part of the agent's loop. True if it did something.
    bool step(std::size_t machine);
    [[nodiscard]] Nanos wakes_at(std::size_t machine) const;
    // The agent of `machine` is about to end, however: what it had in memory is gone.
    void on_down(std::size_t machine);
    // The guests' game, while it matters.
    void play();
    // After the faults a barrier must stand: true when one did, begins one if there is none.
    bool stood();

private:
    class Part;
    class Line;
    void connect();
    bool deliver(std::size_t to);

    World& world_;
    std::array<std::unique_ptr<Part>, members> parts_;
    std::unique_ptr<Line> line_;
    std::uint64_t lines_ = 0;  // Made so far.
    Nanos connect_at_{};
    bool asked_ = false;  // For a barrier that is not counted yet.
    unsigned moves_left_ = 0;
    bool calm_made_ = false;
    Nanos next_calm_try_{};
};

}  // namespace cw::sim
