// SimRunner: one thread of a process, without the thread. It runs its stages as pipeline::Runner
// and upload::StoreRunner do, and sleeps as they do: until its doorbell rings, its stages' deadline
// passes, or a device or store it waits for has something. Nothing wakes it for good measure, so a
// ring that is forgotten is a hang, not a delay.
// Thread-safety: none.
#pragma once

#include "base/disk.h"
#include "base/random.h"
#include "pipeline/stage.h"
#include "tests/fakes/memory_vault.h"

#include <functional>
#include <vector>

namespace cw::sim {

class SimRunner {
public:
    SimRunner(Clock& clock, Random& random) : clock_(clock), random_(random) {}
    void add(pipeline::Stage& stage) { stages_.push_back(&stage); }
    // While it returns a moment that has come, the runner is woken: a reply, a completion.
    void wake_when(std::function<Nanos()> due) { sources_.push_back(std::move(due)); }
    [[nodiscard]] pipeline::Doorbell& doorbell() noexcept { return doorbell_; }

    // One round, if it is awake. True if its stages worked. `rung`: its doorbell's fd is readable.
    bool step(bool rung);
    [[nodiscard]] bool parked() const noexcept { return parked_; }
    [[nodiscard]] bool running() const noexcept { return running_; }  // On the stack now.
    // When it wakes by itself.
    [[nodiscard]] Nanos wakes_at() const;

private:
    Clock& clock_;
    Random& random_;
    pipeline::Doorbell doorbell_;
    std::vector<pipeline::Stage*> stages_;
    std::vector<std::function<Nanos()>> sources_;
    bool announced_ = false, parked_ = false, running_ = false;
    Nanos deadline_{};
};

}  // namespace cw::sim
