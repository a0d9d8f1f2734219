#include "appliance/standing_trouble.h"

namespace cw::appliance {

void StandingTrouble::show(const Result<void>& outcome) {
    if (standing_ && (outcome || outcome.error().code != *standing_)) {
        conditions_.clear(*standing_, subject_);
        standing_.reset();
    }
    if (!outcome) {
        conditions_.raise(outcome.error().code, subject_, outcome.error().detail);
        standing_ = outcome.error().code;
    }
}

}  // namespace cw::appliance
