// Planted bugs around the cache: a Spool that forgets too early or explains damage away.
#pragma once

#include "cache/spool.h"
#include "tests/sim/mutants.h"

#include <memory>
#include <optional>

namespace cw::sim {

class MutantSpool final : public cache::Spool {
public:
    MutantSpool(std::unique_ptr<cache::Spool> inner, Mutant mutant)
        : inner_(std::move(inner)), mutant_(mutant) {}

    std::optional<cache::StoredRecord> next_recovered() override;
    [[nodiscard]] std::vector<cache::DamagedRange> damaged() const override;
    [[nodiscard]] std::vector<cache::StreamState> streams() const override {
        return inner_->streams();
    }
    [[nodiscard]] const cache::StreamTable& stream_table() const override {
        return inner_->stream_table();
    }
    void take_again(const cache::StreamKey& key, Seq durable) override {
        inner_->take_again(key, durable);
    }
    void settle_stream(const cache::StreamKey& key, Seq committed, Seq open_fence) override {
        inner_->settle_stream(key, committed, open_fence);
    }
    [[nodiscard]] SpoolId id() const override { return inner_->id(); }
    bool append(cache::Record& record) override { return inner_->append(record); }
    std::vector<cache::Record> withdraw(const MachineId& machine) override {
        return inner_->withdraw(machine);
    }
    [[nodiscard]] bool on_its_way(const MachineId& machine) const override {
        return inner_->on_its_way(machine);
    }
    std::optional<cache::StoredRecord> take_durable() override;
    void release(cache::Lsn lsn) override { inner_->release(lsn); }
    void forget_stream(const cache::StreamKey& key) override { inner_->forget_stream(key); }
    pipeline::Progress step(std::size_t budget) override { return inner_->step(budget); }
    [[nodiscard]] Nanos next_deadline() const override { return inner_->next_deadline(); }
    [[nodiscard]] bool idle() const override { return inner_->idle(); }
    Result<void> close() override { return inner_->close(); }
    bool reserve(std::uint64_t bytes) override { return inner_->reserve(bytes); }
    void unreserve(std::uint64_t bytes) override { inner_->unreserve(bytes); }
    [[nodiscard]] cache::SpoolUsage usage() const override { return inner_->usage(); }
    [[nodiscard]] std::optional<Error> failed() const override { return inner_->failed(); }

private:
    // Readers are made of the spool beneath.
    [[nodiscard]] std::shared_ptr<cache::SpoolIndex> index() const override { return nullptr; }

    std::unique_ptr<cache::Spool> inner_;
    Mutant mutant_;
};

}  // namespace cw::sim
