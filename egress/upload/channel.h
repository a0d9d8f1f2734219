// Channel<T>: a ring between two stages with a producer-side overflow, so that two stages that send
// to each other cannot block each other. The overflow is bounded by what the sender can have
// outstanding (ledger items), not by the ring.
// Thread-safety: one thread sends and flushes, one thread receives.
#pragma once

#include "pipeline/ring.h"
#include "pipeline/stage.h"

#include <deque>

namespace cw::upload {

template <typename T>
class Channel {
public:
    // `receiver` is rung after something was pushed.
    Channel(std::size_t capacity, pipeline::Doorbell& receiver)
        : ring_(capacity), receiver_(receiver) {}

    void send(T value) {
        waiting_.push_back(std::move(value));
        flush();
    }
    // Sender: call once per step. True when everything has been handed over.
    bool flush() {
        bool pushed = false;
        while (!waiting_.empty() && ring_.try_push(waiting_.front())) {
            waiting_.pop_front();
            pushed = true;
        }
        if (pushed) {
            receiver_.ring();
        }
        return waiting_.empty();
    }
    bool receive(T& value) { return ring_.try_pop(value); }
    [[nodiscard]] bool empty() const noexcept { return ring_.empty(); }

private:
    pipeline::Ring<T> ring_;
    pipeline::Doorbell& receiver_;
    std::deque<T> waiting_;
};

}  // namespace cw::upload
