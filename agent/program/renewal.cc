#include "agent/program/renewal.h"

#include "agent/program/enrolment.h"
#include "base/log.h"

#include <algorithm>
#include <chrono>

namespace cw::agent {

Renewal::Renewal(Clock& clock, std::string state_directory, std::int64_t before_ns)
    : clock_(clock),
      state_directory_(std::move(state_directory)),
      before_s_(before_ns / ns_per_s),
      disk_(make_posix_disk()),
      thread_([this] { run(); }) {}

Renewal::~Renewal() {
    {
        const std::lock_guard lock(mutex_);
        stop_ = true;
    }
    wake_.notify_all();
    thread_.join();
}

void Renewal::run() {
    std::unique_lock lock(mutex_);
    while (!stop_) {
        lock.unlock();
        const auto pause = std::chrono::seconds(look());
        lock.lock();
        wake_.wait_for(lock, pause, [this] { return stop_; });
    }
}

std::int64_t Renewal::look() {
    constexpr std::int64_t pause_s_min = 10, pause_s_max = 600;
    const auto enrolment = read_enrolment(*disk_, state_directory_);
    if (!enrolment) {
        log_warning("agent.renewal.failed", {{"error", enrolment.error()}});
        return pause_s_max;
    }
    const auto validity =
        validity_of(enrolment->files, static_cast<std::int64_t>(clock_.wall()) / 1'000'000);
    if (!validity) {  // Expired: only an operator's token helps, and may have come meanwhile.
        log_warning("agent.renewal.failed", {{"error", validity.error()}});
        return pause_s_max;
    }
    const std::int64_t pause_s = std::clamp(validity->third_s / 20, pause_s_min, pause_s_max);
    if (validity->left_s >= (before_s_ > 0 ? before_s_ : validity->third_s)) {
        return pause_s;
    }
    const auto renewed = renew(*disk_, state_directory_);
    if (!renewed) {
        log_warning("agent.renewal.failed",
                    {{"error", renewed.error()}, {"valid_s", validity->left_s}});
    } else {
        log_info("agent.renewal.done", {{"machine", renewed->machine}});
    }
    return pause_s;
}

}  // namespace cw::agent
