#include "egress/blob/completion_queue.h"

#include <algorithm>
#include <utility>

#include <poll.h>

namespace cw::blob {

std::size_t CompletionQueue::run() {
    std::deque<std::function<void()>> batch = std::exchange(queue_, {});
    running_ += batch.size();
    const std::size_t count = batch.size();
    for (std::function<void()>& work : batch) {
        --running_;
        work();
    }
    return count;
}

void CompletionQueue::wait(std::int64_t timeout_ns, int wake_fd) const {
    if (!queue_.empty()) {
        return;
    }
    pollfd wake{.fd = wake_fd, .events = POLLIN, .revents = 0};
    const std::int64_t bounded_ns = std::clamp<std::int64_t>(timeout_ns, 0, 60'000'000'000);
    const timespec timeout{.tv_sec = bounded_ns / 1'000'000'000,
                           .tv_nsec = bounded_ns % 1'000'000'000};
    // An early return on a signal is allowed: wait() promises at most the time, not at least.
    (void)ppoll(&wake, wake_fd >= 0 ? 1 : 0, &timeout, nullptr);
}

}  // namespace cw::blob
