#include "tests/sim/mutant_parts.h"

#include "base/checksum.h"
#include "pipeline/extent_table.h"
#include "tests/sim/machine.h"
#include "tests/sim/mutant_disk.h"
#include "tests/sim/mutant_spool.h"
#include "tests/sim/oracles/oracles.h"
#include "tests/sim/process.h"
#include "tests/sim/world.h"

namespace cw::sim {
namespace {

// Believes what it reads: checksums are made to fit the bytes, wherever those come from.
class UncheckedReader final : public upload::RecordReader {
public:
    explicit UncheckedReader(upload::RecordReader& inner) : inner_(inner) {}
    void read(pipeline::Lsn lsn, pipeline::Record& record,
              std::function<void(Result<void>)> done) override {
        inner_.read(lsn, record, [&record, done = std::move(done)](Result<void> result) {
            if (!result && result.error().code == Errc::record_corrupt && believe(record)) {
                result = {};
            }
            done(std::move(result));
        });
    }
    std::size_t poll() override { return inner_.poll(); }
    [[nodiscard]] std::size_t in_flight() const noexcept override { return inner_.in_flight(); }
    [[nodiscard]] int event_fd() const override { return inner_.event_fd(); }

private:
    static bool believe(pipeline::Record& record) {
        auto table =
            pipeline::read_extent_table(record.table.bytes(), record.header.data_bytes, UINT64_MAX);
        if (!table || !record.has_data()) {
            return false;
        }
        for (pipeline::Extent& extent : table->extents) {
            std::uint32_t crc = 0;
            for (std::uint32_t at = 0; at < extent.length && extent.op == pipeline::ExtentOp::write;
                 at += sector_bytes) {
                crc = crc32c(record.data_in_slab(extent.data_position + at, sector_bytes), crc);
            }
            extent.crc = crc;
        }
        pipeline::write_extent_table(*table, record.table.bytes());
        record.header.table_crc = crc32c(record.table.bytes());
        return true;
    }
    upload::RecordReader& inner_;
};

// Leaves out one sequence where the distance should be random. What else an agent draws, its count
// of starts first, stays its own.
class SameLeaps final : public Random {
public:
    explicit SameLeaps(Random& own) : own_(own) {}
    void fill(std::span<std::byte> out) override {
        if (std::exchange(counted_, true) && out.size() == sizeof(std::uint64_t)) {
            std::ranges::fill(out, std::byte{0});
        } else {
            own_.fill(out);
        }
    }

private:
    Random& own_;
    bool counted_ = false;
};

// Tells the oracle what a server lets go of. Beneath what is planted.
class WatchedSpool final : public SpoolDecorator {
public:
    WatchedSpool(std::unique_ptr<cache::Spool> inner, SpoolOracle& oracle, std::size_t server)
        : SpoolDecorator(std::move(inner)), oracle_(oracle), server_(server) {}
    std::optional<cache::StoredRecord> next_recovered() override {
        return noted(inner_->next_recovered());
    }
    std::optional<cache::StoredRecord> take_durable() override {
        return noted(inner_->take_durable());
    }
    void release(cache::Lsn lsn) override {
        if (const auto write = held_.let_go(lsn)) {
            oracle_.on_let_go(server_, *write, held_);
        }
        inner_->release(lsn);
    }

private:
    std::optional<cache::StoredRecord> noted(std::optional<cache::StoredRecord> stored) {
        if (stored) {
            held_.hold(stored->lsn, stored->record.header);
        }
        return stored;
    }
    SpoolOracle& oracle_;
    std::size_t server_;
    HeldWrites held_;
};

// Asks to be called at once whenever it is asked when.
class Restless final : public pipeline::Stage {
public:
    explicit Restless(pipeline::Stage& inner) : inner_(inner) {}
    pipeline::Progress step(std::size_t budget) override { return inner_.step(budget); }
    [[nodiscard]] Nanos next_deadline() const override { return Nanos{0}; }
    [[nodiscard]] int event_fd() const override { return inner_.event_fd(); }
    [[nodiscard]] std::string_view name() const noexcept override { return inner_.name(); }

private:
    pipeline::Stage& inner_;
};

class NoRandom final : public Random {
public:
    void fill(std::span<std::byte> out) override { std::ranges::fill(out, std::byte{0}); }
};

}  // namespace

Random& kek_random(Mutant mutant, Random& own) {
    static NoRandom none;
    return mutant == Mutant::wrap_nonce_fixed ? static_cast<Random&>(none) : own;
}

// Whoever has a witness is not at a machine's first contact: this one forgets that, too.
void spoil_open(const World& world, upload::OpenCommand& open) {
    if (world.mutant == Mutant::keys_made_anew) {
        open.open.witness_number = 0;
        open.server_witness = {};
    }
    if (world.mutant == Mutant::witness_forgotten &&
        open.open.witness_number <= open.server_witness.number) {
        open.open.witness_number = 0;
    }
}

// Nothing is left to compare it with: all of it is to be sent. This one compares, and digests.cc
// tells it that all is equal.
void spoil_answer(const World& world, pipeline::MachineOpened& opened) {
    if (world.mutant != Mutant::departed_gone_on_with) {
        return;
    }
    for (const auto& machine : world.machines) {
        for (std::size_t slot = 0; slot < opened.disks.size(); ++slot) {
            pipeline::DiskAction& action = opened.disks[slot].action;
            if (machine->id() == opened.machine && machine->came_back(slot) &&
                action == pipeline::DiskAction::initial) {
                action = pipeline::DiskAction::resync;
            }
        }
    }
}

std::unique_ptr<Random> make_agent_random(const World& world, Random& own) {
    return world.mutant == Mutant::no_own_sequences ? std::make_unique<SameLeaps>(own) : nullptr;
}

std::unique_ptr<Random> make_process_random(World& world, ServerState& state) {
    const std::uint64_t fresh = world.random->next_u64();
    // "Seeded from a file that each start renews": sound, until somebody copies the file.
    state.random_seed = state.random_seed * 0x5851f42d4c957f2dULL + 1;
    if (world.mutant == Mutant::seed_kept_on_disk) {
        return make_seeded_random(state.random_seed);
    }
    // "Seeded from the server's name": every start draws the same keys and names again.
    return make_seeded_random(world.mutant == Mutant::nonce_reused ? 77 + state.identity : fresh);
}

std::unique_ptr<Disk> make_server_disk(World& world, fakes::SimStorage& storage,
                                       const bool& starting) {
    switch (world.mutant) {
        case Mutant::ack_before_sync:
        case Mutant::sync_error_retried:
        case Mutant::trusts_page_cache:
        case Mutant::unsynced_directory:
        case Mutant::unread_is_zero:
            return std::make_unique<MutantDisk>(storage.make_disk(), world.mutant, starting);
        default:
            return storage.make_disk();
    }
}

std::unique_ptr<cache::Spool> wrap_spool(World& world, std::size_t server,
                                         std::unique_ptr<cache::Spool> spool) {
    spool = std::make_unique<WatchedSpool>(std::move(spool), world.oracles->spool, server);
    switch (world.mutant) {
        case Mutant::trimmed_before_commit:
        case Mutant::torn_tail_in_the_middle:
        case Mutant::never_let_go:
            return std::make_unique<MutantSpool>(std::move(spool), world.mutant);
        default:
            return spool;
    }
}

std::unique_ptr<upload::RecordReader> wrap_reader(World& world, upload::RecordReader& reader) {
    return world.mutant == Mutant::no_payload_checksum ? std::make_unique<UncheckedReader>(reader)
                                                       : nullptr;
}

std::unique_ptr<pipeline::Stage> wrap_stage(const World& world, pipeline::Stage& stage) {
    return world.mutant == Mutant::never_rests ? std::make_unique<Restless>(stage) : nullptr;
}

}  // namespace cw::sim
