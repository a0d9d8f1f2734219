#include "appliance/master_target.h"

#include <algorithm>

namespace cw::appliance {
namespace {

constexpr unsigned disk_queue_depth = 64;
constexpr std::uint64_t connection_bytes = 96 * kib;  // TLS state, read-ahead and output buffers.
constexpr std::uint64_t fixed_bytes = 96 * mib;       // Code, indexes of cache and redo logs.
constexpr std::uint32_t records_at_once_per_reactor = 4;

std::unique_ptr<Disk> make_data_disk(const config::Settings& settings) {
    return settings.cache_io_uring ? make_best_disk(disk_queue_depth) : make_posix_disk();
}

}  // namespace

Result<std::unique_ptr<Daemon>> start_master_target(const config::Settings& settings,
                                                    DaemonContext context) {
    auto server = std::make_unique<MasterTarget>(settings, context);
    CW_TRY(server->start());
    return server;
}

MasterTarget::~MasterTarget() {
    // Producers first: nothing may ring a doorbell or touch a ring that is gone.
    if (listener_) {
        listener_->stop();
    }
    for (pipeline::Runner* runner :
         {admission_runner_.get(), spool_runner_.get(), volume_runner_.get()}) {
        if (runner != nullptr) {
            runner->stop();
        }
    }
    // The kernel must not write into memory that is given back.
    while (reader_ && reader_->in_flight() > 0) {
        reader_disk_->wait(ns_per_s);
        reader_->poll();
    }
}

Result<void> MasterTarget::start() {
    CW_TRY(plan_memory());
    CW_TRY(open_cache());
    CW_TRY(make_stages());
    start_threads();
    return {};
}

// As the process server's plan without what transforms and uploads.
Result<void> MasterTarget::plan_memory() {
    pipeline::BudgetNeeds needs;
    needs.limit_bytes = settings_.pipeline_memory;
    needs.records_at_once =
        static_cast<std::uint32_t>(settings_.ingest_reactors) * records_at_once_per_reactor;
    needs.spool_batches = cache::SpoolOptions{}.batches_in_flight;
    needs.spool_batch_bytes = cache::SpoolOptions{}.batch_bytes_max;
    const std::size_t least = pipeline::minimum_slabs(needs).ingest;
    const auto connections =
        static_cast<std::uint64_t>(settings_.ingest_max_connections) * connection_bytes;
    const std::uint64_t readback = VolumeStage::readback_slabs_min * pipeline::slab_bytes;
    const std::uint64_t others = fixed_bytes + connections + readback;
    if (settings_.pipeline_memory < others + least * pipeline::slab_bytes) {
        return fail(Errc::config_invalid,
                    "pipeline.memory must be at least " +
                        std::to_string((others + least * pipeline::slab_bytes) / mib + 1) + "MiB");
    }
    ingest_slab_count_ = (settings_.pipeline_memory - others) / pipeline::slab_bytes;
    budget_.add("fixed", fixed_bytes, "code, indexes of cache and redo logs");
    budget_.add("connections", connections, "TLS state and buffers of ingest.max_connections");
    budget_.add("ingest", ingest_slab_count_ * pipeline::slab_bytes,
                "slabs of 1 MiB: records from the socket to the redo log");
    budget_.add("readback", readback, "slabs of 1 MiB: records read back from the cache");
    CW_TRY_ASSIGN(ingest_slabs_, pipeline::SlabPool::create("ingest", ingest_slab_count_));
    CW_TRY_ASSIGN(readback_slabs_,
                  pipeline::SlabPool::create("readback", VolumeStage::readback_slabs_min));
    return {};
}

Result<void> MasterTarget::open_cache() {
    SystemSeams& seams = context_.seams;
    spool_disk_ = make_data_disk(settings_);
    reader_disk_ = make_data_disk(settings_);
    volume_disk_ = make_data_disk(settings_);
    CW_TRY(spool_disk_->create_directories(settings_.cache_path));
    cache::SpoolOptions options;
    options.path = settings_.cache_path;
    options.size_bytes = settings_.cache_size;
    options.throttle_free = static_cast<double>(settings_.cache_throttle_free) / 100;
    CW_TRY_ASSIGN(spool_, cache::Spool::open(options, {*spool_disk_, *seams.clock, *seams.random,
                                                       context_.conditions, *seams.metrics}));
    CW_TRY_ASSIGN(spool_reader_, cache::SpoolReader::open(*spool_, *reader_disk_));
    return {};
}

Result<std::vector<TargetOptions>> MasterTarget::target_options() const {
    if (settings_.targets.empty()) {
        return fail(Errc::config_invalid, "a master target needs at least one [[target]]");
    }
    std::vector<TargetOptions> out;
    for (const config::TargetEntry& entry : settings_.targets) {
        CW_TRY_ASSIGN(const auto machine, parse_id<MachineId>(entry.machine));
        const std::string work = entry.work.empty() ? settings_.server_state_dir + "/targets/" +
                                                          entry.machine + "/" + entry.disk
                                                    : entry.work;
        const bool twice = std::ranges::any_of(out, [&](const TargetOptions& other) {
            return other.path == entry.path || other.work_directory == work ||
                   (other.machine == machine && other.disk == entry.disk);
        });
        if (twice) {
            return fail(Errc::config_invalid,
                        "two [[target]] tables name the same path, work or disk: " + entry.path);
        }
        out.push_back({.machine = machine,
                       .disk = entry.disk,
                       .path = entry.path,
                       .identity = entry.identity,
                       .work_directory = work,
                       .size_bytes = entry.size_bytes,
                       .retention_us =
                           static_cast<std::int64_t>(settings_.points_target_retention_ms) * 1000});
    }
    return out;
}

std::vector<ingest::ReactorPorts> MasterTarget::connect(cache::SpoolStagePorts& spool,
                                                        AdmissionPorts& admission) {
    std::vector<ingest::ReactorPorts> doors;
    const auto wake_admission = [this] { admission_runner_->doorbell().ring(); };
    for (std::int64_t i = 0; i < settings_.ingest_reactors; ++i) {
        rings_.push_back(std::make_unique<ReactorRings>());
        ReactorRings& rings = *rings_.back();
        spool.records.push_back(&rings.records);
        spool.spooled.push_back(&rings.spooled);
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
    spool.commands = admission.spool_commands = &spool_commands_;
    spool.opened = admission.streams_opened = &streams_opened_;
    spool.releases = &releases_;
    spool.stored = &volume_stage_->stored();
    spool.wake_reactor = [this](std::uint32_t i) { listener_->reactor(i).doorbell().ring(); };
    spool.wake_control = wake_admission;
    spool.wake_stored = [this] { volume_runner_->doorbell().ring(); };
    spool.payload_taken = [this](std::uint64_t bytes) { credit_->consume(bytes); };
    spool.set_room = [this](std::uint64_t bytes) { credit_->set_budget(bytes); };
    admission.engine_opened = &volume_opened_;
    admission.wake_spool = [this] { spool_runner_->doorbell().ring(); };
    admission.open_machine = [this](upload::OpenCommand open) {
        volume_stage_->post(std::move(open));
    };
    admission.witness = [](const MachineId&) { return vault::ChainWitness{}; };
    admission.ask_digests = [this](const ingest::DigestRequest& request) {
        volume_stage_->ask_digests(request);
    };
    return doors;
}

Result<void> MasterTarget::make_stages() {
    SystemSeams& seams = context_.seams;
    CW_TRY_ASSIGN(std::vector<TargetOptions> targets, target_options());
    spool_runner_ = std::make_unique<pipeline::Runner>("spool", *seams.clock);
    volume_runner_ = std::make_unique<pipeline::Runner>("volume", *seams.clock);
    admission_runner_ = std::make_unique<pipeline::Runner>("admission", *seams.clock);
    credit_ = std::make_unique<ingest::SharedCredit>(0, settings_.ingest_credit_window);
    reader_ = std::make_unique<ReaderPump>(*spool_reader_, *reader_disk_);
    probe_ = volume::make_system_probe();
    link_ = std::make_unique<EngineLink>(EngineLink::Ports{
        .opened = volume_opened_,
        .release = releases_,
        .wake_admission = [this] { admission_runner_->doorbell().ring(); },
        .wake_cache = [this] { spool_runner_->doorbell().ring(); },
        .on_damaged = [this](const upload::DamagedRecords& damaged) { on_damaged(damaged); },
        .on_fenced = {}});
    FingerprintSecret secret{};
    seams.random->fill(secret);
    volume_stage_ = std::make_unique<VolumeStage>(
        VolumeStage::Context{.clock = *seams.clock,
                             .volume = {*volume_disk_, *probe_},
                             .reader = *reader_,
                             .readback_slabs = *readback_slabs_,
                             .sink = *link_,
                             .conditions = context_.conditions,
                             .send_digests =
                                 [this](std::uint32_t reactor, ingest::DigestReply& reply) {
                                     return send_digests(reactor, reply);
                                 },
                             .doorbell = volume_runner_->doorbell()},
        std::move(targets), secret);
    cache::SpoolStagePorts spool_ports;
    AdmissionPorts admission;
    auto doors = connect(spool_ports, admission);
    spool_stage_ = std::make_unique<cache::SpoolStage>(
        *spool_, *spool_disk_, *seams.clock, std::move(spool_ports),
        cache::SpoolStageOptions{.resident_bytes_max =
                                     ingest_slab_count_ * pipeline::slab_bytes / 2});
    admission_ = std::make_unique<Admission>(std::move(admission));
    return open_door(std::move(doors));
}

Result<void> MasterTarget::open_door(std::vector<ingest::ReactorPorts> doors) {
    SystemSeams& seams = context_.seams;
    ingest::ListenerOptions options;
    CW_TRY_ASSIGN(options.listen, parse_host_port(settings_.ingest_listen));
    options.reactors = static_cast<std::size_t>(settings_.ingest_reactors);
    options.tls = {.ca_file = settings_.security_ca_file,
                   .cert_file = settings_.security_cert_file,
                   .key_file = settings_.security_key_file,
                   .allow_tls12 = settings_.security_allow_tls12,
                   .revoked = context_.revoked};
    options.role = Role::master_target;
    options.use_uring = settings_.cache_io_uring;
    options.limits.connections =
        static_cast<std::size_t>(settings_.ingest_max_connections) / options.reactors;
    options.limits.handshake_ns = options.limits.head_ns =
        static_cast<std::int64_t>(settings_.ingest_handshake_timeout_ms) * ns_per_ms;
    CW_TRY_ASSIGN(listener_,
                  ingest::Listener::create(options,
                                           {*seams.clock, *seams.random, *ingest_slabs_, *credit_,
                                            *seams.metrics, context_.conditions},
                                           std::move(doors)));
    return {};
}

void MasterTarget::start_threads() {
    volume_runner_->add(*volume_stage_);
    spool_runner_->add(*spool_stage_);
    admission_runner_->add(*admission_);
    volume_runner_->start();
    spool_runner_->start();
    admission_runner_->start();
    listener_->start();
}

// On the volume stage's thread. The next HELLO is answered with what the target needs.
void MasterTarget::on_damaged(const upload::DamagedRecords& damaged) {
    if (raw(damaged.last) > 0) {
        context_.conditions.raise(Errc::spool_lost_durable, "disk " + to_string(damaged.key.disk),
                                  damaged.evidence);
    }
    listener_->sessions().end_session(damaged.key.machine);
}

// On the volume stage's thread.
bool MasterTarget::send_digests(std::uint32_t reactor, ingest::DigestReply& reply) {
    if (!rings_[reactor]->digest_replies.try_push(reply)) {
        return false;
    }
    listener_->reactor(reactor).doorbell().ring();
    return true;
}

}  // namespace cw::appliance
