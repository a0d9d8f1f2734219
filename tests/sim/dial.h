// Dial: the connector of a machine's agent. Reaches the server the machine means, if it runs.
// Thread-safety: none.
#pragma once

#include "agent/stream/replicator.h"
#include "tests/sim/network.h"

#include <memory>
#include <optional>

namespace cw::sim {

class World;
class Machine;

class Dial final : public agent::Connector {
public:
    // Both outlive it.
    Dial(World& world, const Machine& machine, std::size_t index)
        : world_(world), machine_(machine), index_(index) {}
    void begin() override;
    std::optional<Result<std::unique_ptr<agent::Link>>> poll() override;
    // When the attempt ends that is under way.
    [[nodiscard]] std::optional<Nanos> due() const { return due_; }
    // The newest connection, if its link still lives.
    [[nodiscard]] std::shared_ptr<Wire> wire() const { return wire_.lock(); }

private:
    World& world_;
    const Machine& machine_;
    std::size_t index_;  // Of the machine.
    std::optional<Nanos> due_;
    std::weak_ptr<Wire> wire_;
};

}  // namespace cw::sim
