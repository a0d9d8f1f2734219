#include "agent/stream/standstill.h"

#include <utility>

#include <poll.h>

namespace cw::agent {
namespace {

// A writer holds its lock for microseconds, unless the disk beneath the dirty map is slow.
constexpr int hasty_tries = 50;

}  // namespace

Standstill::Standstill(Clock& clock, AdmissionGate* gate, std::int64_t limit_ns)
    : clock_(clock), gate_(gate), limit_ns_(limit_ns) {
    CW_ASSERT(limit_ns > 0);
}

bool Standstill::hold(std::span<DiskCapture* const> disks) {
    CW_ASSERT(locks_.empty());
    began_ = clock_.boot();
    const bool barrier = gate_ != nullptr && gate_->closed();
    until_ = barrier ? gate_->until() : began_ + limit_ns_;
    if (try_all(disks)) {
        return true;
    }
    if (gate_ != nullptr && !barrier) {
        closed_here_ = true;
        gate_->close(until_);
    }
    // Bounded by tries as well: a clock may stand still while other threads do not.
    const std::int64_t tries_max = hasty_tries + (until_ - began_) / ns_per_ms;
    for (std::int64_t i = 0; i < tries_max && in_time(); ++i) {
        ::poll(nullptr, 0, i < hasty_tries ? 0 : 1);
        if (try_all(disks)) {
            return true;
        }
    }
    release();
    return false;
}

bool Standstill::in_time() const {
    return clock_.boot() - until_ < 0;
}

std::int64_t Standstill::release() {
    const bool held = !locks_.empty() || closed_here_;
    locks_.clear();
    if (std::exchange(closed_here_, false)) {
        (void)gate_->open();  // Broken or not: what was cut, was cut with all locks in hand.
    }
    return held ? lasted_ns() : 0;
}

bool Standstill::try_all(std::span<DiskCapture* const> disks) {
    for (std::size_t slot = 0; slot < disks.size(); ++slot) {
        locks_.push_back(disks[slot]->try_lock());
        if (!locks_.back()) {
            locks_.clear();
            waited_for_ = slot;
            return false;
        }
    }
    return true;
}

}  // namespace cw::agent
