#include "tests/sim/dial.h"

#include "tests/sim/machine.h"
#include "tests/sim/server.h"
#include "tests/sim/world.h"

namespace cw::sim {

void Dial::begin() {
    const auto wait = static_cast<std::int64_t>(world_.random->below(50)) * ns_per_ms;
    due_ = world_.clock.boot() + wait;
}

std::optional<Result<std::unique_ptr<agent::Link>>> Dial::poll() {
    if (!due_ || world_.clock.boot() < *due_) {
        return std::nullopt;
    }
    due_.reset();
    Server& server = *world_.servers[machine_.server()];
    if (server.process() == nullptr || !server.awake()) {
        return fail(Errc::unreachable, "refused");
    }
    auto wire = world_.network.connect(index_, machine_.server());
    server.process()->accept(wire, machine_.id());
    world_.event("connect", index_, machine_.server());
    wire_ = wire;
    return std::make_unique<SimLink>(world_.network, wire);
}

}  // namespace cw::sim
