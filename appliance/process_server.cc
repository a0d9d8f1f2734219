#include "appliance/process_server.h"

#include "appliance/drain_limit.h"
#include "appliance/engine_options.h"
#include "base/assert.h"
#include "base/log.h"
#include "egress/blob/azure_endpoint.h"
#include "ingest/wire/features.h"

#include <algorithm>

namespace cw::appliance {
namespace {

RetentionTable retention_table(const config::Settings& settings) {
    RetentionTable table;
    table.fallback_us = static_cast<std::int64_t>(settings.points_retention_ms) * 1000;
    for (const config::PolicyEntry& policy : settings.policies) {
        const auto machine = parse_id<MachineId>(policy.machine);
        CW_ASSERT(machine.has_value());  // The settings' parser has seen to it.
        table.by_machine[*machine] =
            static_cast<std::int64_t>(retention_ms_of(settings, *machine)) * 1000;
    }
    return table;
}

// A directory's operations are the kernel's, which may wait for a disk or a file server: that is an
// outage of the vault, for which nobody need be killed so soon.
StageThread store_thread(const char* stage, const upload::StoreRunner& runner,
                         const upload::SignOfLife& sign) {
    constexpr std::int64_t outage_ns = 600 * ns_per_s;
    return {stage, runner.cpu_seconds(), std::max(runner.last_round(), sign.at),
            sign.in_store ? outage_ns : 0};
}

// Where a disk is protected its agent has done better than a medium can, and another history would
// only cost it a resync. An import leaves its fence open: it may be repeated.
Result<void> admit_seed(const upload::MachineStatus& machine, const wire::Hello& hello) {
    if ((hello.features & wire::feature_seed) == 0) {
        return {};
    }
    for (const upload::DiskStatus& disk : machine.disks) {
        const bool whole = disk.protected_ && raw(disk.open_fence) == 0;
        if (whole && std::ranges::count(hello.disks, disk.disk, &wire::Hello::Disk::id) > 0) {
            return fail(Errc::transition_refused,
                        "disk " + to_string(disk.disk) + " is protected: a seed comes too late");
        }
    }
    return {};
}

}  // namespace

std::unique_ptr<Terminal> make_process_server(const config::Settings& settings,
                                              ServerContext context) {
    return std::make_unique<ProcessServer>(settings, std::move(context));
}

ProcessServer::ProcessServer(const config::Settings& settings, ServerContext context)
    : settings_(settings),
      context_(std::move(context)),
      assembly_runner_("assembly", *context_.seams.clock),
      publish_runner_("publish", *context_.seams.clock),
      open_runner_("open", *context_.seams.clock),
      bandwidth_(settings, *context_.seams.clock),
      resync_window_(settings.resync_window),
      orders_(*orders_disk_, settings.server_state_dir + "/orders"),
      orders_trouble_(context_.conditions, "orders"),
      witness_(witness_path(settings.server_state_dir)),
      witness_trouble_(context_.conditions, "witness") {}

Result<pipeline::MemoryPlan> ProcessServer::plan(pipeline::BudgetNeeds needs) {
    SystemSeams& seams = context_.seams;
    if (const auto endpoint = blob::parse_azure_url(settings_.vault_url)) {
        CW_TRY(blob::check_writable(*endpoint));
    }
    CW_TRY_ASSIGN(vault_, open_vault_access(settings_, seams, &context_.conditions));
    CW_TRY_ASSIGN(signer_, vault::make_server_signer(*vault_.stores->make(), *vault_.kek,
                                                     *seams.random, context_.server));
    CW_TRY(witness_.load(*seams.disk));
    CW_TRY(orders_.load());
    return pipeline::plan_memory(with_engine_needs(std::move(needs), settings_));
}

Result<void> ProcessServer::connect(Intake& intake, const pipeline::MemoryPlan& plan) {
    intake_ = &intake;
    CW_TRY_ASSIGN(segment_slabs_, pipeline::SlabPool::create("segment", plan.slabs.segment));
    segment_slabs_->make_resident();
    make_engine(intake, plan.slabs);
    make_digests(intake);
    return make_maintenance();
}

void ProcessServer::make_engine(Intake& intake, const pipeline::SlabSplit& slabs) {
    SystemSeams& seams = context_.seams;
    compute_ = make_compute_executor(compute_workers(settings_));
    upload::EngineDoorbells bells{.assembly = assembly_runner_.doorbell(),
                                  .publish = publish_runner_.doorbell(),
                                  .open = open_runner_.doorbell(),
                                  .upload = {}};
    for (std::size_t i = 0; i < upload_loops(settings_); ++i) {
        upload_runners_.push_back(
            std::make_unique<upload::StoreRunner>("upload-" + std::to_string(i), *seams.clock));
        bells.upload.push_back(&upload_runners_.back()->doorbell());
    }
    upload::EngineOptions options = engine_options(settings_, *seams.clock, slabs);
    options.pace = vault_.pace;
    engine_ = upload::Engine::create(
        {*seams.clock, *seams.random, *compute_, *vault_.stores, *vault_.kek, vault_.identity,
         signer_, intake.ingest_slabs(), intake.readback_slabs(), *segment_slabs_, intake.reader(),
         intake.sink(), context_.conditions, *seams.metrics},
        bells, options);
}

void ProcessServer::make_digests(Intake& intake) {
    digests_ = std::make_unique<DigestService>(
        DigestService::Ports{*context_.seams.clock, *vault_.stores, *vault_.kek,
                             [this](const MachineId& machine, const DiskId& disk) {
                                 return open_fence_in(engine_->status(), machine, disk);
                             },
                             [&intake](std::uint32_t reactor, ingest::DigestReply& reply) {
                                 return intake.send_digests(reactor, reply);
                             }});
}

Result<void> ProcessServer::make_maintenance() {
    SystemSeams& seams = context_.seams;
    if (settings_.gc_auth != "none") {
        CW_TRY_ASSIGN(gc_stores_, open_gc_stores(settings_, seams));
    }
    maintenance_ = std::make_unique<Maintenance>(
        Maintenance::Ports{
            .clock = *seams.clock,
            .random = *seams.random,
            .disk = *upkeep_disk_,
            .conditions = context_.conditions,
            .stores = *vault_.stores,
            .gc_stores = gc_stores_.get(),
            .kek = *vault_.kek,
            .signer = signer_,
            .owned = [this] { return owned_chains(); },
            .prune = [this](upload::PruneCommand prune) { engine_->post(std::move(prune)); },
            .state_dir = settings_.server_state_dir},
        Maintenance::Options{
            .interval_ns = static_cast<std::int64_t>(settings_.gc_interval_ms) * ns_per_ms,
            .retention = retention_table(settings_),
            .grace_us = static_cast<std::int64_t>(settings_.gc_grace_ms) * 1000});
    return {};
}

std::vector<OwnedChain> ProcessServer::owned_chains() const {
    std::vector<OwnedChain> chains;
    for (const upload::MachineStatus& machine : engine_->status().machines) {
        if (machine.mode == upload::MachineMode::active) {
            chains.push_back({machine.machine, machine.manifest_number});
        }
    }
    return chains;
}

void ProcessServer::start() {
    for (std::size_t i = 0; i < upload_runners_.size(); ++i) {
        upload_runners_[i]->start(engine_->uploader(i));
    }
    publish_runner_.start(engine_->publisher());
    open_runner_.start(engine_->opener());
    assembly_runner_.add(engine_->assembly());
    assembly_runner_.add(intake_->reader());
    assembly_runner_.start();
    digests_->start();
    maintenance_->start();
    recover_machines();
}

bool ProcessServer::drain(const DrainLimit& limit) {
    engine_->drain(false);
    return wait_until(*context_.seams.clock, limit, [this] { return engine_->drained(); });
}

void ProcessServer::stop() {
    // What posts to the engine first, then its stages in the order of the data.
    if (digests_) {
        digests_->stop();
    }
    if (maintenance_) {
        maintenance_->stop();
    }
    assembly_runner_.stop();
    compute_.reset();  // Waits for posted work; its results are dropped with the engine.
    for (const auto& runner : upload_runners_) {
        runner->stop();
    }
    publish_runner_.stop();
    open_runner_.stop();
}

vault::ChainWitness ProcessServer::witness(const MachineId& machine) {
    const std::lock_guard lock(witness_mutex_);
    return witness_.of(machine);
}

// Histories are kept per machine, so a machine cannot touch another's data; one that names
// another's disk is misconfigured or an attacker, and is told so.
Result<void> ProcessServer::authorise(const Identity& identity, const wire::Hello& hello) {
    if (const auto to = orders_.moved_to(MachineId{identity.id})) {
        return fail(Errc::fenced, "an operator moved the machine to " + *to);
    }
    const std::string who = "machine " + uuid_text(identity.id);
    const upload::EngineStatus status = engine_->status();
    for (const upload::MachineStatus& machine : status.machines) {
        if (machine.machine.bytes == identity.id) {
            CW_TRY(admit_seed(machine, hello));
            continue;
        }
        for (const upload::DiskStatus& disk : machine.disks) {
            for (const wire::Hello::Disk& wanted : hello.disks) {
                if (wanted.id == disk.disk) {
                    context_.conditions.raise(Errc::authz_denied, who,
                                              "asked for disk " + to_string(disk.disk) +
                                                  " of machine " + to_string(machine.machine));
                    return fail(Errc::authz_denied, "disk " + to_string(disk.disk));
                }
            }
        }
    }
    context_.conditions.clear(Errc::authz_denied, who);  // It asks for its own now.
    return {};
}

void ProcessServer::apply(const config::Settings& settings) {
    engine_->set_lanes(lane_options(settings));
    engine_->set_bandwidth(bandwidth_.set(settings));
    resync_window_.set(settings.resync_window);
    maintenance_->set_retention(retention_table(settings));
}

void ProcessServer::tick() {
    if (const auto moved = bandwidth_.moved()) {
        log_info("server.local_time", {{"utc_offset_minutes", moved->utc_offset_minutes}});
        engine_->set_bandwidth(*moved);
    }
    const upload::EngineStatus status = engine_->status();
    obey_orders(status);
    note_witnesses(status);
    MetricRegistry& metrics = *context_.seams.metrics;
    metrics.gauge("causeway_stage_queue", {{"stage", "assembly"}})
        .set(static_cast<double>(engine_->stored().size()));
    metrics.gauge("causeway_stage_queue", {{"stage", "transform"}})
        .set(static_cast<double>(status.jobs_running));
}

// What the cache still holds is uploaded without waiting for the agents: their site may be the
// disaster. Nor for all of it to be read: the backlog is full before, if there is more of it.
void ProcessServer::recover_machines() {
    for (const MachineId& machine : intake_->recovered()) {
        engine_->post(
            upload::RecoverCommand{.machine = machine, .server_witness = witness(machine)});
    }
}

void ProcessServer::note_witnesses(const upload::EngineStatus& status) {
    const std::lock_guard lock(witness_mutex_);
    for (const upload::MachineStatus& machine : status.machines) {
        if (machine.manifest_number > 0 && machine.mode == upload::MachineMode::active) {
            witness_.note(machine.machine,
                          {.number = machine.manifest_number, .hash = machine.manifest_hash});
        }
    }
    witness_trouble_.show(witness_.store(*context_.seams.disk));
}

std::vector<StageThread> ProcessServer::threads() const {
    const upload::EngineSigns signs = engine_->signs();
    std::vector<StageThread> threads{
        {"assembly", assembly_runner_.cpu_seconds(), assembly_runner_.last_round()},
        store_thread("publish", publish_runner_, signs.publish),
        store_thread("open", open_runner_, signs.open)};
    // Of the upload threads the one that was heard of least recently stands for all.
    StageThread upload = store_thread("upload", *upload_runners_[0], signs.upload[0]);
    for (std::size_t i = 1; i < upload_runners_.size(); ++i) {
        const StageThread next = store_thread("upload", *upload_runners_[i], signs.upload[i]);
        upload.cpu_seconds += next.cpu_seconds;
        if (next.last_round + next.patience_ns < upload.last_round + upload.patience_ns) {
            upload.last_round = next.last_round;
            upload.patience_ns = next.patience_ns;
        }
    }
    threads.push_back(std::move(upload));
    return threads;
}

}  // namespace cw::appliance
