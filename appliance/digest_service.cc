#include "appliance/digest_service.h"

#include "base/assert.h"

#include <chrono>
#include <csignal>

#include <pthread.h>

namespace cw::appliance {

DigestService::~DigestService() {
    stop();
}

void DigestService::start() {
    CW_ASSERT(!thread_.joinable());
    thread_ = std::thread([this] { run(); });
}

void DigestService::stop() {
    stopping_.store(true, std::memory_order_release);
    {
        const std::lock_guard lock(mutex_);  // Or the thread could miss the word before it waits.
        wake_.notify_one();
    }
    if (thread_.joinable()) {
        thread_.join();
    }
}

void DigestService::ask(const ingest::DigestRequest& request) {
    const std::lock_guard lock(mutex_);
    asked_.push_back(request);
    wake_.notify_one();
}

void DigestService::run() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, nullptr);  // Signals are the main thread's.
    const auto store = ports_.stores.make();
    const auto stopping = [this] { return stopping_.load(std::memory_order_acquire); };
    DigestDesk desk({.clock = ports_.clock,
                     .store = *store,
                     .kek = ports_.kek,
                     .open_fence = ports_.open_fence,
                     .reply = ports_.reply,
                     .stopping = stopping});
    while (!stopping()) {
        const bool worked = desk.step();
        std::unique_lock lock(mutex_);
        const auto woken = [&] { return !asked_.empty() || stopping(); };
        if (worked) {
            // More may be possible at once.
        } else if (desk.idle()) {
            wake_.wait(lock, woken);
        } else {
            wake_.wait_for(lock, std::chrono::nanoseconds(DigestDesk::retry_ns), woken);
        }
        for (; !asked_.empty(); asked_.pop_front()) {
            desk.take(asked_.front());
        }
    }
}

}  // namespace cw::appliance
