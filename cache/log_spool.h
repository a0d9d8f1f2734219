// LogSpool: the Spool over one recycled file. See spool.h for the contract, FORMAT.md for the
// bytes.
#pragma once

#include "cache/checkpointer.h"
#include "cache/cleaner.h"
#include "cache/recovery.h"
#include "cache/spool.h"
#include "cache/spool_files.h"

#include <deque>
#include <map>

namespace cw::cache {

class LogSpool final : public Spool {
public:
    LogSpool(SpoolOptions options, Context context, SpoolFiles files, Recovered recovered);
    ~LogSpool() override;  // Waits for what is on its way, so that its memory may go.
    LogSpool(const LogSpool&) = delete;
    LogSpool& operator=(const LogSpool&) = delete;

    // Makes durable what recovery decided. Before that nothing is promised. Errors: io_error.
    Result<void> confirm_recovery();
    // Behind it: see repair_superblocks(). Errors: io_error.
    Result<void> repair(const std::array<bool, 2>& superblock_damaged);

    std::optional<StoredRecord> next_recovered() override;
    [[nodiscard]] std::vector<DamagedRange> damaged() const override { return damaged_; }
    [[nodiscard]] std::vector<StreamState> streams() const override { return streams_.states(); }
    [[nodiscard]] const StreamTable& stream_table() const override { return streams_; }
    void settle_stream(const StreamKey& key, Seq committed, Seq open_fence) override;
    void take_again(const StreamKey& key, Seq durable) override;
    [[nodiscard]] SpoolId id() const override { return superblock_.id; }

    bool append(Record& record) override;
    std::vector<Record> withdraw(const MachineId& machine) override;
    [[nodiscard]] bool on_its_way(const MachineId& machine) const override {
        return !records_on_their_way(machine).empty();
    }
    std::optional<StoredRecord> take_durable() override;
    void release(Lsn lsn) override;
    void forget_stream(const StreamKey& key) override;
    pipeline::Progress step(std::size_t budget) override;
    [[nodiscard]] Nanos next_deadline() const override;
    [[nodiscard]] bool idle() const override;
    Result<void> close() override;
    bool reserve(std::uint64_t bytes) override;
    void unreserve(std::uint64_t bytes) override;
    [[nodiscard]] SpoolUsage usage() const override;
    [[nodiscard]] std::optional<Error> failed() const override { return failed_; }

private:
    [[nodiscard]] std::shared_ptr<SpoolIndex> index() const override { return index_; }

    // Space (log_spool.cc).
    [[nodiscard]] std::uint64_t capacity() const noexcept;
    [[nodiscard]] std::uint64_t room() const;      // Without what is kept back,
    [[nodiscard]] std::uint64_t writable() const;  // and with it.
    // What a condition for a full cache leaves as room, so that it does not flap.
    [[nodiscard]] std::uint64_t little() const noexcept;
    [[nodiscard]] bool space_for(std::uint64_t bytes, std::uint64_t reserved_after) const;
    void say_full();
    void watch();  // Conditions and gauges.
    void note_loss(const DamagedRange& range);
    void end_loss(const StreamKey& key);
    void watch_losses();
    void fail_with(const Error& error);

    // Writing (log_spool_write.cc).
    void let_go();  // After a failure.
    bool submit(std::size_t budget);
    bool submit_one();
    [[nodiscard]] bool fits_open(const BatchItem& item) const;
    [[nodiscard]] bool has_room(const std::deque<BatchItem>& queue, bool may_use_reserve) const;
    void switch_region();
    std::vector<BatchItem> collect(bool take_new);
    void start_batch(std::vector<BatchItem> items);
    bool reap();
    // What is being written of the machine, in append order.
    [[nodiscard]] std::vector<RecordHeader> records_on_their_way(const MachineId& machine) const;
    void complete(Batch& batch);
    void complete_item(const Batch& batch, BatchItem& item, const Place& place);

    // Checkpoints and cleaning (log_spool_upkeep.cc).
    bool checkpoint_if_due();
    [[nodiscard]] bool checkpoint_due() const;
    [[nodiscard]] bool mark_waits() const;
    void choose_next();
    void start_checkpoint();
    // Pumps the disk until the running checkpoint is done.
    void wait_for_checkpoint();
    void finish_checkpoint();
    bool clean();
    void start_cleaning();
    void give_up_open();

    SpoolOptions options_;
    Context context_;
    Superblock superblock_;
    std::unique_ptr<File> log_;
    std::shared_ptr<SpoolIndex> index_;
    RegionTable regions_;
    StreamTable streams_;
    Checkpointer checkpointer_;
    Cleaner cleaner_;

    // Recovered, not yet handed out.
    std::vector<RecoveredRecord> recovered_;
    std::size_t recovered_next_ = 0;
    std::vector<DamagedRange> damaged_;
    Losses unrepaired_;
    Nanos opened_{};

    std::deque<BatchItem> pending_, moving_;  // Waiting for a batch.
    std::uint64_t pending_bytes_ = 0;
    std::uint64_t moving_bytes_ = 0;  // Also of moves in flight.
    std::deque<std::unique_ptr<Batch>> in_flight_;
    std::deque<StoredRecord> durable_;

    Lsn next_lsn_, durable_lsn_{};
    std::uint64_t next_batch_, durable_through_, epoch_;
    std::uint64_t last_moved_;  // Lowest LSN moved by the latest batch.
    std::uint64_t reserved_ = 0;

    bool next_named_ = false;  // A durable checkpoint names the next region.
    bool checkpoint_running_ = false, checkpoint_names_next_ = false;
    bool table_changed_ = false;  // Streams or losses, since the checkpoint.
    std::uint64_t checkpointed_through_ = 0, checkpoint_through_ = 0;
    Nanos last_checkpoint_{};

    std::optional<Error> failed_;
    bool closed_ = false, full_ = false, slow_ = false;
    Nanos slow_until_{}, next_gauges_{};
    Gauge *live_gauge_, *dead_gauge_, *free_gauge_, *reserved_gauge_;
    Histogram* sync_seconds_;
    Counter* moved_total_;
};

}  // namespace cw::cache
