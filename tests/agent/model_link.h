// The way from an agent to a ModelServer without a network.
#pragma once

#include "agent/session/link.h"
#include "tests/agent/model_server.h"

#include <memory>
#include <optional>

namespace cw::agent::test {

// Links to a ModelServer; `up` decides whether an attempt succeeds.
class ModelConnector final : public Connector {
public:
    explicit ModelConnector(ModelServer& server) : server_(server) {}
    void begin() override { pending_ = true; }
    std::optional<Result<std::unique_ptr<Link>>> poll() override;
    void served() override { ++served_count; }
    void sent_away() override { ++sent_away_count; }
    bool up = true;
    std::size_t attempts = 0, served_count = 0, sent_away_count = 0;
    std::string peer = "model";

private:
    ModelServer& server_;
    bool pending_ = false;
};

}  // namespace cw::agent::test
