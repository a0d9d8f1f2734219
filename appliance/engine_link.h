// EngineLink: carries what the upload engine tells to the reactors and the cache, through rings.
//
// Called on the publisher's thread only, which is the single producer of every ring here. A full ring
// answers false: the engine offers the value again.
#pragma once

#include "egress/upload/ports.h"
#include "pipeline/ring.h"
#include "pipeline/stage.h"

#include <functional>
#include <memory>
#include <vector>

namespace cw::appliance {

class EngineLink final : public upload::EngineSink {
public:
    // One reactor's inbound rings and doorbell; all outlive the link.
    struct ReactorEnd {
        pipeline::Ring<pipeline::MachineOpened>* opened;
        pipeline::Ring<pipeline::Committed>* committed;
        pipeline::Doorbell* doorbell;
    };
    EngineLink(pipeline::Ring<pipeline::Release>& release, pipeline::Doorbell& cache_doorbell)
        : release_(release), cache_doorbell_(cache_doorbell) {}

    void add_reactor(ReactorEnd end) { reactors_.push_back(end); }
    // Told when acknowledged data could not be read back; runs on the publisher's thread.
    void on_damaged(std::function<void(const upload::DamagedRecords&)> handler) {
        on_damaged_ = std::move(handler);
    }

    bool opened(pipeline::MachineOpened& opened) override;
    bool committed(std::uint32_t reactor, pipeline::Committed& committed) override;
    bool release(pipeline::Release& release) override;
    bool damaged(upload::DamagedRecords& damaged) override;

private:
    pipeline::Ring<pipeline::Release>& release_;
    pipeline::Doorbell& cache_doorbell_;
    std::vector<ReactorEnd> reactors_;
    std::function<void(const upload::DamagedRecords&)> on_damaged_;
};

}  // namespace cw::appliance
