// ProcessServer: the terminal of the main direction: what comes out of the cache becomes segments
// and manifests in a vault.
//
//   stored → assembly → compute → uploaders → publisher
//
// Beside them, on threads of their own: digests for resyncs, and the vault's housekeeping.
#pragma once

#include "appliance/bandwidth_schedule.h"
#include "appliance/digest_service.h"
#include "appliance/intake.h"
#include "appliance/maintenance.h"
#include "appliance/resync_window.h"
#include "appliance/server_state.h"
#include "appliance/standing_orders.h"
#include "appliance/standing_trouble.h"
#include "appliance/terminal.h"
#include "base/executor.h"
#include "egress/upload/store_runner.h"

#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace cw::appliance {

class ProcessServer final : public Terminal {
public:
    ProcessServer(const config::Settings& settings, ServerContext context);
    ~ProcessServer() override { stop(); }

    [[nodiscard]] Role role() const noexcept override { return Role::process_server; }
    // Opens the vault first. Errors: those of open_vault_access() and make_server_signer().
    Result<pipeline::MemoryPlan> plan(pipeline::BudgetNeeds needs) override;
    Result<void> connect(Intake& intake, const pipeline::MemoryPlan& plan) override;
    void start() override;
    bool drain(const DrainLimit& limit) override;
    void stop() override;

    pipeline::Ring<pipeline::StoredRecord>& stored() override { return engine_->stored(); }
    void wake() override { assembly_runner_.doorbell().ring(); }
    void open_machine(upload::OpenCommand command) override { engine_->post(std::move(command)); }
    vault::ChainWitness witness(const MachineId& machine) override;
    void ask_digests(const ingest::DigestRequest& request) override { digests_->ask(request); }
    std::optional<std::string> resync_due(const MachineId& machine, const DiskId& disk) override;
    void resync_begun(const MachineId& machine, const DiskId& disk) override;
    [[nodiscard]] bool keeps_resync_orders() const noexcept override { return true; }
    void require_resync(const ingest::AgentNotice& notice) override;
    Result<void> authorise(const Identity& identity, const wire::Hello& hello) override;

    void fill_status(DaemonStatus& status) const override { status.engine = engine_->status(); }
    void apply(const config::Settings& settings) override;
    // move, resync: process_server_orders.cc.
    Result<std::string> post(const std::string& name, const std::string& body) override;
    void tick() override;
    [[nodiscard]] std::vector<StageThread> threads() const override;

private:
    void make_engine(Intake& intake, const pipeline::SlabSplit& slabs);
    void make_digests(Intake& intake);
    Result<void> make_maintenance();
    [[nodiscard]] std::vector<OwnedChain> owned_chains() const;
    void recover_machines();
    Result<std::string> move(const MachineId& machine, const std::string& to);
    Result<std::string> resync(const std::string& subject, WallMicros at);
    Result<std::string> rotate_data_key(const std::string& wanted);
    Result<std::string> discard(const MachineId& machine);
    Result<std::string> forgive(const MachineId& machine);
    void obey_orders(const upload::EngineStatus& status);
    void note_witnesses(const upload::EngineStatus& status);

    const config::Settings settings_;  // As of the start.
    ServerContext context_;
    Intake* intake_ = nullptr;  // From connect() on.
    VaultAccess vault_;
    vault::ServerSigner signer_;
    std::unique_ptr<pipeline::SlabPool> segment_slabs_;
    std::unique_ptr<Executor> compute_;
    // Runners and their doorbells exist before what rings them; threads start last.
    pipeline::Runner assembly_runner_;
    upload::StoreRunner publish_runner_, open_runner_;
    std::vector<std::unique_ptr<upload::StoreRunner>> upload_runners_;
    std::unique_ptr<upload::Engine> engine_;
    std::unique_ptr<DigestService> digests_;
    std::unique_ptr<blob::StoreFactory> gc_stores_;          // Null: this server never deletes.
    std::unique_ptr<Disk> upkeep_disk_ = make_posix_disk();  // Of its thread: a Disk is no more.
    std::unique_ptr<Maintenance> maintenance_;

    BandwidthSchedule bandwidth_;
    ResyncWindow resync_window_;
    // Of the orders, which come from the control port while the main thread uses the seams' own.
    std::unique_ptr<Disk> orders_disk_ = make_posix_disk();
    StandingOrders orders_;
    StandingTrouble orders_trouble_;
    std::mutex witness_mutex_;
    WitnessFile witness_;
    StandingTrouble witness_trouble_;
};

}  // namespace cw::appliance
