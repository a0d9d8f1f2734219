#include "appliance/process_server.h"

#include "base/log.h"

#include <algorithm>
#include <thread>

namespace cw::appliance {
namespace {

constexpr unsigned disk_queue_depth = 64;
constexpr std::uint64_t connection_bytes = 96 * kib;  // TLS state, read-ahead and output buffers.
constexpr std::uint64_t code_bytes = 24 * mib;  // Code, stacks, small tables, the heap's slack.
// Segments that upkeep writes again: chunks, the object, and what a request holds of it.
constexpr std::uint64_t upkeep_bytes = 24 * mib;
// Of the whole budget, for what chains keep alive: once with the publisher, once with a reader
// (upkeep or digests) and once with whoever opens a machine.
constexpr std::uint64_t chains_share = 16;
constexpr std::size_t backlog_records = 512 * 1024;
constexpr std::uint64_t backlog_record_bytes = 112;  // EngineOptions::backlog_records
constexpr std::uint32_t jobs_at_once = 4;
constexpr std::uint32_t records_at_once_per_reactor = 4;

std::uint32_t compute_workers(const config::Settings& settings) {
    if (settings.pipeline_compute_threads > 0) {
        return static_cast<std::uint32_t>(settings.pipeline_compute_threads);
    }
    return std::max(1U, std::thread::hardware_concurrency());
}

// Event loops for uploads: TLS and CRC-64 of one fill about a quarter of what one worker produces.
std::size_t upload_loops(const config::Settings& settings) {
    return std::clamp<std::size_t>(compute_workers(settings) / 4, 1, 16);
}

std::unique_ptr<Disk> make_data_disk(const config::Settings& settings) {
    return settings.cache_io_uring ? make_best_disk(disk_queue_depth) : make_posix_disk();
}

std::int32_t utc_offset_minutes(Clock& clock) {
    const std::time_t now = static_cast<std::time_t>(raw(clock.wall()) / 1'000'000);
    std::tm local{};
    ::localtime_r(&now, &local);
    return static_cast<std::int32_t>(local.tm_gmtoff / 60);
}

upload::LaneOptions lane_options(const config::Settings& settings) {
    return {
        .upload_threads_per_vm = static_cast<std::uint32_t>(settings.egress_upload_threads_per_vm),
        .total_connections = static_cast<std::uint32_t>(settings.egress_total_connections)};
}

upload::BandwidthOptions bandwidth_options(const config::Settings& settings, Clock& clock) {
    upload::BandwidthOptions options;
    options.bytes_per_s = settings.egress_bandwidth;
    options.utc_offset_minutes = utc_offset_minutes(clock);
    for (const config::BandwidthWindow& window : settings.egress_schedule) {
        options.rules.push_back({.days = window.days,
                                 .from_minute = window.from_minute,
                                 .to_minute = window.to_minute,
                                 .bytes_per_s = window.bytes_per_second});
    }
    return options;
}

Result<pipeline::CodecPolicyOptions> codec_options(const config::Settings& settings) {
    pipeline::CodecPolicyOptions options;
    CW_TRY_ASSIGN(options.mode, pipeline::parse_compression(settings.pipeline_compression));
    options.zstd_level = static_cast<int>(settings.pipeline_zstd_level);
    return options;
}

pipeline::VerifyMode verify_mode(const config::Settings& settings) {
    if (settings.pipeline_verify == "off") {
        return pipeline::VerifyMode::off;
    }
    return settings.pipeline_verify == "sampled" ? pipeline::VerifyMode::sampled
                                                 : pipeline::VerifyMode::full;
}

}  // namespace

Result<std::unique_ptr<Daemon>> start_process_server(const config::Settings& settings,
                                                     DaemonContext context) {
    auto server = std::make_unique<ProcessServer>(settings, context);
    CW_TRY(server->start());
    return server;
}

ProcessServer::ProcessServer(const config::Settings& settings, DaemonContext context)
    : settings_(settings),
      context_(context),
      witness_(settings.server_state_dir + "/witness"),
      quarantine_(settings.server_state_dir + "/quarantine"),
      health_metrics_(*context.seams.metrics) {}

ProcessServer::~ProcessServer() {
    // Producers first: nothing may ring a doorbell or touch a ring that is gone.
    if (listener_) {
        listener_->stop();
    }
    if (digests_) {
        digests_->stop();
    }
    if (maintenance_) {
        maintenance_->stop();
    }
    for (pipeline::Runner* runner :
         {admission_runner_.get(), spool_runner_.get(), assembly_runner_.get()}) {
        if (runner != nullptr) {
            runner->stop();
        }
    }
    compute_.reset();  // Waits for posted work; its results are dropped with the engine.
    for (const auto& runner : upload_runners_) {
        runner->stop();
    }
    for (upload::StoreRunner* runner : {publish_runner_.get(), open_runner_.get()}) {
        if (runner != nullptr) {
            runner->stop();
        }
    }
}

Result<void> ProcessServer::start() {
    SystemSeams& seams = context_.seams;
    CW_TRY_ASSIGN(vault_, open_vault_access(settings_, seams));
    CW_TRY_ASSIGN(signer_, vault::make_server_signer(*vault_.stores->make(), *vault_.kek,
                                                     *seams.random, context_.server));
    CW_TRY(witness_.load(*seams.disk));
    CW_TRY(plan_memory());
    CW_TRY(open_cache());
    make_engine();
    CW_TRY(open_door());
    make_digests();
    CW_TRY(make_maintenance());
    start_threads();
    return {};
}

Result<void> ProcessServer::plan_memory() {
    pipeline::BudgetNeeds needs;
    needs.limit_bytes = settings_.pipeline_memory;
    needs.records_at_once =
        static_cast<std::uint32_t>(settings_.ingest_reactors) * records_at_once_per_reactor;
    needs.spool_batches = cache::SpoolOptions{}.batches_in_flight;
    needs.spool_batch_bytes = cache::SpoolOptions{}.batch_bytes_max;
    needs.compute_workers = compute_workers(settings_);
    needs.zstd_level = std::max(needs.zstd_level, static_cast<int>(settings_.pipeline_zstd_level));
    needs.jobs_at_once = jobs_at_once;
    needs.upload_connections = static_cast<std::uint32_t>(settings_.egress_total_connections);
    needs.connection_bytes = connection_bytes;
    needs.ingest_connections = static_cast<std::uint32_t>(settings_.ingest_max_connections);
    needs.fixed_bytes = code_bytes;
    needs.others = {
        {"backlog", backlog_records * backlog_record_bytes,
         "records known and not committed, without their payload"},
        {"chains", needs.limit_bytes / chains_share, "live segments and points, three times"},
        {"digests", DigestService::bytes_max(), "fingerprints of disks that are compared"},
        {"upkeep", upkeep_bytes, "segments that are written again"},
    };
    CW_TRY_ASSIGN(plan_, pipeline::plan_memory(needs));
    const pipeline::SlabSplit& slabs = plan_.slabs;
    CW_TRY_ASSIGN(ingest_slabs_, pipeline::SlabPool::create("ingest", slabs.ingest));
    CW_TRY_ASSIGN(segment_slabs_, pipeline::SlabPool::create("segment", slabs.segment));
    CW_TRY_ASSIGN(readback_slabs_, pipeline::SlabPool::create("readback", slabs.readback));
    return {};
}

Result<void> ProcessServer::open_cache() {
    SystemSeams& seams = context_.seams;
    spool_disk_ = make_data_disk(settings_);
    reader_disk_ = make_data_disk(settings_);
    CW_TRY(spool_disk_->create_directories(settings_.cache_path));
    cache::SpoolOptions options;
    options.path = settings_.cache_path;
    options.size_bytes = settings_.cache_size;
    options.throttle_free = static_cast<double>(settings_.cache_throttle_free) / 100;
    CW_TRY_ASSIGN(spool_, cache::Spool::open(options, {*spool_disk_, *seams.clock, *seams.random,
                                                       context_.conditions, *seams.metrics}));
    CW_TRY_ASSIGN(spool_reader_, cache::SpoolReader::open(*spool_, *reader_disk_));
    for (const cache::StreamState& state : spool_->streams()) {
        if (recovered_.empty() || recovered_.back() != state.key.machine) {
            recovered_.push_back(state.key.machine);
        }
    }
    return {};
}

void ProcessServer::make_engine() {
    SystemSeams& seams = context_.seams;
    Clock& clock = *seams.clock;
    compute_ = make_compute_executor(compute_workers(settings_));
    spool_runner_ = std::make_unique<pipeline::Runner>("spool", clock);
    assembly_runner_ = std::make_unique<pipeline::Runner>("assembly", clock);
    admission_runner_ = std::make_unique<pipeline::Runner>("admission", clock);
    publish_runner_ = std::make_unique<upload::StoreRunner>("publish", clock);
    open_runner_ = std::make_unique<upload::StoreRunner>("open", clock);
    upload::EngineDoorbells bells{.assembly = assembly_runner_->doorbell(),
                                  .publish = publish_runner_->doorbell(),
                                  .open = open_runner_->doorbell(),
                                  .upload = {}};
    for (std::size_t i = 0; i < upload_loops(settings_); ++i) {
        upload_runners_.push_back(
            std::make_unique<upload::StoreRunner>("upload-" + std::to_string(i), clock));
        bells.upload.push_back(&upload_runners_.back()->doorbell());
    }
    reader_ = std::make_unique<ReaderPump>(*spool_reader_, *reader_disk_);
    link_ = std::make_unique<EngineLink>(EngineLink::Ports{
        .opened = engine_opened_,
        .release = releases_,
        .wake_admission = [this] { admission_runner_->doorbell().ring(); },
        .wake_cache = [this] { spool_runner_->doorbell().ring(); },
        .on_damaged = [this](const upload::DamagedRecords& damaged) { on_damaged(damaged); },
        // Its agent has a new home: it is told by the end of the session.
        .on_fenced =
            [this](const upload::FencedMachine& fenced) {
                listener_->sessions().end_session(fenced.machine);
            }});

    upload::EngineOptions options;
    options.lanes = lane_options(settings_);
    options.bandwidth = bandwidth_options(settings_, clock);
    const auto codec = codec_options(settings_);
    CW_ASSERT(codec.has_value());  // The settings' choices are the parser's.
    options.codec = *codec;
    options.verify = verify_mode(settings_);
    options.segment_raw_bytes = settings_.pipeline_segment_window;
    options.seal_after_ns =
        static_cast<std::int64_t>(settings_.egress_segment_deadline_ms) * ns_per_ms;
    options.commit_interval_ns =
        static_cast<std::int64_t>(settings_.egress_commit_interval_ms) * ns_per_ms;
    options.jobs = jobs_at_once;
    options.segment_slabs = static_cast<std::uint32_t>(
        std::min<std::size_t>(options.segment_slabs, plan_.slabs.readback));
    options.ingest_slabs_low = plan_.slabs.ingest / 4;
    options.backlog_records = backlog_records;
    options.pace = vault_.pace;
    options.chain_bytes_max = settings_.pipeline_memory / chains_share / 3;
    engine_ = upload::Engine::create(
        {clock, *seams.random, *compute_, *vault_.stores, *vault_.kek, vault_.identity, signer_,
         *ingest_slabs_, *readback_slabs_, *segment_slabs_, *reader_, *link_, context_.conditions,
         *seams.metrics},
        std::move(bells), options);
}

Result<void> ProcessServer::open_door() {
    SystemSeams& seams = context_.seams;
    credit_ = std::make_unique<ingest::SharedCredit>(0, settings_.ingest_credit_window);
    cache::SpoolStagePorts spool_ports;
    AdmissionPorts admission;
    std::vector<ingest::ReactorPorts> doors;
    for (std::int64_t i = 0; i < settings_.ingest_reactors; ++i) {
        rings_.push_back(std::make_unique<ReactorRings>());
        ReactorRings& rings = *rings_.back();
        spool_ports.records.push_back(&rings.records);
        spool_ports.spooled.push_back(&rings.spooled);
        const auto wake_admission = [this] { admission_runner_->doorbell().ring(); };
        doors.push_back({.records = &rings.records,
                         .opens = &rings.opens,
                         .digest_requests = &rings.digests,
                         .notices = &rings.notices,
                         .opened = &rings.opened,
                         .spooled = &rings.spooled,
                         .committed = &rings.committed,
                         .digest_replies = &rings.digest_replies,
                         .wake_records = [this] { spool_runner_->doorbell().ring(); },
                         .wake_opens = wake_admission,
                         .wake_digests = wake_admission,
                         .wake_notices = wake_admission});
        const auto index = static_cast<std::size_t>(i);
        const auto wake_reactor = [this, index] { listener_->reactor(index).doorbell().ring(); };
        admission.reactors.push_back(
            {&rings.opens, &rings.digests, &rings.notices, &rings.opened, wake_reactor});
        link_->add_reactor(rings.committed, wake_reactor);
    }
    spool_ports.commands = &spool_commands_;
    spool_ports.opened = &streams_opened_;
    spool_ports.releases = &releases_;
    spool_ports.stored = &engine_->stored();
    spool_ports.wake_reactor = [this](std::uint32_t i) { listener_->reactor(i).doorbell().ring(); };
    spool_ports.wake_control = [this] { admission_runner_->doorbell().ring(); };
    spool_ports.wake_stored = [this] { assembly_runner_->doorbell().ring(); };
    spool_ports.payload_taken = [this](std::uint64_t bytes) { credit_->consume(bytes); };
    spool_ports.set_room = [this](std::uint64_t bytes) { credit_->set_budget(bytes); };
    spool_stage_ = std::make_unique<cache::SpoolStage>(
        *spool_, *spool_disk_, *seams.clock, std::move(spool_ports),
        cache::SpoolStageOptions{.resident_bytes_max =
                                     plan_.slabs.ingest * pipeline::slab_bytes / 2});

    admission.spool_commands = &spool_commands_;
    admission.streams_opened = &streams_opened_;
    admission.engine_opened = &engine_opened_;
    admission.wake_spool = [this] { spool_runner_->doorbell().ring(); };
    admission.open_machine = [this](upload::OpenCommand open) { engine_->post(std::move(open)); };
    admission.witness = [this](const MachineId& machine) {
        const std::lock_guard lock(witness_mutex_);
        return witness_.of(machine);
    };
    admission.ask_digests = [this](const ingest::DigestRequest& r) { digests_->ask(r); };
    admission_ = std::make_unique<Admission>(std::move(admission));

    ingest::ListenerOptions options;
    CW_TRY_ASSIGN(options.listen, parse_host_port(settings_.ingest_listen));
    options.reactors = static_cast<std::size_t>(settings_.ingest_reactors);
    options.tls = {.ca_file = settings_.security_ca_file,
                   .cert_file = settings_.security_cert_file,
                   .key_file = settings_.security_key_file,
                   .allow_tls12 = settings_.security_allow_tls12,
                   .revoked = context_.revoked};
    options.use_uring = settings_.cache_io_uring;
    options.limits.connections =
        static_cast<std::size_t>(settings_.ingest_max_connections) / options.reactors;
    options.limits.handshake_ns = options.limits.head_ns =
        static_cast<std::int64_t>(settings_.ingest_handshake_timeout_ms) * ns_per_ms;
    CW_TRY_ASSIGN(listener_,
                  ingest::Listener::create(
                      options,
                      {*seams.clock, *seams.random, *ingest_slabs_, *credit_, *seams.metrics,
                       context_.conditions},
                      std::move(doors), [this](const Identity& identity, const wire::Hello& hello) {
                          return authorise(identity, hello);
                      }));
    return quarantine_.load(*seams.disk, listener_->sessions());
}

void ProcessServer::start_threads() {
    assembly_runner_->add(engine_->assembly());
    assembly_runner_->add(*reader_);
    spool_runner_->add(*spool_stage_);
    admission_runner_->add(*admission_);
    for (std::size_t i = 0; i < upload_runners_.size(); ++i) {
        upload_runners_[i]->start(engine_->uploader(i));
    }
    publish_runner_->start(engine_->publisher());
    open_runner_->start(engine_->opener());
    assembly_runner_->start();
    spool_runner_->start();
    digests_->start();
    maintenance_->start();
    admission_runner_->start();
    listener_->start();
}

// Histories are kept per machine, so a machine cannot touch another's data; one that names
// another's disk is misconfigured or an attacker, and is told so. Runs on reactor threads.
Result<void> ProcessServer::authorise(const Identity& identity, const wire::Hello& hello) const {
    const upload::EngineStatus status = engine_->status();
    for (const upload::MachineStatus& machine : status.machines) {
        if (machine.machine.bytes == identity.id) {
            continue;
        }
        for (const upload::DiskStatus& disk : machine.disks) {
            for (const wire::Hello::Disk& wanted : hello.disks) {
                if (wanted.id == disk.disk) {
                    context_.conditions.raise(Errc::authz_denied,
                                              "machine " + uuid_text(identity.id),
                                              "asked for disk " + to_string(disk.disk) +
                                                  " of machine " + to_string(machine.machine));
                    return fail(Errc::authz_denied, "disk " + to_string(disk.disk));
                }
            }
        }
    }
    return {};
}

// Runs on the publisher's thread.
void ProcessServer::on_damaged(const upload::DamagedRecords& damaged) {
    // The publisher shows it until it is repaired. The next HELLO is answered with catch-up: the
    // agent repairs the range.
    listener_->sessions().end_session(damaged.key.machine);
}

void ProcessServer::apply_bandwidth() {
    engine_->set_bandwidth(bandwidth_options(settings_, *context_.seams.clock));
}

void ProcessServer::make_digests() {
    const auto open_fence = [this](const MachineId& machine, const DiskId& disk) {
        const upload::EngineStatus status = engine_->status();
        for (const upload::MachineStatus& shown : status.machines) {
            const auto found = std::ranges::find(shown.disks, disk, &upload::DiskStatus::disk);
            if (shown.machine == machine && found != shown.disks.end()) {
                return found->open_fence;
            }
        }
        return Seq{};
    };
    const auto reply = [this](std::uint32_t reactor, ingest::DigestReply& answer) {
        if (!rings_[reactor]->digest_replies.try_push(answer)) {
            return false;
        }
        listener_->reactor(reactor).doorbell().ring();
        return true;
    };
    digests_ = std::make_unique<DigestService>(DigestService::Ports{
        *context_.seams.clock, *vault_.stores, *vault_.kek, open_fence, reply});
}

Result<void> ProcessServer::make_maintenance() {
    SystemSeams& seams = context_.seams;
    if (settings_.gc_auth != "none") {
        CW_TRY_ASSIGN(gc_stores_, open_gc_stores(settings_, seams));
    }
    const auto owned = [this] {
        std::vector<MachineId> machines;
        for (const upload::MachineStatus& machine : engine_->status().machines) {
            if (machine.mode == upload::MachineMode::active) {
                machines.push_back(machine.machine);
            }
        }
        return machines;
    };
    maintenance_ = std::make_unique<Maintenance>(
        Maintenance::Ports{
            .clock = *seams.clock,
            .random = *seams.random,
            .disk = *seams.disk,
            .conditions = context_.conditions,
            .stores = *vault_.stores,
            .gc_stores = gc_stores_.get(),
            .kek = *vault_.kek,
            .signer = signer_,
            .owned = owned,
            .prune = [this](upload::PruneCommand prune) { engine_->post(std::move(prune)); },
            .state_dir = settings_.server_state_dir},
        Maintenance::Options{
            .interval_ns = static_cast<std::int64_t>(settings_.gc_interval_ms) * ns_per_ms,
            .retention_us = static_cast<std::int64_t>(settings_.points_retention_ms) * 1000,
            .grace_us = static_cast<std::int64_t>(settings_.gc_grace_ms) * 1000});
    return {};
}

}  // namespace cw::appliance
