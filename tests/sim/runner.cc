#include "tests/sim/runner.h"

#include <algorithm>

namespace cw::sim {

Nanos SimRunner::ask() const {
    Nanos soonest = deadline_;
    for (const auto& due : sources_) {
        soonest = std::min(soonest, due(parked_at_));
    }
    for (const Source* due : awaited_) {
        soonest = std::min(soonest, (*due)(parked_at_));
    }
    return soonest;
}

void SimRunner::park() {
    deadline_ = Nanos{INT64_MAX};
    for (const pipeline::Stage* stage : stages_) {
        deadline_ = std::min(deadline_, stage->next_deadline());
    }
    spins_ = deadline_ <= clock_.boot() ? spins_ + 1 : 0;
    parked_ = true;
    parked_at_ = clock_.boot();
    awaited_.clear();
    for (const Replies& replies : replies_) {
        if (replies.on_its_way()) {
            awaited_.push_back(&replies.due);
        }
    }
    asks_ = !sources_.empty() || !awaited_.empty();
}

bool SimRunner::run_stages() {
    running_ = true;
    bool worked = false;
    for (pipeline::Stage* stage : stages_) {
        worked |= stage->step(1 + random_.below(64)) == pipeline::Progress::worked;
    }
    running_ = false;
    return worked;
}

bool SimRunner::step(bool rung) {
    if (running_) {
        return false;
    }
    if (parked_) {
        if (!rung && wakes_at() > clock_.boot()) {
            return false;
        }
        doorbell_.consume();
        parked_ = announced_ = false;
    }
    bool worked = run_stages();
    if (!worked && !announced_ && random_.below(4) != 0) {
        doorbell_.prepare();  // Nobody comes in between: the re-check may follow at once.
        announced_ = true;
        worked = run_stages();
    }
    if (worked) {
        spins_ = 0;
        if (announced_) {
            doorbell_.cancel();
            announced_ = false;
        }
    } else if (!announced_) {
        doorbell_.prepare();  // The next round is the re-check.
        announced_ = true;
    } else {
        park();
    }
    return worked;
}

}  // namespace cw::sim
