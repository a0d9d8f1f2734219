// Work that finishes inside a later poll(): how stores without a network keep the contract that a
// callback never runs inside the call that started it.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>

namespace cw::blob {

// Thread-safety: none, like the store it serves.
class CompletionQueue {
public:
    void push(std::function<void()> work) { queue_.push_back(std::move(work)); }
    // Runs what was queued before the call; work queued meanwhile waits for the next run, so that a
    // callback starting new operations cannot keep poll() busy for ever.
    std::size_t run();
    // Returns at once if work is queued; else waits for `wake_fd` or the time to pass.
    void wait(std::int64_t timeout_ns, int wake_fd) const;
    [[nodiscard]] std::size_t size() const noexcept { return queue_.size() + running_; }

private:
    std::deque<std::function<void()>> queue_;
    std::size_t running_ = 0;  // Taken from the queue by run() and not yet called.
};

}  // namespace cw::blob
