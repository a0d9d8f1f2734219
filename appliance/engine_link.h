// EngineLink: carries what the upload engine tells to admission, reactors and the cache, by rings.
//
// Thread-safety: release() and room_is_wanted() belong to the assembly thread, everything else to
// the publisher's, so every ring has one producer. A full ring answers false: the engine offers the
// value again.
#pragma once

#include "egress/upload/ports.h"
#include "pipeline/ring.h"
#include "pipeline/stage.h"

#include <functional>
#include <vector>

namespace cw::appliance {

class EngineLink final : public upload::EngineSink {
public:
    // The rings outlive the link.
    struct Ports {
        pipeline::Ring<pipeline::MachineOpened>& opened;  // To admission.
        pipeline::Ring<pipeline::Release>& release;       // To the cache.
        std::function<void()> wake_admission, wake_cache;
        // Acknowledged data could not be read back.
        std::function<void(const upload::DamagedRecords&)> on_damaged;
        // Another server owns the machine now.
        std::function<void(const upload::FencedMachine&)> on_fenced;
        // A session waits for room in the cache.
        std::function<bool()> room_is_wanted;
    };
    explicit EngineLink(Ports ports) : ports_(std::move(ports)) {}

    // In the order of the reactors' indices; before threads start.
    void add_reactor(pipeline::Ring<pipeline::Committed>& committed, std::function<void()> wake) {
        reactors_.push_back({&committed, std::move(wake)});
    }

    bool opened(pipeline::MachineOpened& opened) override;
    bool committed(std::uint32_t reactor, pipeline::Committed& committed) override;
    bool release(pipeline::Release& release) override;
    bool damaged(upload::DamagedRecords& damaged) override;
    bool fenced(upload::FencedMachine& fenced) override;
    [[nodiscard]] bool room_is_wanted() const override { return ports_.room_is_wanted(); }

private:
    struct ReactorEnd {
        pipeline::Ring<pipeline::Committed>* committed;
        std::function<void()> wake;
    };
    Ports ports_;
    std::vector<ReactorEnd> reactors_;
};

}  // namespace cw::appliance
