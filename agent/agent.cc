#include "agent/agent.h"

#include "base/crash_point.h"
#include "base/log.h"

#include <algorithm>

#include <poll.h>

namespace cw::agent {
namespace {

constexpr std::int64_t observe_every_ns = 500 * ns_per_ms, stop_limit_ns = 20 * ns_per_s,
                       final_limit_ns = 600 * ns_per_s, idle_wait_ns = ns_per_s,
                       child_wait_ns = 10 * ns_per_ms, interval_fallback_ns = 5 * ns_per_s,
                       app_interval_fallback_ns = 3600 * ns_per_s;

}  // namespace

void Agent::stop() noexcept {
    stop_asked_.store(1);
    doorbell_.ring();
}

Result<void> Agent::run(const Observer& observe) {
    log_info("agent.ready", {{"machine", machine_}, {"disks", captures_.size()}});
    Nanos observed{};
    while (!replicator_->ended() && !wants_restart_) {
        const bool busy = round();
        if (clock_.boot() - observed >= observe_every_ns) {
            observed = clock_.boot();
            ChildProcess::reap_given_up();
            if (observe) {
                observe(replicator_->status());
            }
        }
        park(busy);
    }
    const auto left = leave_state();
    if (stop_client_) {
        const bool ok = left && !stop_trouble_;
        control_->reply(*stop_client_, ok ? R"({"ok":true})"
                                          : R"({"ok":false,"error":")" +
                                                std::string(name_of(left ? stop_trouble_->code
                                                                         : left.error().code)) +
                                                R"("})");
    }
    CW_TRY(left);
    return stop_trouble_ ? std::unexpected(*stop_trouble_) : Result<void>{};
}

bool Agent::round() {
    bool busy = replicator_->step();
    if (spiller_) {
        busy = spiller_->step() || busy;
    }
    if (scan_) {
        busy = scan_->step() || busy;
    }
    tend_machine();
    tend_sizes();
    tend_freeze();
    tend_points();
    if (hrl_ && (stopping_ == Stopping::no || hrl_->applying())) {
        busy = hrl_->step() || busy;
    }
    busy = (group_ && group_->step()) || busy;
    tend_waiters();
    tend_group();
    tend_stop();
    return busy;
}

void Agent::park(bool busy) {
    std::vector<pollfd> waiting;
    control_->watch(waiting);
    if (busy) {
        ::poll(waiting.data(), waiting.size(), 0);  // Operators are answered under load too.
        control_->serve();
        return;
    }
    doorbell_.prepare();
    if (round()) {  // Something came between the last look and the announcement.
        doorbell_.cancel();
        return;
    }
    waiting.push_back({doorbell_.fd(), POLLIN, 0});
    if (replicator_->fd() >= 0) {
        const short events =
            static_cast<short>(POLLIN | (replicator_->wants_write() ? POLLOUT : 0));
        waiting.push_back({replicator_->fd(), events, 0});
    }
    if (qemu_ && qemu_->state() == QemuSource::State::attached) {
        waiting.push_back({qemu_->fd(), POLLIN, 0});
    }
    if (freeze_ && freeze_->fd() >= 0) {
        waiting.push_back({freeze_->fd(), POLLIN, 0});
    }
    const Nanos now = clock_.boot();
    std::int64_t wait = std::min(idle_wait_ns, replicator_->next_deadline() - now);
    if (hrl_) {
        wait = std::min(wait, hrl_->next_look() - now);
    }
    if (group_) {
        group_->watch(waiting);
        wait = std::min(wait, group_->deadline() - now);
    }
    wait = std::min(wait, next_point() - now);
    if (spiller_ && spiller_->busy()) {
        wait = std::min(wait, ns_per_ms);
    }
    const bool freezing = freeze_ && freeze_->state() != SourceFreeze::State::idle;
    if ((scan_ && scan_->running()) || freezing) {
        wait = std::min(wait, child_wait_ns);  // A hook ends without telling.
    }
    const auto wait_ms =
        static_cast<int>((std::max<std::int64_t>(wait, 0) + ns_per_ms - 1) / ns_per_ms);
    ::poll(waiting.data(), waiting.size(), wait_ms);
    doorbell_.consume();
    control_->serve();
}

std::int64_t Agent::interval_ns() const {
    const auto& policy = replicator_->policy();
    const std::int64_t unordered =
        policy ? static_cast<std::int64_t>(policy->interval_ms) * ns_per_ms : interval_fallback_ns;
    return options_.interval_ns.value_or(unordered);
}

std::int64_t Agent::app_interval_ns() const {
    const auto& policy = replicator_->policy();
    const std::int64_t unordered =
        policy ? static_cast<std::int64_t>(policy->app_interval_ms) * ns_per_ms
               : app_interval_fallback_ns;
    return options_.app_interval_ns.value_or(unordered);
}

