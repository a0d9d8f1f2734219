#include "egress/blob/lease_state.h"

namespace cw::blob {

Result<void> LeaseState::apply(const LeaseRequest& request, Nanos now) {
    switch (request.action) {
        case LeaseAction::acquire:
            if (active(now) && id_ != request.lease_id) {
                return fail(Errc::blob_lease_lost, "leased by another");
            }
            id_ = request.lease_id;
            broken_ = false;
            duration_ns_ = request.duration_s * ns_per_s;
            until_ = now + duration_ns_;
            return {};
        case LeaseAction::renew:
            // An expired lease may be renewed as long as nobody wrote or leased since: both clear
            // or change the id.
            if (id_ != request.lease_id || broken_) {
                return fail(Errc::blob_lease_lost, "the lease ended or changed hands");
            }
            until_ = now + duration_ns_;
            return {};
        case LeaseAction::release:
            if (id_ != request.lease_id) {
                return fail(Errc::blob_lease_lost, "released by someone who does not hold it");
            }
            *this = LeaseState{};
            return {};
        case LeaseAction::break_:
            broken_ = !id_.empty();
            return {};
    }
    return fail(Errc::blob_rejected, "unknown lease action");
}

Result<void> LeaseState::allow_write(const std::string& lease_id, Nanos now) const {
    if (active(now) && lease_id != id_) {
        return fail(Errc::blob_lease_lost, lease_id.empty() ? "leased" : "leased by another");
    }
    if (!active(now) && !lease_id.empty()) {
        return fail(Errc::blob_lease_lost, "no lease stands");
    }
    return {};
}

void LeaseState::written(Nanos now) noexcept {
    if (!active(now)) {
        *this = LeaseState{};
    }
}

}  // namespace cw::blob
