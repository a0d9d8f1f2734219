// StoreRunner: the thread of a stage that waits for an object store. It steps the stage and, when
// there is nothing to do, waits in store().wait() until a reply, a ring of its doorbell or the
// stage's next deadline. Never spins.
#pragma once

#include "egress/upload/engine.h"

#include <atomic>
#include <string>
#include <thread>

namespace cw::upload {

class StoreRunner {
public:
    StoreRunner(std::string name, Clock& clock);
    ~StoreRunner();  // stop()s and joins.
    StoreRunner(const StoreRunner&) = delete;
    StoreRunner& operator=(const StoreRunner&) = delete;

    [[nodiscard]] pipeline::Doorbell& doorbell() noexcept { return doorbell_; }
    void start(BlobStage& stage);  // Once.
    void stop();                   // After the current step; joins. Idempotent.
    // CPU seconds this thread has used, and boot time of its last round. Any thread.
    [[nodiscard]] double cpu_seconds() const noexcept;
    [[nodiscard]] Nanos last_round() const noexcept;

private:
    void run(BlobStage& stage);

    std::string name_;
    Clock& clock_;
    pipeline::Doorbell doorbell_;
    std::atomic<bool> stopping_{false};
    std::atomic<std::int64_t> last_round_{0};
    std::atomic<std::int64_t> cpu_ns_{0};
    std::thread thread_;
};

}  // namespace cw::upload
