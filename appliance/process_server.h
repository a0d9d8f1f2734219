// ProcessServer: ingest → cache → pipeline → egress, connected and put on threads.
//
//   reactors ─records→ spool ─stored→ assembly → compute → uploaders → publisher
//      ↑ spooled ────────┘                                              │
//      └ opened, committed ←──────────── admission ←─── opened ─────────┘
//
// Order of starting: what consumes starts before what produces; stopping is the reverse.
#pragma once

#include "appliance/admission.h"
#include "appliance/daemon.h"
#include "appliance/digest_service.h"
#include "appliance/engine_link.h"
#include "appliance/health_metrics.h"
#include "appliance/maintenance.h"
#include "appliance/reactor_rings.h"
#include "appliance/reader_pump.h"
#include "appliance/server_state.h"
#include "base/executor.h"
#include "egress/upload/store_runner.h"
#include "ingest/credit.h"
#include "ingest/listener.h"
#include "ingest/quarantine_file.h"
#include "pipeline/budget.h"

#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace cw::appliance {

class ProcessServer final : public Daemon {
public:
    ProcessServer(const config::Settings& settings, DaemonContext context);
    ~ProcessServer() override;
    Result<void> start();

    [[nodiscard]] std::uint16_t port() const override { return listener_->port(); }
    void fill_status(DaemonStatus& status) override;
    void apply(const config::Settings& settings) override;
    bool tick() override;
    void drain(std::int64_t limit_ns) override;
    [[nodiscard]] std::optional<Error> failed() const override;
    [[nodiscard]] std::string budget_text() const override { return plan_.budget.text(); }

private:
    Result<void> plan_memory();
    Result<void> open_cache();
    void make_engine();
    Result<void> open_door();
    void start_threads();
    void recover_machines();
    void note_witnesses(const upload::EngineStatus& status);
    void store_quarantines();
    void show_metrics(const upload::EngineStatus& status);
    [[nodiscard]] std::vector<std::pair<std::string, double>> cpu_by_stage() const;
    void apply_bandwidth();
    void on_damaged(const upload::DamagedRecords& damaged);
    [[nodiscard]] Result<void> authorise(const Identity& identity, const wire::Hello& hello) const;
    void make_digests();
    Result<void> make_maintenance();

    config::Settings settings_;  // Main thread.
    DaemonContext context_;
    VaultAccess vault_;
    vault::ServerSigner signer_;
    pipeline::MemoryPlan plan_;

    std::unique_ptr<pipeline::SlabPool> ingest_slabs_, segment_slabs_, readback_slabs_;
    std::unique_ptr<Executor> compute_;
    std::unique_ptr<Disk> spool_disk_, reader_disk_;
    std::unique_ptr<cache::Spool> spool_;
    std::unique_ptr<cache::SpoolReader> spool_reader_;
    std::vector<MachineId> recovered_;  // Machines the spool still holds something of.

    std::vector<std::unique_ptr<ReactorRings>> rings_;
    pipeline::Ring<cache::SpoolCommand> spool_commands_{1024};
    pipeline::Ring<cache::StreamsOpened> streams_opened_{1024};
    pipeline::Ring<pipeline::MachineOpened> engine_opened_{1024};
    pipeline::Ring<pipeline::Release> releases_{4096};

    std::unique_ptr<ingest::SharedCredit> credit_;
    std::unique_ptr<ReaderPump> reader_;
    std::unique_ptr<EngineLink> link_;
    std::unique_ptr<cache::SpoolStage> spool_stage_;
    std::unique_ptr<Admission> admission_;
    // Runners and their doorbells exist before what rings them; threads start last.
    std::unique_ptr<pipeline::Runner> spool_runner_, assembly_runner_, admission_runner_;
    std::unique_ptr<upload::StoreRunner> publish_runner_, open_runner_;
    std::vector<std::unique_ptr<upload::StoreRunner>> upload_runners_;
    std::unique_ptr<upload::Engine> engine_;
    std::unique_ptr<ingest::Listener> listener_;
    std::unique_ptr<DigestService> digests_;
    std::unique_ptr<blob::StoreFactory> gc_stores_;  // Null: this server never deletes.
    std::unique_ptr<Maintenance> maintenance_;

    std::mutex witness_mutex_;
    WitnessFile witness_;
    ingest::QuarantineFile quarantine_;  // Of the thread that ticks.
    std::mutex usage_mutex_;
    cache::SpoolUsage usage_;
    std::uint64_t last_live_ = 0;
    double fill_rate_ = 0;  // Bytes of cache per second, smoothed.
    bool recover_posted_ = false;
    HealthMetrics health_metrics_;
};

}  // namespace cw::appliance
