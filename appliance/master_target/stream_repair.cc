#include "appliance/master_target/stream_repair.h"

#include "base/log.h"

namespace cw::appliance {
namespace {

constexpr std::size_t sessions_max = 16;

}  // namespace

bool StreamRepair::damage(Error why) {
    repaired();
    damaged_ = std::move(why);
    log_warning("target.damaged", {{"subject", subject_}, {"error", *damaged_}});
    conditions_.raise(damaged_->code, subject_, damaged_->detail);
    return false;
}

void StreamRepair::repaired() {
    if (damaged_) {
        conditions_.clear(damaged_->code, subject_);
        damaged_.reset();
    }
}

void StreamRepair::ask(SessionId session) {
    asked_.push_back(session);
    if (asked_.size() > sessions_max) {
        asked_.pop_front();
    }
}

}  // namespace cw::appliance
