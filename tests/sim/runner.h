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
    // Once the moment it returns has come, the runner is woken: a reply, a completion. Told when
    // the runner went to sleep.
    using Source = std::function<Nanos(Nanos parked_at)>;
    void wake_when(Source due) { sources_.push_back(std::move(due)); }
    // The same while something is on its way, which only its own stages can send for: who sleeps
    // without having done so is not asked again and again.
    void wake_when(std::function<bool()> on_its_way, Source due) {
        replies_.push_back({std::move(on_its_way), std::move(due)});
    }
    [[nodiscard]] pipeline::Doorbell& doorbell() noexcept { return doorbell_; }

    // One round, if it is awake. True if its stages worked. `rung`: its doorbell's fd is readable.
    bool step(bool rung);
    [[nodiscard]] bool parked() const noexcept { return parked_; }
    [[nodiscard]] bool running() const noexcept { return running_; }  // On the stack now.
    // When it wakes by itself: most sleepers wait for nothing but their deadline.
    [[nodiscard]] Nanos wakes_at() const { return asks_ ? ask() : deadline_; }

    // How often in a row it went to sleep with a deadline that had passed already: a real thread
    // would burn a processor meanwhile.
    [[nodiscard]] std::size_t spins() const noexcept { return spins_; }
    [[nodiscard]] std::string_view name() const noexcept { return stages_.front()->name(); }

private:
    struct Replies {
        std::function<bool()> on_its_way;
        Source due;
    };
    bool run_stages();
    void park();
    [[nodiscard]] Nanos ask() const;

    // First what the world looks at in every round, of everybody: one cache line.
    bool announced_ = false, parked_ = false, running_ = false;
    bool asks_ = false;  // Parked, and more than its deadline may wake it.
    Nanos deadline_{}, parked_at_{};
    std::size_t spins_ = 0;
    pipeline::Doorbell doorbell_;
    Clock& clock_;
    Random& random_;
    std::vector<pipeline::Stage*> stages_;
    std::vector<Source> sources_;
    std::vector<Replies> replies_;
    std::vector<const Source*> awaited_;  // Of replies_, when the runner went to sleep.
};

}  // namespace cw::sim
