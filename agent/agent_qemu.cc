// An agent whose disks are those of a running virtual machine.
#include "agent/agent.h"
#include "base/log.h"

namespace cw::agent {

Result<void> Agent::open_machine() {
    const bool served = !options_.qemu_nbd.empty();
    QemuSource::Options options{
        .qmp_socket = options_.qmp_socket,
        .nbd_socket = served ? options_.qemu_nbd : options_.state_directory + "/qemu-nbd.sock",
        .nbd_served = served,
        .wanted = options_.qemu_disks,
        .mode = options_.qemu_mode};
    CW_TRY_ASSIGN(qemu_, QemuSource::open(std::move(options), clock_));
    options_.disks.clear();
    for (std::size_t slot = 0; slot < qemu_->disk_count(); ++slot) {
        options_.disks.push_back({qemu_->disk_name(slot), options_.qmp_socket});
    }
    return check_options_of_disks();
}

Result<void> Agent::attach_machine(const std::vector<bool>& provable) {
    const std::string socket = options_.state_directory + "/capture.sock";
    std::vector<DiskCapture*> captures;
    captures.reserve(captures_.size());
    for (const auto& capture : captures_) {
        captures.push_back(capture.get());
    }
    if (options_.qemu_mode == QemuSource::Mode::data) {
        CW_TRY(open_nbd(socket));
    }
    CW_TRY(qemu_->attach(captures, socket, provable));
    if (options_.qemu_mode == QemuSource::Mode::epoch) {
        auto epochs = std::make_unique<QemuEpochs>(QemuEpochs::Context{
            *qemu_, *replicator_, std::move(captures), clock_, options_.state_directory});
        epochs_ = epochs.get();
        scan_ = std::move(epochs);
    }
    if (!options_.guest_agent_socket.empty()) {
        GuestFreeze::Options freeze;
        freeze.socket = options_.guest_agent_socket;
        guest_ = std::make_unique<GuestFreeze>(freeze, clock_);
        last_frozen_ = clock_.boot();
    }
    return {};
}

// A machine that ended leaves a whole log behind; one that is back, or that runs without us seeing
// its writes, is attached to anew: what it wrote meanwhile is in its bitmaps, or is compared.
void Agent::tend_machine() {
    if (!qemu_) {
        return;
    }
    qemu_->step();
    if (qemu_->state() == QemuSource::State::detached && stopping_ == Stopping::no) {
        log_warning("agent.qemu.restart", {{"reason", qemu_->reason()}});
        wants_restart_ = true;
    }
}

// Writers are cut off first: nothing comes after the last point. A virtual machine is paused for
// a planned failover, and stays so when that succeeded; else it goes on unobserved.
void Agent::quiet_source(bool planned) {
    if (qemu_ && qemu_->state() == QemuSource::State::attached) {
        if (planned && qemu_->machine().has_guest()) {
            if (const auto paused = qemu_->machine().pause_guest(); !paused) {
                log_warning("agent.qemu.pause", {{"error", paused.error()}});
            } else {
                guest_paused_ = true;
            }
        }
        if (planned && !qemu_->machine().has_guest()) {
            if (const auto watched = qemu_->watch_writers(); !watched) {
                log_warning("agent.qemu.pause", {{"error", watched.error()}});
            }
        }
        if (scan_ && !planned) {
            scan_->stop();
        }
        qemu_->stop_capture();
    }
    nbd_.reset();
}

// A volume cannot be paused. What was written to it after the last point would be on one side only.
std::optional<Error> Agent::still_written() {
    if (!qemu_ || qemu_->machine().has_guest() || qemu_->state() == QemuSource::State::gone) {
        return std::nullopt;
    }
    const auto written = qemu_->written_bytes();
    if (written && *written == 0) {
        return std::nullopt;
    }
    return written ? Error{Errc::target_unsafe, "it was written after the last point: unmount it"}
                   : written.error();
}

// Points of a frozen guest, by interval or when asked for.
void Agent::tend_guest() {
    if (!guest_) {
        return;
    }
    const Nanos now = clock_.boot();
    if (app_interval_ns() > 0 && now - last_frozen_ >= app_interval_ns()) {
        last_frozen_ = now;
        frozen_wanted_ = true;
    }
    const bool ready = stopping_ == Stopping::no && replicator_->consistent() &&
                       !(scan_ && scan_->running()) &&
                       qemu_->state() == QemuSource::State::attached;
    if (guest_->state() == GuestFreeze::State::idle) {
        if (!frozen_wanted_ || !ready) {
            return;
        }
        frozen_wanted_ = false;
        guest_->begin();
        if (guest_->error()) {
            cut_frozen();
        }
        return;
    }
    const auto before = guest_->state();
    const auto after = guest_->step();
    const bool gave_up = guest_->error() && (before == GuestFreeze::State::asking ||
                                             before == GuestFreeze::State::freezing);
    if (after == GuestFreeze::State::frozen || (gave_up && after != before)) {
        cut_frozen();
    }
}

// A guest that did not freeze gets a crash point that says so.
void Agent::cut_frozen() {
    const bool frozen = guest_->state() == GuestFreeze::State::frozen;
    const auto kind = !frozen              ? pipeline::PointKind::crash
                      : options_.app_hooks ? pipeline::PointKind::app
                                           : pipeline::PointKind::filesystem;
    if (!frozen) {
        log_warning("agent.point.unfrozen", {{"error", *guest_->error()}});
    }
    const std::string hooks = frozen ? guest_->summary() : to_string(*guest_->error());
    if (epochs_ == nullptr) {
        frozen_outcome_ = replicator_->make_point(kind, frozen_tag_, hooks);
    } else if (epochs_->begin_as(kind, frozen_tag_, hooks)) {
        for (Waiter& waiter : waiters_) {
            waiter.frozen = false;  // Its point is the epoch's.
        }
    } else {
        frozen_outcome_ = fail(Errc::resync_required, "the disks lost their place meanwhile");
    }
    if (frozen) {
        guest_->thaw();
    }
    last_point_ = clock_.boot();
    frozen_tag_.clear();
}

void Agent::resume_guest() {
    if (std::exchange(guest_paused_, false)) {
        if (const auto resumed = qemu_->machine().continue_guest(); !resumed) {
            log_error("agent.qemu.continue", {{"error", resumed.error()}});
        }
    }
}

std::string_view Agent::source_name() const noexcept {
    if (qemu_) {
        return options_.qemu_mode == QemuSource::Mode::data ? "qemu-data" : "qemu-epoch";
    }
    return scan_ ? "scan" : hrl_ ? "hrl" : "nbd";
}

}  // namespace cw::agent
