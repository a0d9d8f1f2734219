// Process: one running process server, connected as appliance::ProcessServer connects it, with
// runners instead of threads and simulated devices beneath. It lives from start() until it is
// killed; what survives is on its disk and in the vault.
// Thread-safety: none.
#pragma once

#include "appliance/admission.h"
#include "appliance/engine_link.h"
#include "appliance/reader_pump.h"
#include "base/executor.h"
#include "cache/spool_stage.h"
#include "egress/upload/engine.h"
#include "ingest/credit.h"
#include "tests/fakes/sim_disk.h"
#include "tests/sim/digests.h"
#include "tests/sim/door.h"
#include "tests/sim/feed.h"
#include "tests/sim/host_clock.h"
#include "tests/sim/runner.h"
#include "tests/sim/store.h"

#include <map>
#include <memory>
#include <vector>

namespace cw::sim {

class World;
struct LentPool;

// What a server is by its state directory, and what it remembers there.
struct ServerState {
    std::size_t identity = 0;  // Shared with its clone.
    std::map<MachineId, vault::ChainWitness> witnesses;
    std::uint64_t random_seed = 0;  // Only for a planted bug: nobody keeps such a thing.
    std::int64_t clock_ahead_us = 0;
};

class Process {
public:
    // `state` outlives the process.
    Process(World& world, std::size_t index, ServerState& state);
    ~Process();
    Process(const Process&) = delete;
    Process& operator=(const Process&) = delete;

    // Errors: those of the cache and the store; the process then ends at once.
    Result<void> start();
    // From here on it does nothing any more; it may still be on the stack. Destroy it later.
    void kill();
    // Some part of it is being executed.
    [[nodiscard]] bool running() const;
    // Started and not killed.
    [[nodiscard]] bool ready() const noexcept { return door_ != nullptr && !life_.dead; }
    [[nodiscard]] bool dead() const noexcept { return life_.dead; }
    // The daemon would exit: the cache device failed.
    [[nodiscard]] bool failed() const { return stage_ && stage_->failed(); }
    [[nodiscard]] const std::vector<std::unique_ptr<SimRunner>>& runners() const noexcept {
        return runners_;
    }
    void accept(std::shared_ptr<Wire> wire, const MachineId& machine);
    // What the daemon's main thread does now and then.
    void tick();

    [[nodiscard]] upload::Engine& engine() noexcept { return *engine_; }
    [[nodiscard]] cache::Spool& spool() noexcept { return *spool_; }
    [[nodiscard]] const vault::ServerSigner& signer() const noexcept { return signer_; }
    [[nodiscard]] blob::StoreFactory& stores() noexcept { return *stores_; }
    [[nodiscard]] Conditions& conditions() noexcept { return conditions_; }
    [[nodiscard]] ingest::SharedCredit& credit() noexcept { return *credit_; }
    [[nodiscard]] Door& door() noexcept { return *door_; }
    // Nothing is queued anywhere between the door and the vault.
    [[nodiscard]] bool quiet();
    // Slabs that have not come home.
    [[nodiscard]] std::size_t slabs_out() const;

private:
    class Sink;

    Result<void> open_cache();
    void make_engine();
    void make_door();
    void make_digests();
    void make_runners();
    SimRunner& add_runner(pipeline::Stage& stage);
    void recover_machines();
    void show_again();  // Planted.
    [[nodiscard]] cache::SpoolOptions cache_options() const;
    [[nodiscard]] upload::EngineOptions engine_options() const;
    [[nodiscard]] appliance::AdmissionPorts admission_ports();
    [[nodiscard]] cache::SpoolStagePorts spool_ports();

    World& world_;
    std::size_t index_;
    ServerState& state_;
    HostClock clock_;
    ProcessLife life_;
    bool starting_ = false;
    std::unique_ptr<Random> random_;
    Conditions conditions_;
    std::unique_ptr<MetricRegistry> metrics_;
    LentPool *ingest_slabs_, *segment_slabs_, *readback_slabs_;
    std::unique_ptr<Executor> compute_;
    std::unique_ptr<blob::StoreFactory> stores_;
    vault::ServerSigner signer_;
    std::unique_ptr<Disk> spool_disk_, reader_disk_;
    std::unique_ptr<cache::Spool> spool_;
    std::unique_ptr<cache::SpoolReader> spool_reader_;
    std::vector<MachineId> recovered_;

    appliance::ReactorRings rings_;
    pipeline::Ring<cache::SpoolCommand> spool_commands_{64};
    pipeline::Ring<cache::StreamsOpened> streams_opened_{64};
    pipeline::Ring<pipeline::MachineOpened> engine_opened_{64};
    pipeline::Ring<pipeline::Release> releases_{256};
    pipeline::Ring<pipeline::StoredRecord> changed_{64};  // Between cache and feed.

    // The bells of the runners exist before what rings them.
    std::vector<std::unique_ptr<SimRunner>> runners_;
    SimRunner *spool_runner_, *assembly_runner_, *admission_runner_, *door_runner_,
        *publish_runner_, *open_runner_, *digests_runner_ = nullptr;
    std::vector<SimRunner*> upload_runners_;

    std::unique_ptr<ingest::SharedCredit> credit_;
    std::unique_ptr<ingest::SessionTable> table_;
    std::unique_ptr<appliance::ReaderPump> reader_;
    std::unique_ptr<upload::RecordReader> other_reader_;  // Only for some mutants.
    std::unique_ptr<Sink> sink_;
    std::unique_ptr<cache::SpoolStage> stage_;
    std::unique_ptr<appliance::Admission> admission_;
    std::unique_ptr<upload::Engine> engine_;
    std::unique_ptr<Door> door_;
    std::uint64_t seen_conditions_ = 0;                 // Only for one mutant.
    std::unique_ptr<pipeline::Stage> other_admission_;  // Only for one mutant.
    std::unique_ptr<Feed> feed_;                        // Only for some mutants.
    std::unique_ptr<Digests> digests_;                  // Not of every server.
};

}  // namespace cw::sim