// Points by interval, and the scans that make them.
void Agent::tend_points() {
    const Nanos now = clock_.boot();
    const bool due = now - next_point() >= 0;
    if (stopping_ != Stopping::no || hrl_) {  // Each replica log makes its own.
        last_point_ = now;
        return;
    }
    if (due && freeze_ && (unsettled_ || freeze_->holding())) {
        not_before_ = now + child_wait_ns;  // The point of the frozen source stands for this one.
        return;
    }
    if (scan_) {
        if (scan_->resized() && !scan_->running() && stop_asked_.load() == 0) {
            log_warning("agent.disk.resized", {{"error", scan_->outcome()->error()}});
            wants_restart_ = true;
            return;
        }
        if ((due || scan_wanted_) && !scan_->running() && scan_->begin(scan_tag_)) {
            scan_wanted_ = false;
            scan_tag_.clear();
            last_point_ = now;
        } else if (due) {
            not_before_ = now + std::min(interval_ns(), ns_per_s);
        }
        return;
    }
    if (!due) {
        return;
    }
    last_point_ = now;
    if (replicator_->consistent() && !replicator_->point_would_repeat()) {
        if (auto made = replicator_->make_point(pipeline::PointKind::crash, ""); !made) {
            log_warning("agent.point", {{"error", made.error()}});
        }
    }
}

void Agent::tend_stop() {
    const int asked = stop_asked_.load();
    if (asked == 0 || stopping_ == Stopping::goodbye) {
        return;
    }
    if (stopping_ == Stopping::no) {
        quiet_source(asked == 2);
        stop_deadline_ = clock_.boot() + final_limit_ns;
        stopping_ = asked == 2 ? Stopping::final_point : Stopping::goodbye;
        if (stopping_ == Stopping::goodbye) {
            replicator_->begin_stop(false, stop_limit_ns);
        }
        return;
    }
    // A last point of everything, and GOODBYE only when it is in the vault.
    const bool whole = !hrl_ || !hrl_->applying();
    if (!final_point_ && replicator_->consistent() && !scan_ && whole) {
        if (const auto made = replicator_->make_point(pipeline::PointKind::planned, "final")) {
            final_point_ = *made;
        }
    } else if (!final_point_ && scan_ && !scan_->running()) {
        const auto& outcome = scan_->outcome();
        if (outcome && scan_wanted_) {
            if (*outcome) {
                final_point_ = **outcome;
            } else {
                stop_trouble_ = outcome->error();
            }
        } else {
            scan_wanted_ = scan_->begin("final");
        }
    }
    const TrackedPoint* const point =
        final_point_ ? replicator_->points().find(*final_point_) : nullptr;
    const bool committed = point != nullptr && point->phase == PointPhase::committed;
    if (point != nullptr && point->phase == PointPhase::dropped) {
        stop_trouble_ =
            Error{Errc::resync_required, "the final point was dropped: " + point->reason};
    } else if (!committed && clock_.boot() - stop_deadline_ >= 0) {
        stop_trouble_ = Error{Errc::cancelled, "the final point was not committed in time"};
    } else if (committed) {
        stop_trouble_ = still_written();
    }
    if (committed || stop_trouble_) {
        if (stop_trouble_) {
            resume_guest();
        }
        stopping_ = Stopping::goodbye;
        replicator_->begin_stop(committed && !stop_trouble_, stop_limit_ns);
    }
}

// Written last: until then the next start assumes the worst.
Result<void> Agent::leave_state() {
    if (scan_) {
        scan_->stop();
    }
    if (qemu_ && qemu_->state() == QemuSource::State::attached) {
        qemu_->detach();
    }
    nbd_.reset();
    const bool all_spooled = replicator_->all_spooled();
    std::vector<DiskState> disks = state_->get().disks;
    for (std::size_t slot = 0; slot < captures_.size(); ++slot) {
        DiskCapture& capture = *captures_[slot];
        if (!scan_) {
            CW_TRY(capture.flush());
        }
        CW_TRY(capture.sync_map());
        const DiskCapture::Position at = capture.position();
        const bool exact = all_spooled && at.logging && !capture.fence_open();
        const auto lock = capture.lock();
        disks[slot].next = exact && !qemu_ ? at.next : Seq{};
        disks[slot].stream_hash = capture.stream_hash_locked();
        disks[slot].image_print = images_[slot]->fingerprint();
    }
    CW_CRASH_POINT("agent.stop.before_state");
    const auto witness = replicator_->witness();
    CW_TRY(state_->update([&](AgentState& state) {
        state.disks = disks;
        state.clean = true;
        state.witness_number = witness.first;
        state.witness_hash = witness.second;
    }));
    CW_CRASH_POINT("agent.stop.after_state");
    log_info("agent.stopped", {{"all_spooled", all_spooled}});
    return {};
}

}  // namespace cw::agent
