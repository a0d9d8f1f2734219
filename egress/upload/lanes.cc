#include "egress/upload/lanes.h"

#include "base/assert.h"

#include <algorithm>
#include <tuple>

namespace cw::upload {
namespace {

// Deadlines within the same quarter second are alike: then fairness decides.
constexpr std::int64_t slack_quantum_ns = 250 * ns_per_ms;

}  // namespace

bool goes_first(const Claim& a, const Claim& b, Nanos now) noexcept {
    const auto rank = [now](const Claim& claim) {
        const std::int64_t slack = std::max<std::int64_t>(claim.deadline - now, 0);
        return std::tuple(slack / slack_quantum_ns, claim.in_use, claim.served);
    };
    return rank(a) < rank(b);
}

Lanes::Lanes(const LaneOptions& options, BandwidthOptions bandwidth)
    : bandwidth_(std::move(bandwidth)), window_(options.total_connections) {
    set(options);
}

void Lanes::set(const LaneOptions& options) {
    CW_ASSERT(options.upload_threads_per_vm >= 1 && options.upload_threads_per_vm <= 32);
    CW_ASSERT(options.total_connections >= 1 && options.total_connections <= 1024);
    // A window that was wide open stays so.
    const bool open = window_ >= options_.total_connections;
    options_ = options;
    window_ =
        open ? options.total_connections : std::min<double>(window_, options.total_connections);
}

std::uint32_t Lanes::allowed() const noexcept {
    return std::max(1U, static_cast<std::uint32_t>(window_));
}

void Lanes::add(SegmentWork& work) {
    CW_ASSERT(work.phase == SegmentPhase::ready);
    const auto [at, fresh] = machines_.try_emplace(work.machine);
    Machine& machine = at->second;
    if (fresh) {
        machine.served = served_floor_;
    }
    const auto after = std::ranges::find_if(
        machine.ready, [&work](const SegmentWork* other) { return other->step > work.step; });
    machine.ready.insert(after, &work);
    waiting_bytes_ += work.object_bytes();
}

void Lanes::remove(const SegmentWork& work) {
    const auto at = machines_.find(work.machine);
    if (at == machines_.end()) {
        return;
    }
    Machine& machine = at->second;
    const std::size_t before = machine.ready.size();
    std::erase(machine.ready, &work);
    if (machine.ready.size() < before) {
        waiting_bytes_ -= work.object_bytes();
    }
    if (machine.ready.empty() && machine.in_use == 0) {
        machines_.erase(at);
    }
}

SegmentWork* Lanes::take(Nanos now, WallMicros wall) {
    bandwidth_.advance(now, wall);
    if (in_use_ >= allowed() || !bandwidth_.may_start()) {
        return nullptr;
    }
    Machine* best = nullptr;
    Claim best_claim;
    for (auto& [id, machine] : machines_) {
        if (machine.ready.empty() || machine.in_use >= options_.upload_threads_per_vm ||
            machine.ready.front()->not_before > now) {
            continue;
        }
        const Claim claim{.deadline = machine.ready.front()->deadline,
                          .in_use = machine.in_use,
                          .served = machine.served};
        if (best == nullptr || goes_first(claim, best_claim, now)) {
            best = &machine;
            best_claim = claim;
        }
    }
    if (best == nullptr) {
        return nullptr;
    }
    SegmentWork* const work = best->ready.front();
    best->ready.pop_front();
    const std::uint64_t bytes = work->object_bytes();
    waiting_bytes_ -= bytes;
    ++best->in_use;
    ++in_use_;
    best->served += bytes;
    served_floor_ = std::max(served_floor_, best_claim.served);
    bandwidth_.started(bytes);
    return work;
}

void Lanes::finished(const MachineId& id, bool throttled) {
    const auto at = machines_.find(id);
    CW_ASSERT(at != machines_.end() && at->second.in_use > 0 && in_use_ > 0);
    --at->second.in_use;
    --in_use_;
    if (throttled) {
        window_ = std::max(1.0, window_ / 2);
    } else {
        window_ = std::min<double>(options_.total_connections, window_ + 1 / window_);
    }
    if (at->second.ready.empty() && at->second.in_use == 0) {
        machines_.erase(at);
    }
}

std::uint64_t Lanes::pace() const noexcept {
    constexpr std::uint64_t least = 4096;  // Slower than that is silence to a peer.
    const std::uint64_t limit = bandwidth_.limit();
    return limit == 0 ? 0 : std::max(limit / std::max(in_use_, 1U), least);
}

Nanos Lanes::next_start(Nanos now) const {
    Nanos soonest{INT64_MAX};
    if (in_use_ >= allowed()) {
        return soonest;
    }
    for (const auto& [id, machine] : machines_) {
        if (!machine.ready.empty() && machine.in_use < options_.upload_threads_per_vm) {
            soonest = std::min(
                soonest, std::max(machine.ready.front()->not_before, bandwidth_.ready_at(now)));
        }
    }
    return soonest;
}

std::uint32_t Lanes::in_use(const MachineId& machine) const {
    const auto at = machines_.find(machine);
    return at == machines_.end() ? 0 : at->second.in_use;
}

std::uint32_t Lanes::waiting(const MachineId& machine) const {
    const auto at = machines_.find(machine);
    return at == machines_.end() ? 0 : static_cast<std::uint32_t>(at->second.ready.size());
}

}  // namespace cw::upload
