#include "egress/upload/store_runner.h"

#include "base/assert.h"
#include "pipeline/thread_cpu.h"

#include <algorithm>
#include <csignal>

#include <pthread.h>

namespace cw::upload {
namespace {

constexpr std::size_t step_budget = 64;
// An idle runner still completes a round this often, so that the watchdog can tell idle from hung.
constexpr std::int64_t park_ns_max = ns_per_s;

void block_signals() noexcept {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, nullptr);
}

}  // namespace

StoreRunner::StoreRunner(std::string name, Clock& clock) : name_(std::move(name)), clock_(clock) {}

StoreRunner::~StoreRunner() {
    stop();
}

void StoreRunner::start(BlobStage& stage) {
    CW_ASSERT(!thread_.joinable());
    last_round_.store(raw(clock_.boot()), std::memory_order_relaxed);
    thread_ = std::thread([this, &stage] { run(stage); });
}

void StoreRunner::stop() {
    stopping_.store(true, std::memory_order_release);
    doorbell_.ring();
    if (thread_.joinable()) {
        thread_.join();
    }
}

double StoreRunner::cpu_seconds() const noexcept {
    return static_cast<double>(cpu_ns_.load(std::memory_order_relaxed)) / 1e9;
}

Nanos StoreRunner::last_round() const noexcept {
    return Nanos{last_round_.load(std::memory_order_relaxed)};
}

void StoreRunner::run(BlobStage& stage) {
    block_signals();
    pthread_setname_np(pthread_self(), name_.substr(0, 15).c_str());
    bool announced = false;
    while (!stopping_.load(std::memory_order_acquire)) {
        const bool worked = stage.step(step_budget) == pipeline::Progress::worked;
        const Nanos now = clock_.boot();
        last_round_.store(raw(now), std::memory_order_relaxed);
        if (worked) {
            if (announced) {
                doorbell_.cancel();
                announced = false;
            }
        } else if (!announced) {
            doorbell_.prepare();  // The next round is the re-check.
            announced = true;
        } else {
            cpu_ns_.store(pipeline::thread_cpu_ns(), std::memory_order_relaxed);
            const Nanos deadline = std::min(stage.next_deadline(), now + park_ns_max);
            stage.store().wait(std::max<std::int64_t>(deadline - now, 0), doorbell_.fd());
            doorbell_.consume();
            announced = false;
        }
    }
    cpu_ns_.store(pipeline::thread_cpu_ns(), std::memory_order_relaxed);
}

}  // namespace cw::upload
