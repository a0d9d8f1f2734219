#include "appliance/engine_link.h"

#include "base/assert.h"

namespace cw::appliance {

bool EngineLink::opened(pipeline::MachineOpened& opened) {
    if (!ports_.opened.try_push(opened)) {
        return false;
    }
    ports_.wake_admission();
    return true;
}

bool EngineLink::committed(std::uint32_t reactor, pipeline::Committed& committed) {
    CW_ASSERT(reactor < reactors_.size());
    if (!reactors_[reactor].committed->try_push(committed)) {
        return false;
    }
    reactors_[reactor].wake();
    return true;
}

bool EngineLink::release(pipeline::Release& release) {
    if (!ports_.release.try_push(release)) {
        return false;
    }
    ports_.wake_cache();
    return true;
}

bool EngineLink::damaged(upload::DamagedRecords& damaged) {
    ports_.on_damaged(damaged);
    return true;
}

bool EngineLink::fenced(upload::FencedMachine& fenced) {
    ports_.on_fenced(fenced);
    return true;
}

}  // namespace cw::appliance
