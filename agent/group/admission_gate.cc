#include "agent/group/admission_gate.h"

#include "base/assert.h"

#include <algorithm>

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

namespace cw::agent {

AdmissionGate::AdmissionGate(Clock& clock)
    : clock_(clock), opened_(::eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK)) {
    CW_ASSERT(opened_.valid());
}

void AdmissionGate::close(Nanos until) {
    CW_ASSERT(state_.load() != State::closed);
    std::uint64_t count = 0;
    // Nothing there: it was broken. (A cast alone does not satisfy the compiler at -O2.)
    [[maybe_unused]] const ssize_t got = ::read(opened_.get(), &count, sizeof count);
    until_.store(until);
    state_.store(State::closed);
}

bool AdmissionGate::open() {
    const bool closed = state_.exchange(State::open) == State::closed;
    const bool in_time = clock_.boot() - until_.load() < 0;
    const std::uint64_t one = 1;
    CW_ASSERT(::write(opened_.get(), &one, sizeof one) == sizeof one);
    return closed && in_time;
}

void AdmissionGate::wait(std::unique_lock<std::mutex>& lock) {
    while (state_.load() == State::closed) {
        const std::int64_t left = until_.load() - clock_.boot();
        if (left <= 0) {
            State closed = State::closed;
            state_.compare_exchange_strong(closed, State::broken);
            return;
        }
        lock.unlock();
        pollfd told{opened_.get(), POLLIN, 0};
        const std::int64_t wait_ms = std::min<std::int64_t>((left + ns_per_ms - 1) / ns_per_ms, 50);
        ::poll(&told, 1, static_cast<int>(wait_ms));
        lock.lock();
    }
}

}  // namespace cw::agent
