// MasterTarget: ingest → cache → volume. The process server in the other direction: the same door
// and the same durable cache, but what comes out becomes a disk here instead of objects in a vault.
//
//   reactors ─records→ spool ─stored→ volume stage → overlay and redo log … → target
//      ↑ spooled ────────┘                 │
//      └ opened, committed ← admission ←───┘
//
// It needs no vault and no keys: a second site, or the old site of a machine that runs elsewhere.
#pragma once

#include "appliance/admission.h"
#include "appliance/daemon.h"
#include "appliance/engine_link.h"
#include "appliance/reactor_rings.h"
#include "appliance/reader_pump.h"
#include "appliance/volume_stage.h"
#include "ingest/credit.h"
#include "ingest/listener.h"
#include "pipeline/budget.h"

#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace cw::appliance {

class MasterTarget final : public Daemon {
public:
    MasterTarget(const config::Settings& settings, DaemonContext context)
        : settings_(settings), context_(context) {}
    ~MasterTarget() override;
    Result<void> start();

    [[nodiscard]] std::uint16_t port() const override { return listener_->port(); }
    void fill_status(DaemonStatus& status) override;
    void apply(const config::Settings& settings) override;
    Result<std::string> post(const std::string& name, const std::string& body) override;
    bool tick() override;
    void drain(std::int64_t limit_ns) override;
    [[nodiscard]] std::optional<Error> failed() const override;
    [[nodiscard]] std::string budget_text() const override { return budget_.text(); }

private:
    Result<void> plan_memory();
    Result<void> open_cache();
    Result<std::vector<TargetOptions>> target_options() const;
    Result<void> make_stages();
    Result<void> open_door(std::vector<ingest::ReactorPorts> doors);
    std::vector<ingest::ReactorPorts> connect(cache::SpoolStagePorts& spool,
                                              AdmissionPorts& admission);
    void start_threads();
    void on_damaged(const upload::DamagedRecords& damaged);
    bool send_digests(std::uint32_t reactor, ingest::DigestReply& reply);

    config::Settings settings_;  // Main thread.
    DaemonContext context_;
    pipeline::MemoryBudget budget_;
    std::size_t ingest_slab_count_ = 0;

    std::unique_ptr<pipeline::SlabPool> ingest_slabs_, readback_slabs_;
    std::unique_ptr<Disk> spool_disk_, reader_disk_, volume_disk_;
    std::unique_ptr<volume::TargetProbe> probe_;
    std::unique_ptr<cache::Spool> spool_;
    std::unique_ptr<cache::SpoolReader> spool_reader_;

    std::vector<std::unique_ptr<ReactorRings>> rings_;
    pipeline::Ring<cache::SpoolCommand> spool_commands_{1024};
    pipeline::Ring<cache::StreamsOpened> streams_opened_{1024};
    pipeline::Ring<pipeline::MachineOpened> volume_opened_{1024};
    pipeline::Ring<pipeline::Release> releases_{4096};

    std::unique_ptr<ingest::SharedCredit> credit_;
    std::unique_ptr<ReaderPump> reader_;
    std::unique_ptr<EngineLink> link_;
    // Runners and their doorbells exist before what rings them; threads start last.
    std::unique_ptr<pipeline::Runner> spool_runner_, volume_runner_, admission_runner_;
    std::unique_ptr<VolumeStage> volume_stage_;
    std::unique_ptr<cache::SpoolStage> spool_stage_;
    std::unique_ptr<Admission> admission_;
    std::unique_ptr<ingest::Listener> listener_;
};

}  // namespace cw::appliance
