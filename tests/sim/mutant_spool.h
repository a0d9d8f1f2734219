// Planted bugs around the cache: a Spool that forgets too early or explains damage away.
#pragma once

#include "tests/sim/mutants.h"
#include "tests/sim/spool_decorator.h"

namespace cw::sim {

class MutantSpool final : public SpoolDecorator {
public:
    MutantSpool(std::unique_ptr<cache::Spool> inner, Mutant mutant)
        : SpoolDecorator(std::move(inner)), mutant_(mutant) {}

    std::optional<cache::StoredRecord> next_recovered() override;
    [[nodiscard]] std::vector<cache::DamagedRange> damaged() const override;
    std::optional<cache::StoredRecord> take_durable() override;
    void release(cache::Lsn lsn) override;

private:
    Mutant mutant_;
};

}  // namespace cw::sim
