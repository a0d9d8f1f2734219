// What a store without a service behind it remembers about one object's lease, with the rules of
// Azure's lease table: who may write, who may renew, what an expiry or a break leaves behind.
#pragma once

#include "egress/blob/store.h"

namespace cw::blob {

// Values; the owner locks. `now` is boot time.
class LeaseState {
public:
    LeaseState() = default;
    LeaseState(std::string id, Nanos until, std::int64_t duration_ns, bool broken)
        : id_(std::move(id)), until_(until), broken_(broken), duration_ns_(duration_ns) {}

    // Applies `request` (already checked). Errors: blob_lease_lost; the state is then unchanged.
    Result<void> apply(const LeaseRequest& request, Nanos now);
    // May a write carrying `lease_id` (or none) go ahead? Errors: blob_lease_lost.
    [[nodiscard]] Result<void> allow_write(const std::string& lease_id, Nanos now) const;
    // A write without a lease frees an object whose lease expired or was broken.
    void written(Nanos now) noexcept;

    [[nodiscard]] bool none() const noexcept { return id_.empty(); }
    [[nodiscard]] bool active(Nanos now) const noexcept {
        return !id_.empty() && !broken_ && now < until_;
    }
    [[nodiscard]] const std::string& id() const noexcept { return id_; }
    [[nodiscard]] Nanos until() const noexcept { return until_; }
    [[nodiscard]] std::int64_t duration_ns() const noexcept { return duration_ns_; }
    [[nodiscard]] bool broken() const noexcept { return broken_; }

private:
    std::string id_;  // Empty: available.
    Nanos until_{0};  // End of the lease as granted last.
    bool broken_ = false;
    std::int64_t duration_ns_ = 30 * ns_per_s;
};

}  // namespace cw::blob
