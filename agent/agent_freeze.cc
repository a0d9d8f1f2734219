// Points of a source whose writers were made still for the moment of the cut.
#include "agent/agent.h"
#include "base/log.h"

namespace cw::agent {

using Freeze = SourceFreeze::State;

// For what sees every write, and for epochs: a scan freezes for itself.
void Agent::open_freeze() {
    if (!options_.guest_agent_socket.empty()) {
        GuestFreeze::Options freeze;
        freeze.socket = options_.guest_agent_socket;
        freeze_ = std::make_unique<GuestFreeze>(freeze, clock_);
        return;
    }
    freezer_ = std::make_unique<Freezer>(options_.freeze, *disk_, clock_);
    if (freezer_->can_freeze() || freezer_->owes_thaw()) {
        freeze_ = std::make_unique<HostFreeze>(*freezer_);
    }
}

// Of the disks that are scanned, if all of them are logical volumes. None: that is no error, unless
// somebody insists. Errors: snapshot_failed.
Result<std::unique_ptr<VolumeSnapshots>> Agent::open_snapshots() {
    const bool insists = options_.snapshots == AgentOptions::Snapshots::always;
    if (options_.snapshots == AgentOptions::Snapshots::off) {
        return nullptr;
    }
    std::vector<VolumeSnapshots::Disk> volumes;
    for (std::size_t slot = 0; slot < captures_.size(); ++slot) {
        const std::string& path = options_.disks[slot].path;
        const auto name = lvm_name_of(path);
        if (!name && !insists) {
            return nullptr;
        }
        volumes.push_back(
            {captures_[slot]->disk(), name.value_or(path), captures_[slot]->image().size()});
    }
    auto tools = LvmTools::find(options_.lvm_tools, clock_);
    if (!tools && insists) {
        return std::unexpected(tools.error());
    }
    if (!tools) {
        log_warning("agent.scan.no_snapshot", {{"error", tools.error()}});
        return nullptr;
    }
    return std::make_unique<VolumeSnapshots>(
        VolumeSnapshots::Options{.machine = machine_, .size = options_.snapshot_size},
        std::move(*tools), clock_, std::move(volumes));
}

// By interval or when asked for.
void Agent::tend_freeze() {
    if (!freeze_) {
        return;
    }
    const Nanos now = clock_.boot();
    if (freeze_->able() && app_interval_ns() > 0 && now - last_frozen_ >= app_interval_ns()) {
        last_frozen_ = now;
        frozen_wanted_ = true;
    }
    const Freeze before = freeze_->state();
    if (before == Freeze::idle) {
        const bool ready = stopping_ == Stopping::no && replicator_->consistent() &&
                           !(scan_ && scan_->running()) &&
                           (!qemu_ || qemu_->state() == QemuSource::State::attached);
        if (!frozen_wanted_ || !ready) {
            return;
        }
        frozen_wanted_ = false;
        freeze_->begin();
    }
    const Freeze after = freeze_->step();
    const bool wanted = before != Freeze::thawing && before != Freeze::finishing;
    const bool gave_up = wanted && freeze_->error() && !freeze_->holding();
    if (after == Freeze::frozen || gave_up) {
        cut_frozen();
    }
    if (unsettled_) {
        if (const auto proof = freeze_->proof(clock_.boot() - thawed_)) {
            settle_frozen(*proof);
        }
    }
}

// A source that did not freeze gets a crash point that says so.
void Agent::cut_frozen() {
    const bool frozen = freeze_->state() == Freeze::frozen;
    std::optional<Error> trouble;
    if (epochs_ == nullptr) {
        const auto made =
            replicator_->make_point(pipeline::PointKind::crash, std::exchange(frozen_tag_, {}));
        if (made) {
            replicator_->hold_point(*made);
        } else {
            trouble = made.error();
        }
        for (Waiter& waiter : waiters_) {
            if (made && std::exchange(waiter.frozen, false)) {
                waiter.point = *made;
            }
        }
    } else if (epochs_->begin_frozen(std::exchange(frozen_tag_, {}))) {
        for (Waiter& waiter : waiters_) {
            waiter.frozen = false;  // Its point is the epoch's.
        }
    } else {
        trouble = Error{Errc::resync_required, "the disks lost their place meanwhile"};
    }
    unsettled_ = !trouble;
    frozen_trouble_ = trouble;
    if (trouble) {
        log_warning("agent.point", {{"error", *trouble}});
    }
    last_point_ = thawed_ = clock_.boot();
    if (frozen) {
        freeze_->thaw();
    }
}

// For whoever has waited in vain for a point of a frozen source.
std::string Agent::why_not_frozen() {
    if (freezer_ && freezer_->earlier_hook()) {
        const EarlierHook& hook = *freezer_->earlier_hook();
        return "the " + std::string(name_of(hook.kind())) +
               " of an earlier agent runs still (process " + std::to_string(hook.pid()) + ")";
    }
    if (freeze_->state() == Freeze::finishing) {
        return "the post-hook of the point before runs still";
    }
    if (freeze_->state() == Freeze::thawing) {
        return "the thaw of the point before is not confirmed";
    }
    if (freeze_->state() != Freeze::idle) {
        return "the source is not frozen yet";
    }
    return replicator_->consistent() ? "the disks were busy with another point"
                                     : "the disks are not synchronised yet";
}

// Nobody is frozen any more, or that is not known for too long: what the point may be called.
void Agent::settle_frozen(const Result<void>& proof) {
    if (!proof) {
        log_warning("agent.point.unfrozen", {{"error", proof.error()}});
    }
    const auto kind = !proof               ? pipeline::PointKind::crash
                      : options_.app_hooks ? pipeline::PointKind::app
                                           : pipeline::PointKind::filesystem;
    const std::string hooks = proof ? freeze_->summary() : to_string(proof.error());
    unsettled_ = false;
    if (epochs_ == nullptr) {
        replicator_->settle_point(kind, hooks);
        doorbell_.ring();
    } else {
        epochs_->settle(kind, hooks);
    }
}

}  // namespace cw::agent
