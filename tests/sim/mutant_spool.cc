#include "tests/sim/mutant_spool.h"

namespace cw::sim {

std::optional<cache::StoredRecord> MutantSpool::next_recovered() {
    // Damage in the middle is taken for the end of the log: what follows was "never written".
    if (mutant_ == Mutant::torn_tail_in_the_middle && !inner_->damaged().empty()) {
        while (inner_->next_recovered()) {
        }
        return std::nullopt;
    }
    return inner_->next_recovered();
}

std::vector<cache::DamagedRange> MutantSpool::damaged() const {
    return mutant_ == Mutant::torn_tail_in_the_middle ? std::vector<cache::DamagedRange>{}
                                                      : inner_->damaged();
}

std::optional<cache::StoredRecord> MutantSpool::take_durable() {
    std::optional<cache::StoredRecord> stored = inner_->take_durable();
    if (stored && mutant_ == Mutant::trimmed_before_commit) {
        inner_->release(stored->lsn);
    }
    return stored;
}

void MutantSpool::release(cache::Lsn lsn) {
    if (mutant_ != Mutant::never_let_go || raw(lsn) % 4 != 0) {
        inner_->release(lsn);
    }
}

}  // namespace cw::sim
