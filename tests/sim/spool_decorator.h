// SpoolDecorator: hands everything to the cache beneath. For whoever does a few things otherwise.
#pragma once

#include "cache/spool.h"

#include <memory>
#include <optional>
#include <vector>

namespace cw::sim {

class SpoolDecorator : public cache::Spool {
public:
    explicit SpoolDecorator(std::unique_ptr<cache::Spool> inner) : inner_(std::move(inner)) {}

    std::optional<cache::StoredRecord> next_recovered() override {
        return inner_->next_recovered();
    }
    [[nodiscard]] std::vector<cache::DamagedRange> damaged() const override {
        return inner_->damaged();
    }
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
    std::optional<cache::StoredRecord> take_durable() override { return inner_->take_durable(); }
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

protected:
    // Not on the way through the base: the one beneath is asked.
    std::unique_ptr<cache::Spool> inner_;

private:
    // Readers are made of the spool beneath.
    [[nodiscard]] std::shared_ptr<cache::SpoolIndex> index() const override { return nullptr; }
};

}  // namespace cw::sim
