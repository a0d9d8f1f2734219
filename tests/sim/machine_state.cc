// What becomes of an agent's state directory.
#include "tests/sim/machine.h"
#include "tests/sim/world.h"

namespace cw::sim {

void Machine::lose_state() {
    world_.event("agent.lost_state", index_);
    world_.trace.count("fault.agent_lost_state");
    empty_state();
    if (!world_.calm() && random_->below(2) == 0) {
        const auto later = static_cast<std::int64_t>(random_->below(600)) * ns_per_ms;
        lose_again_at_ = start_at_ + later;
    }
}

void Machine::empty_state() {
    take_down();
    storage_ = make_storage(random_->next_u64());
    fresh_ = true;
    provable_ = clean_ = false;
    start_at_ = world_.clock.boot() + static_cast<std::int64_t>(random_->below(300)) * ns_per_ms;
    lose_again_at_.reset();
}

void Machine::save_state() {
    saved_ = Saved{.storage = make_storage(random_->next_u64()),
                   .provable = up() || provable_,
                   .clean = clean_,
                   .writes = writes_};
    storage_->copy_to(*saved_->storage);
}

void Machine::add_counts() {
    if (!up()) {
        return;
    }
    agent::BaseSender::Compared now;
    for (std::size_t i = 0; i < captures_.size(); ++i) {
        const agent::BaseSender::Compared& disk = replicator_->base(i).compared();
        now.equal_chunks += disk.equal_chunks;
        now.equal_after_all += disk.equal_after_all;
        now.sent_blocks += disk.sent_blocks;
    }
    Trace& trace = world_.trace;
    trace.count("seen.compared_equal", now.equal_chunks - counted_.equal_chunks);
    trace.count("seen.compared_equal_after_all", now.equal_after_all - counted_.equal_after_all);
    trace.count("seen.compared_blocks_sent", now.sent_blocks - counted_.sent_blocks);
    counted_ = now;
}

// As Agent::start() decides it: what was noted of the image must be so now.
void Machine::restore_state() {
    if (!saved_) {
        return;
    }
    take_down();
    world_.event("agent.old_state", index_);
    world_.trace.count("fault.agent_old_state");
    storage_ = std::move(saved_->storage);
    provable_ = saved_->provable && saved_->writes == writes_;
    if (world_.mutant == Mutant::old_state_believed) {
        provable_ = saved_->provable;
    }
    clean_ = saved_->clean;
    fresh_ = false;
    saved_.reset();
    start_at_ = world_.clock.boot() + static_cast<std::int64_t>(random_->below(300)) * ns_per_ms;
}

// The person who is asked does what the error says. Of two copies one is to be stopped: it stands.
void Machine::obey_advice() {
    const Error* const critical = up() && !copied() ? replicator_->critical() : nullptr;
    if (critical != nullptr && critical->code == Errc::state_superseded) {
        world_.event("agent.superseded", index_);
        world_.trace.count("seen.state_superseded");
        empty_state();
    }
}

}  // namespace cw::sim
