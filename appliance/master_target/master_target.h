// MasterTarget: the terminal of the other direction: what comes out of the cache becomes a disk
// here instead of objects in a vault.
//
//   stored → volume stage → overlay and redo log … → target
//
// It needs no vault: a second site, or the old site of a machine that runs elsewhere. What
// operators do with its points is kept in its state directory: site_records.h.
#pragma once

#include "appliance/intake.h"
#include "appliance/master_target/volume_stage.h"
#include "appliance/resync_window.h"
#include "appliance/standing_orders.h"
#include "appliance/standing_trouble.h"
#include "appliance/terminal.h"

#include <memory>
#include <string>
#include <vector>

namespace cw::appliance {

class MasterTarget final : public Terminal {
public:
    MasterTarget(const config::Settings& settings, ServerContext context)
        : settings_(settings),
          context_(std::move(context)),
          resync_window_(settings.resync_window),
          orders_(*orders_disk_, settings.server_state_dir + "/orders"),
          orders_trouble_(context_.conditions, "orders"),
          runner_("volume", *context_.seams.clock) {}
    ~MasterTarget() override { stop(); }

    [[nodiscard]] Role role() const noexcept override { return Role::master_target; }
    Result<pipeline::MemoryPlan> plan(pipeline::BudgetNeeds needs) override;
    Result<void> connect(Intake& intake, const pipeline::MemoryPlan& plan) override;
    void start() override;
    bool drain(const DrainLimit& limit) override;
    void stop() override { runner_.stop(); }

    pipeline::Ring<pipeline::StoredRecord>& stored() override { return stage_->stored(); }
    void wake() override { runner_.doorbell().ring(); }
    void open_machine(upload::OpenCommand command) override { stage_->post(std::move(command)); }
    void ask_digests(const ingest::DigestRequest& request) override {
        stage_->ask_digests(request);
    }

    std::optional<std::string> resync_due(const MachineId& machine, const DiskId& disk) override {
        return orders_.resync_due(machine, disk, context_.seams.clock->wall());
    }
    void resync_begun(const MachineId& machine, const DiskId& disk) override {
        (void)orders_.resync_begun(machine, disk);  // tick() shows what could not be written.
    }

    void fill_status(DaemonStatus& status) const override { status.targets = stage_->status(); }
    void apply(const config::Settings& settings) override {
        resync_window_.set(settings.resync_window);
    }
    // target/switch, target/cancel: an order for one target. Returns when it was carried out.
    // resync: disks to be compared with their targets again. forgive: as at a process server.
    Result<std::string> post(const std::string& name, const std::string& body) override;
    void tick() override;
    [[nodiscard]] std::vector<StageThread> threads() const override;

private:
    Result<std::string> resync(const std::string& subject, WallMicros at);

    const config::Settings settings_;  // As of the start.
    ServerContext context_;
    Intake* intake_ = nullptr;
    ResyncWindow resync_window_;
    std::unique_ptr<Disk> orders_disk_ = make_posix_disk();
    StandingOrders orders_;
    StandingTrouble orders_trouble_;
    std::unique_ptr<Disk> disk_;
    std::unique_ptr<volume::TargetProbe> probe_;
    // The runner's doorbell exists before what rings it.
    pipeline::Runner runner_;
    std::unique_ptr<VolumeStage> stage_;
};

}  // namespace cw::appliance
