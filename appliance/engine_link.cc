#include "appliance/engine_link.h"

namespace cw::appliance {

bool EngineLink::opened(pipeline::MachineOpened& opened) {
    CW_ASSERT(opened.reactor < reactors_.size());
    const ReactorEnd& end = reactors_[opened.reactor];
    if (!end.opened->try_push(opened)) {
        return false;
    }
    end.doorbell->ring();
    return true;
}

bool EngineLink::committed(std::uint32_t reactor, pipeline::Committed& committed) {
    CW_ASSERT(reactor < reactors_.size());
    const ReactorEnd& end = reactors_[reactor];
    if (!end.committed->try_push(committed)) {
        return false;
    }
    end.doorbell->ring();
    return true;
}

bool EngineLink::release(pipeline::Release& release) {
    if (!release_.try_push(release)) {
        return false;
    }
    cache_doorbell_.ring();
    return true;
}

bool EngineLink::damaged(upload::DamagedRecords& damaged) {
    if (on_damaged_) {
        on_damaged_(damaged);
    }
    return true;
}

}  // namespace cw::appliance
