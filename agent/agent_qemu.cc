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
    if (!options_.freeze.mount.empty() && qemu_->machine().has_guest()) {
        return fail(Errc::usage, "--mount is for file systems of this host, not of a guest: --qga");
    }
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
    CW_TRY(open_hrl_outputs(provable));
    CW_TRY(qemu_->attach(captures, socket, provable));
    CW_TRY_ASSIGN(auto outputs, told_hrl_outputs(provable));
    if (options_.qemu_mode == QemuSource::Mode::epoch) {
        auto epochs = std::make_unique<QemuEpochs>(
            QemuEpochs::Context{*qemu_, *replicator_, std::move(captures), clock_,
                                options_.state_directory, std::move(outputs)});
        epochs_ = epochs.get();
        scan_ = std::move(epochs);
    }
    open_freeze();
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
