#include "pipeline/stage.h"

#include "base/assert.h"
#include "base/ids.h"
#include "pipeline/thread_cpu.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdint>

#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

namespace cw::pipeline {
namespace {

// One stage never keeps its neighbours on the thread waiting longer than this many items.
constexpr std::size_t step_budget = 64;
// An idle runner still completes a round this often, so that the watchdog can tell idle from hung.
constexpr std::int64_t park_ns_max = ns_per_s;
constexpr Nanos no_deadline{INT64_MAX};

// Signals belong to the main thread.
void block_signals() noexcept {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, nullptr);
}

}  // namespace

Doorbell::Doorbell() : fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    CW_ASSERT(fd_.valid());
}

// Both sides exchange the same flag after they touched the queue. If the ringer comes second, it
// sees `true` and wakes; if it comes first, the sleeper's exchange acquires what was pushed. A
// plain load here could pass the push and lose the wake-up.
void Doorbell::ring() noexcept {
    if (!parked_.exchange(false, std::memory_order_acq_rel)) {
        return;
    }
    const std::uint64_t one = 1;
    const ssize_t written = ::write(fd_.get(), &one, sizeof one);
    // EAGAIN: the counter is at its limit, so the sleeper is awake anyway.
    CW_ASSERT(written == sizeof one || errno == EAGAIN);
}

void Doorbell::prepare() noexcept {
    parked_.exchange(true, std::memory_order_acq_rel);
}

void Doorbell::cancel() noexcept {
    parked_.exchange(false, std::memory_order_acq_rel);
}

void Doorbell::consume() noexcept {
    cancel();
    std::uint64_t rings = 0;
    const ssize_t got = ::read(fd_.get(), &rings, sizeof rings);
    CW_ASSERT(got == sizeof rings || errno == EAGAIN);
}

Runner::Runner(std::string name, Clock& clock) : name_(std::move(name)), clock_(clock) {}

Runner::~Runner() {
    stop();
}

void Runner::add(Stage& stage) {
    CW_ASSERT(!thread_.joinable());
    stages_.push_back(&stage);
}

void Runner::start() {
    CW_ASSERT(!thread_.joinable() && !stages_.empty());
    last_round_.store(raw(clock_.boot()), std::memory_order_relaxed);
    thread_ = std::thread([this] { run(); });
}

void Runner::stop() {
    stopping_.store(true, std::memory_order_release);
    doorbell_.ring();
    if (thread_.joinable()) {
        thread_.join();
    }
}

double Runner::cpu_seconds() const noexcept {
    return static_cast<double>(cpu_ns_.load(std::memory_order_relaxed)) / 1e9;
}

Nanos Runner::last_round() const noexcept {
    return Nanos{last_round_.load(std::memory_order_relaxed)};
}

void Runner::run() {
    block_signals();
    pthread_setname_np(pthread_self(), name_.substr(0, 15).c_str());
    bool announced = false;
    while (!stopping_.load(std::memory_order_acquire)) {
        bool worked = false, all_drained = true;
        for (Stage* stage : stages_) {
            const Progress progress = stage->step(step_budget);
            worked |= progress == Progress::worked;
            all_drained &= progress == Progress::drained;
        }
        last_round_.store(raw(clock_.boot()), std::memory_order_relaxed);
        if (all_drained) {
            break;
        }
        if (worked) {
            if (announced) {
                doorbell_.cancel();
                announced = false;
            }
        } else if (!announced) {
            doorbell_.prepare();  // The next round is the re-check.
            announced = true;
        } else {
            park();
            announced = false;
        }
    }
    doorbell_.consume();
    cpu_ns_.store(thread_cpu_ns(), std::memory_order_relaxed);
}

void Runner::park() {
    cpu_ns_.store(thread_cpu_ns(), std::memory_order_relaxed);
    std::vector<pollfd> waits;
    waits.reserve(stages_.size() + 1);
    waits.push_back({.fd = doorbell_.fd(), .events = POLLIN, .revents = 0});
    Nanos deadline = no_deadline;
    for (const Stage* stage : stages_) {
        deadline = std::min(deadline, stage->next_deadline());
        if (stage->event_fd() >= 0) {
            waits.push_back({.fd = stage->event_fd(), .events = POLLIN, .revents = 0});
        }
    }
    const Nanos now = clock_.boot();
    const std::int64_t left = deadline == no_deadline ? park_ns_max : deadline - now;
    const std::int64_t wait_ns = std::clamp<std::int64_t>(left, 0, park_ns_max);
    const timespec timeout{.tv_sec = wait_ns / ns_per_s, .tv_nsec = wait_ns % ns_per_s};
    const int ready = ::ppoll(waits.data(), waits.size(), &timeout, nullptr);
    CW_ASSERT(ready >= 0 || errno == EINTR);
    doorbell_.consume();
}

}  // namespace cw::pipeline
