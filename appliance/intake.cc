#include "appliance/intake.h"

#include "appliance/data_disk.h"
#include "appliance/drain_limit.h"

#include <algorithm>

namespace cw::appliance {
namespace {

constexpr std::uint32_t records_at_once_per_reactor = 4;
constexpr std::int64_t checkpoint_ns_max = 10 * ns_per_s;

}  // namespace

pipeline::BudgetNeeds Intake::memory_needs(const config::Settings& settings) {
    pipeline::BudgetNeeds needs;
    needs.limit_bytes = settings.pipeline_memory;
    needs.records_at_once =
        static_cast<std::uint32_t>(settings.ingest_reactors) * records_at_once_per_reactor;
    needs.spool_batches = cache::SpoolOptions{}.batches_in_flight;
    needs.spool_batch_bytes = cache::SpoolOptions{}.batch_bytes_max;
    needs.connection_bytes = connection_bytes;
    needs.ingest_connections = static_cast<std::uint32_t>(settings.ingest_max_connections);
    return needs;
}

Intake::Intake(const config::Settings& settings, ServerContext context)
    : settings_(settings),
      context_(std::move(context)),
      agents_(*context_.seams.clock, context_.conditions),
      credit_(0, settings.ingest_credit_window),
      spool_runner_("spool", *context_.seams.clock),
      admission_runner_("admission", *context_.seams.clock),
      link_(
          {.opened = machines_opened_,
           .release = releases_,
           .wake_admission = [this] { admission_runner_.doorbell().ring(); },
           .wake_cache = [this] { spool_runner_.doorbell().ring(); },
           // The next HELLO is answered with what is missing: the agent repairs it.
           .on_damaged =
               [this](const upload::DamagedRecords& damaged) { end_session(damaged.key.machine); },
           // Its agent has a new home: it is told by the end of the session.
           .on_fenced = [this](const upload::FencedMachine& fenced) { let_go(fenced.machine); },
           .room_is_wanted = [this] { return credit_.starving(); }}),
      quarantine_(settings.server_state_dir + "/quarantine"),
      quarantine_trouble_(context_.conditions, "quarantine") {}

Intake::~Intake() {
    stop();
}

void Intake::stop() {
    // Producers first: nothing may ring a doorbell or touch a ring that is gone.
    if (listener_) {
        listener_->stop();
    }
    admission_runner_.stop();
    spool_runner_.stop();
}

Result<void> Intake::open_cache(const pipeline::SlabSplit& slabs) {
    SystemSeams& seams = context_.seams;
    CW_TRY_ASSIGN(ingest_slabs_, pipeline::SlabPool::create("ingest", slabs.ingest));
    CW_TRY_ASSIGN(readback_slabs_, pipeline::SlabPool::create("readback", slabs.readback));
    // The budget is taken at start: whether the machine has it shows now, not with the first burst.
    ingest_slabs_->make_resident();
    readback_slabs_->make_resident();
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
    reader_ = std::make_unique<ReaderPump>(*spool_reader_, *reader_disk_);
    for (const cache::StreamState& state : spool_->streams()) {
        recovered_.insert(state.key.machine);
    }
    for (const cache::DamagedRange& range : spool_->damaged()) {
        if (!range.key.machine.is_nil()) {  // Else it is not known whose it was.
            recovered_.insert(range.key.machine);
        }
    }
    return {};
}

Result<void> Intake::open_door(Terminal& terminal) {
    cache::SpoolStagePorts spool;
    AdmissionPorts admission;
    std::vector<ingest::ReactorPorts> doors;
    for (std::size_t i = 0; i < static_cast<std::size_t>(settings_.ingest_reactors); ++i) {
        doors.push_back(connect_reactor(i, spool, admission));
    }
    connect_spool(terminal, spool);
    connect_admission(terminal, admission);
    spool_stage_ = std::make_unique<cache::SpoolStage>(
        *spool_, *spool_disk_, *context_.seams.clock, std::move(spool),
        cache::SpoolStageOptions{.resident_bytes_max =
                                     ingest_slabs_->count() * pipeline::slab_bytes / 2});
    admission_ = std::make_unique<Admission>(std::move(admission));
    CW_TRY(open_listener(terminal, std::move(doors)));
    return quarantine_.load(*context_.seams.disk, listener_->sessions());
}

ingest::ReactorPorts Intake::connect_reactor(std::size_t index, cache::SpoolStagePorts& spool,
                                             AdmissionPorts& admission) {
    rings_.push_back(std::make_unique<ReactorRings>());
    ReactorRings& rings = *rings_.back();
    const auto wake_admission = [this] { admission_runner_.doorbell().ring(); };
    const auto wake_reactor = [this, index] { ring_reactor(index); };
    spool.records.push_back(&rings.records);
    spool.spooled.push_back(&rings.spooled);
    admission.reactors.push_back(
        {&rings.opens, &rings.digests, &rings.notices, &rings.opened, wake_reactor});
    link_.add_reactor(rings.committed, wake_reactor);
    return {.records = &rings.records,
            .opens = &rings.opens,
            .digest_requests = &rings.digests,
            .notices = &rings.notices,
            .opened = &rings.opened,
            .spooled = &rings.spooled,
            .committed = &rings.committed,
            .digest_replies = &rings.digest_replies,
            .wake_records = [this] { spool_runner_.doorbell().ring(); },
            .wake_opens = wake_admission,
            .wake_digests = wake_admission,
            .wake_notices = wake_admission};
}

void Intake::connect_spool(Terminal& terminal, cache::SpoolStagePorts& spool) {
    spool.commands = &spool_commands_;
    spool.opened = &streams_opened_;
    spool.releases = &releases_;
    spool.stored = &terminal.stored();
    spool.wake_reactor = [this](std::uint32_t reactor) { ring_reactor(reactor); };
    spool.wake_control = [this] { admission_runner_.doorbell().ring(); };
    spool.wake_stored = [&terminal] { terminal.wake(); };
    spool.payload_taken = [this](std::uint64_t bytes) { credit_.consume(bytes); };
    spool.set_room = [this](std::uint64_t bytes) { credit_.set_budget(bytes); };
}

void Intake::connect_admission(Terminal& terminal, AdmissionPorts& admission) {
    admission.spool_commands = &spool_commands_;
    admission.streams_opened = &streams_opened_;
    admission.engine_opened = &machines_opened_;
    admission.wake_spool = [this] { spool_runner_.doorbell().ring(); };
    admission.open_machine = [&terminal](upload::OpenCommand open) {
        terminal.open_machine(std::move(open));
    };
    admission.witness = [&terminal](const MachineId& machine) { return terminal.witness(machine); };
    admission.ask_digests = [&terminal](const ingest::DigestRequest& request) {
        terminal.ask_digests(request);
    };
    admission.heard = [this, &terminal](const ingest::AgentNotice& notice) {
        agents_.heard(notice);
        if (notice.kind == ingest::AgentNotice::Kind::resync_required) {
            terminal.require_resync(notice);
        }
    };
    admission.resync_due = [&terminal](const MachineId& machine, const DiskId& disk) {
        return terminal.resync_due(machine, disk);
    };
    admission.resync_begun = [&terminal](const MachineId& machine, const DiskId& disk) {
        terminal.resync_begun(machine, disk);
    };
}

Result<void> Intake::open_listener(Terminal& terminal, std::vector<ingest::ReactorPorts> doors) {
    SystemSeams& seams = context_.seams;
    ingest::ListenerOptions options;
    CW_TRY_ASSIGN(options.listen, parse_host_port(settings_.ingest_listen));
    options.reactors = doors.size();
    options.tls = {.ca_file = settings_.security_ca_file,
                   .cert_file = settings_.security_cert_file,
                   .key_file = settings_.security_key_file,
                   .allow_tls12 = settings_.security_allow_tls12,
                   .revoked = context_.revoked};
    options.role = terminal.role();
    options.keeps_resync_orders = terminal.keeps_resync_orders();
    options.use_uring = settings_.cache_io_uring;
    options.limits.connections =
        static_cast<std::size_t>(settings_.ingest_max_connections) / options.reactors;
    options.limits.handshake_ns = options.limits.head_ns =
        static_cast<std::int64_t>(settings_.ingest_handshake_timeout_ms) * ns_per_ms;
    CW_TRY_ASSIGN(listener_, ingest::Listener::create(
                                 options,
                                 {*seams.clock, *seams.random, *ingest_slabs_, credit_,
                                  *seams.metrics, context_.conditions},
                                 std::move(doors),
                                 [&terminal](const Identity& identity, const wire::Hello& hello) {
                                     return terminal.authorise(identity, hello);
                                 }));
    return {};
}

void Intake::start() {
    spool_runner_.add(*spool_stage_);
    admission_runner_.add(*admission_);
    spool_runner_.start();
    admission_runner_.start();
    listener_->start();
}

bool Intake::close_door(const DrainLimit& limit) {
    listener_->begin_drain();
    const bool quiet =
        wait_until(*context_.seams.clock, limit, [this] { return listener_->drained(); });
    listener_->stop();
    store_quarantines();
    return quiet;
}

void Intake::store_quarantines() {
    quarantine_trouble_.show(quarantine_.store(*context_.seams.disk, listener_->sessions()));
}

bool Intake::close_cache() {
    // The thread is gone: the rest is done here.
    spool_runner_.stop();
    spool_stage_->drain();
    Clock& clock = *context_.seams.clock;
    constexpr std::size_t budget = 64;
    pipeline::Progress progress = pipeline::Progress::worked;
    wait_until(clock, clock.boot() + checkpoint_ns_max, [&] {
        progress = spool_stage_->step(budget);
        return progress == pipeline::Progress::drained || spool_stage_->failed();
    });
    return progress == pipeline::Progress::drained;
}

bool Intake::send_digests(std::uint32_t reactor, ingest::DigestReply& reply) {
    if (!rings_[reactor]->digest_replies.try_push(reply)) {
        return false;
    }
    ring_reactor(reactor);
    return true;
}

void Intake::settle_reads() {
    while (reader_ && reader_->in_flight() > 0) {
        reader_disk_->wait(ns_per_s);
        reader_->poll();
    }
}

std::size_t Intake::records_queued() const {
    std::size_t records = 0;
    for (const auto& rings : rings_) {
        records += rings->records.size();
    }
    return records;
}

std::vector<StageThread> Intake::threads() const {
    StageThread ingest{"ingest", 0, listener_->reactor(0).last_round()};
    for (std::size_t i = 0; i < listener_->reactor_count(); ++i) {
        ingest.cpu_seconds += listener_->reactor(i).cpu_seconds();
        ingest.last_round = std::min(ingest.last_round, listener_->reactor(i).last_round());
    }
    return {{"spool", spool_runner_.cpu_seconds(), spool_runner_.last_round()},
            {"admission", admission_runner_.cpu_seconds(), admission_runner_.last_round()},
            std::move(ingest)};
}

}  // namespace cw::appliance
