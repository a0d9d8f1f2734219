// Digests: a process's DigestDesk on a runner, where production has DigestService's thread.
//
// As there, its store tries again what fails now and then: a vault that fails more is unknown.
// Replies may find no room for a while (Settings::digests_late): then they come late, in another
// order, or when their session is over. Thread-safety: none.
#pragma once

#include "appliance/digest_desk.h"
#include "egress/upload/engine.h"
#include "pipeline/ring.h"
#include "pipeline/stage.h"
#include "tests/sim/mutant_digests.h"
#include "tests/sim/store.h"

#include <deque>
#include <functional>
#include <map>
#include <memory>

namespace cw::sim {

class World;

class Digests final : public pipeline::Stage {
public:
    // All of it outlives the stage.
    struct Context {
        std::size_t server;
        Clock& clock;
        MetricRegistry& metrics;
        const ProcessLife& life;
        upload::Engine& engine;
        pipeline::Ring<ingest::DigestReply>& replies;
        std::function<void()> wake_door;
    };
    Digests(World& world, Context context);

    // Ring its runner's doorbell then. At any time: the desk may be reading just now.
    void ask(const ingest::DigestRequest& request);
    void on_opened(const pipeline::MachineOpened& opened);
    pipeline::Progress step(std::size_t budget) override;
    [[nodiscard]] Nanos next_deadline() const override { return next_look_; }
    [[nodiscard]] std::string_view name() const noexcept override { return "digests"; }
    // Requests without a reply.
    [[nodiscard]] std::size_t under_way() const noexcept { return asked_at_.size(); }

private:
    struct Asked {
        ingest::DigestRequest request;
        Nanos at;
    };
    bool take_asked();
    bool reply(ingest::DigestReply& reply);
    void count(const ingest::DigestReply& reply);

    World& world_;
    Context context_;
    std::unique_ptr<blob::StoreFactory> stores_;
    std::unique_ptr<blob::BlobStore> store_;
    appliance::DigestDesk desk_;
    std::deque<ingest::DigestRequest> asked_;
    std::deque<Asked> asked_at_;  // Until the reply.
    Nanos next_look_{INT64_MAX};
    std::map<MachineId, FingerprintSecret> secrets_;  // For a planted bug,
    OlderStates older_;                               // and for another.
};

}  // namespace cw::sim
