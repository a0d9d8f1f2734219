#include "tests/sim/process.h"

#include "tests/sim/mutant_parts.h"
#include "tests/sim/oracles/oracles.h"
#include "tests/sim/server.h"
#include "tests/sim/world.h"

#include <algorithm>

namespace cw::sim {
namespace {

constexpr std::size_t segment_slabs = 60, readback_slabs = 24, ingest_slabs_max = 28;

template <typename T>
pipeline::Ring<T> ring(const World& world, std::size_t least = 1) {
    return pipeline::Ring<T>(std::max(least, world.settings.rings));
}

}  // namespace

// What the engine says, passed on as in production and shown to the oracles first.
class Process::Sink final : public upload::EngineSink {
public:
    explicit Sink(Process& process)
        : process_(process),
          link_({.opened = process.engine_opened_,
                 .release = process.releases_,
                 .wake_admission = [&process] { process.admission_runner_->doorbell().ring(); },
                 .wake_cache = [&process] { process.spool_runner_->doorbell().ring(); },
                 .on_damaged =
                     [&process](const upload::DamagedRecords& damaged) {
                         process.world_.trace.count("seen.damaged_records");
                         process.table_->end_session(damaged.key.machine);
                     },
                 .on_fenced =
                     [&process](const upload::FencedMachine& fenced) {
                         process.world_.trace.count("seen.fenced");
                         process.table_->end_session(fenced.machine);
                     },
                 .room_is_wanted = [&process] { return process.credit_->starving(); }}) {
        link_.add_reactor(process.rings_.committed,
                          [&process] { process.door_runner_->doorbell().ring(); });
    }
    bool opened(pipeline::MachineOpened& opened) override {
        spoil_answer(process_.world_, opened);
        const pipeline::MachineOpened copy = opened;
        if (!link_.opened(opened)) {
            return false;
        }
        process_.world_.oracles->on_answered(process_.index_, copy);
        return true;
    }
    bool committed(std::uint32_t reactor, pipeline::Committed& committed) override {
        pipeline::Committed copy = committed;
        if (!link_.committed(reactor, committed)) {
            return false;
        }
        process_.world_.event("committed", copy.manifest_number, copy.points.size());
        process_.world_.oracles->on_committed(process_.index_, copy);
        return true;
    }
    bool damaged(upload::DamagedRecords& damaged) override {
        process_.world_.event("damaged", raw(damaged.first), raw(damaged.last));
        process_.world_.oracles->spool.on_damaged(process_.index_, damaged.key);
        return link_.damaged(damaged);
    }
    bool fenced(upload::FencedMachine& fenced) override { return link_.fenced(fenced); }
    bool release(pipeline::Release& release) override { return link_.release(release); }
    [[nodiscard]] bool room_is_wanted() const override { return link_.room_is_wanted(); }

private:
    Process& process_;
    appliance::EngineLink link_;
};

Process::Process(World& world, std::size_t index, ServerState& state)
    : world_(world),
      index_(index),
      state_(state),
      clock_(world.clock, state.clock_ahead_us, world.mutant == Mutant::timers_by_wall),
      random_(make_process_random(world, state)),
      conditions_(clock_),
      metrics_(make_metric_registry()),
      ingest_slabs_(&pool_for(index, "ingest", world.settings.ingest_slabs, ingest_slabs_max)),
      segment_slabs_(&pool_for(index, "segment", segment_slabs, segment_slabs)),
      readback_slabs_(&pool_for(index, "readback", readback_slabs, readback_slabs)),
      compute_(make_inline_executor()),
      stores_(make_process_stores(world.vault.factory(), life_, *world.oracles, world.mutant)),
      rings_{.records = ring<pipeline::Record>(world),
             .opens = ring<pipeline::OpenMachine>(world),
             .digests = ring<ingest::DigestRequest>(world),
             .notices = ring<ingest::AgentNotice>(world),
             .opened = ring<pipeline::MachineOpened>(world),
             .spooled = ring<pipeline::Spooled>(world),
             .committed = ring<pipeline::Committed>(world),
             .digest_replies = ring<ingest::DigestReply>(world)} {}

Process::~Process() {
    CW_ASSERT(!running());
    digests_.reset();
    door_.reset();
    engine_.reset();
    stage_.reset();
    spool_reader_.reset();
    spool_.reset();
    spool_disk_.reset();
    reader_disk_.reset();
}

bool Process::running() const {
    return starting_ ||
           std::ranges::any_of(runners_, [](const auto& runner) { return runner->running(); });
}

std::size_t Process::slabs_out() const {
    std::size_t out = 0;
    for (const LentPool* lent : {ingest_slabs_, segment_slabs_, readback_slabs_}) {
        out += lent->out();
    }
    return out;
}

cache::SpoolOptions Process::cache_options() const {
    cache::SpoolOptions options;
    options.path = "/spool";
    options.size_bytes = world_.settings.spool_bytes;
    options.region_bytes = world_.settings.region_bytes;
    options.batch_bytes_max = world_.settings.batch_bytes;
    options.batches_in_flight = world_.settings.batches_in_flight;
    options.prewrite = false;
    return options;
}

upload::EngineOptions Process::engine_options() const {
    const Settings& s = world_.settings;
    upload::EngineOptions options;
    options.lanes.upload_threads_per_vm = s.upload_threads;
    options.segment_slabs = 16;
    options.ingest_slabs_low = s.ingest_slabs / 4;
    options.seal_after_ns = s.seal_after_ns;
    options.commit_interval_ns = s.commit_interval_ns;
    options.checkpoint_every = s.checkpoint_every;
    options.jobs = s.jobs;
    options.backlog_records = s.backlog_records;
    options.stored_ring = std::max<std::size_t>(s.rings, 4);
    options.stage_rings = s.rings;
    options.runs = s.runs;
    options.segment_age_ns = s.segment_age_ns;
    options.same_as_interval_ns = s.same_as_ns;
    options.provisional_ns = s.provisional_ns;
    options.ownership_check_ns = s.ownership_check_ns;
    options.read_back_every = s.read_back_every;
    options.checkpoints_kept = s.checkpoints_kept;
    options.lanes.total_connections = s.connections;
    options.dek_bytes = s.dek_bytes;
    options.bandwidth.bytes_per_s = s.bandwidth;
    options.chain_bytes_max = world_.calm() ? 0 : s.chain_bytes;
    options.codec.mode = s.compression;
    return options;
}

Result<void> Process::start() {
    starting_ = true;
    const auto result = [&]() -> Result<void> {
        auto store = stores_->make();
        ServerId id;
        id.bytes[15] = std::byte{static_cast<unsigned char>(state_.identity + 1)};
        CW_TRY_ASSIGN(signer_, vault::make_server_signer(*store, *world_.kek, *random_, id));
        return open_cache();
    }();
    starting_ = false;
    if (!result || life_.dead) {
        return result ? fail(Errc::cancelled, "killed while starting") : result;
    }
    for (std::size_t i = 0; i < 6 + world_.settings.upload_stages; ++i) {
        runners_.push_back(std::make_unique<SimRunner>(world_.clock, *world_.random));
    }
    spool_runner_ = runners_[0].get();
    assembly_runner_ = runners_[1].get();
    admission_runner_ = runners_[2].get();
    door_runner_ = runners_[3].get();
    publish_runner_ = runners_[4].get();
    open_runner_ = runners_[5].get();
    for (std::size_t i = 6; i < runners_.size(); ++i) {
        upload_runners_.push_back(runners_[i].get());
    }
    make_engine();
    make_digests();
    make_door();
    make_runners();
    for (const MachineId& machine : recovered_) {
        engine_->post(upload::RecoverCommand{.machine = machine,
                                             .server_witness = state_.witnesses[machine]});
    }
    return {};
}

Result<void> Process::open_cache() {
    auto& storage = world_.servers[index_]->storage();
    spool_disk_ = make_server_disk(world_, storage, starting_);
    reader_disk_ = make_server_disk(world_, storage, starting_);
    CW_TRY(spool_disk_->create_directories("/spool"));
    CW_TRY_ASSIGN(spool_, cache::Spool::open(cache_options(), {*spool_disk_, clock_, *random_,
                                                               conditions_, *metrics_}));
    if (storage.struck()) {
        return fail(Errc::io_error, "struck while it recovers");
    }
    CW_TRY_ASSIGN(spool_reader_, cache::SpoolReader::open(*spool_, *reader_disk_));
    spool_ = wrap_spool(world_, index_, std::move(spool_));
    for (const cache::StreamState& state : spool_->streams()) {
        if (recovered_.empty() || recovered_.back() != state.key.machine) {
            recovered_.push_back(state.key.machine);
        }
    }
    world_.oracles->on_recovered(index_, *spool_);
    return {};
}

void Process::make_engine() {
    reader_ = std::make_unique<appliance::ReaderPump>(*spool_reader_, *reader_disk_);
    other_reader_ = wrap_reader(world_, *reader_);
    upload::RecordReader& reader = other_reader_ ? *other_reader_ : *reader_;
    sink_ = std::make_unique<Sink>(*this);
    upload::EngineDoorbells bells{.assembly = assembly_runner_->doorbell(),
                                  .publish = publish_runner_->doorbell(),
                                  .open = open_runner_->doorbell(),
                                  .upload = {}};
    for (SimRunner* runner : upload_runners_) {
        bells.upload.push_back(&runner->doorbell());
    }
    engine_ =
        upload::Engine::create({clock_, *random_, *compute_, *stores_, *world_.kek, world_.identity,
                                signer_, *ingest_slabs_->pool, *readback_slabs_->pool,
                                *segment_slabs_->pool, reader, *sink_, conditions_, *metrics_},
                               std::move(bells), engine_options());
}

cache::SpoolStagePorts Process::spool_ports() {
    cache::SpoolStagePorts ports;
    ports.records.push_back(&rings_.records);
    ports.spooled.push_back(&rings_.spooled);
    ports.commands = &spool_commands_;
    ports.opened = &streams_opened_;
    ports.releases = &releases_;
    ports.stored = feed_ ? &changed_ : &engine_->stored();
    ports.wake_reactor = [this](std::uint32_t) { door_runner_->doorbell().ring(); };
    ports.wake_control = [this] { admission_runner_->doorbell().ring(); };
    ports.wake_stored = [this] { assembly_runner_->doorbell().ring(); };
    ports.payload_taken = [this](std::uint64_t bytes) {
        if (world_.mutant != Mutant::credit_leak || random_->below(8) != 0) {
            credit_->consume(bytes);
        }
    };
    ports.set_room = [this](std::uint64_t bytes) { credit_->set_budget(bytes); };
    return ports;
}

appliance::AdmissionPorts Process::admission_ports() {
    appliance::AdmissionPorts ports;
    ports.reactors.push_back({&rings_.opens, &rings_.digests, &rings_.notices, &rings_.opened,
                              [this] { door_runner_->doorbell().ring(); }});
    ports.spool_commands = &spool_commands_;
    ports.streams_opened = &streams_opened_;
    ports.engine_opened = &engine_opened_;
    ports.wake_spool = [this] { spool_runner_->doorbell().ring(); };
    ports.open_machine = [this](upload::OpenCommand open) {
        spoil_open(world_, open);
        engine_->post(std::move(open));
    };
    ports.witness = [this](const MachineId& machine) { return state_.witnesses[machine]; };
    ports.ask_digests = [this](const ingest::DigestRequest& request) {
        CW_ASSERT(digests_);
        digests_->ask(request);
        digests_runner_->doorbell().ring();
    };
    return ports;
}

void Process::make_digests() {
    if (!tells_digests(world_.settings, index_)) {
        return;
    }
    runners_.push_back(std::make_unique<SimRunner>(world_.clock, *world_.random));
    digests_runner_ = runners_.back().get();
    digests_ = std::make_unique<Digests>(
        world_, Digests::Context{.server = index_,
                                 .clock = clock_,
                                 .metrics = *metrics_,
                                 .life = life_,
                                 .engine = *engine_,
                                 .replies = rings_.digest_replies,
                                 .wake_door = [this] { door_runner_->doorbell().ring(); }});
    digests_runner_->add(*digests_);
}

void Process::make_door() {
    if (Feed::needed(world_.mutant)) {
        feed_ = std::make_unique<Feed>(
            changed_, engine_->stored(), [this] { assembly_runner_->doorbell().ring(); },
            world_.mutant);
    }
    credit_ = std::make_unique<ingest::SharedCredit>(0, ingest::credit_window_min);
    table_ = std::make_unique<ingest::SessionTable>(clock_, *random_, conditions_);
    stage_ = std::make_unique<cache::SpoolStage>(
        *spool_, *spool_disk_, clock_, spool_ports(),
        cache::SpoolStageOptions{.resident_bytes_max = world_.settings.resident_bytes});
    admission_ = std::make_unique<appliance::Admission>(admission_ports());
    door_ = std::make_unique<Door>(
        Door::Context{.clock = clock_,
                      .random = *random_,
                      .network = world_.network,
                      .pool = *ingest_slabs_->pool,
                      .table = *table_,
                      .credit = *credit_,
                      .metrics = *metrics_,
                      .rings = rings_,
                      .has_digests = digests_ != nullptr,
                      .wake_spool =
                          [this] {
                              if (world_.mutant != Mutant::lost_wake_up || random_->below(4) != 0) {
                                  spool_runner_->doorbell().ring();
                              }
                          },
                      .wake_admission = [this] { admission_runner_->doorbell().ring(); },
                      .trust_stale = world_.mutant == Mutant::stale_frames_accepted,
                      .took_stale = [this] { world_.trace.count("seen.stale_frames"); },
                      .spooled_is_committed = world_.mutant == Mutant::spooled_is_committed,
                      .saw_spooled =
                          [this](const pipeline::Spooled& notice) {
                              world_.oracles->durability.on_spooled(index_, notice);
                          },
                      .saw_opened =
                          [this](const pipeline::MachineOpened& opened) {
                              world_.servers[index_]->welcomed();
                              world_.oracles->durability.on_opened(index_, opened);
                              if (digests_) {
                                  digests_->on_opened(opened);
                              }
                          },
                      .saw_stale_digests = [this] { world_.trace.count("seen.digests_stale"); }});
}

// A device's completion and a store's reply wake whoever waits for them.
void Process::make_runners() {
    const std::int64_t look_ns =
        std::max(world_.settings.disk.durable_delay_ns / 4, 100 * ns_per_us);
    const auto device = [look_ns](SimRunner& runner, Disk& disk) {
        runner.wake_when([&disk] { return disk.in_flight() > 0; },
                         [look_ns](Nanos parked_at) { return parked_at + look_ns; });
    };
    const auto replies = [this](SimRunner& runner, upload::BlobStage& stage) {
        runner.wake_when(
            [&stage] { return stage.store().in_flight() > 0; },
            [this](Nanos parked_at) {
                return world_.vault.next_event_after(parked_at).value_or(Nanos{INT64_MAX});
            });
    };
    spool_runner_->add(*stage_);
    device(*spool_runner_, *spool_disk_);
    assembly_runner_->add(engine_->assembly());
    assembly_runner_->add(*reader_);
    if (feed_) {
        assembly_runner_->add(*feed_);
    }
    device(*assembly_runner_, *reader_disk_);
    other_admission_ = wrap_stage(world_, *admission_);
    admission_runner_->add(other_admission_ ? *other_admission_ : *admission_);
    door_runner_->add(*door_);
    door_runner_->wake_when([this](Nanos) { return door_->bytes_due(); });
    publish_runner_->add(engine_->publisher());
    replies(*publish_runner_, engine_->publisher());
    open_runner_->add(engine_->opener());
    replies(*open_runner_, engine_->opener());
    for (std::size_t i = 0; i < upload_runners_.size(); ++i) {
        upload_runners_[i]->add(engine_->uploader(i));
        replies(*upload_runners_[i], engine_->uploader(i));
    }
}

void Process::kill() {
    for (const ConditionEvent& event : conditions_.events(4096)) {
        if (event.raised) {
            world_.trace.count("condition." + std::string(name_of(event.condition.code)));
        }
    }
    if (digests_) {
        world_.trace.count("fault.digests_died", digests_->under_way());
    }
    life_.dead = true;
}

void Process::accept(std::shared_ptr<Wire> wire, const MachineId& machine) {
    door_->accept(std::move(wire), machine);
    door_runner_->doorbell().ring();
}

void Process::show_again() {
    ConditionNews news = conditions_.news(seen_conditions_);
    seen_conditions_ = news.next;
    for (ConditionEvent& event : news.events) {
        if (!event.raised && event.condition.code == Errc::blob_unavailable) {
            conditions_.raise(event.condition.code, std::move(event.condition.subject),
                              std::move(event.condition.detail));
        }
    }
}

void Process::tick() {
    table_->tick();
    if (world_.mutant == Mutant::shown_again) {
        show_again();
    }
    for (const upload::MachineStatus& machine : engine_->status().machines) {
        if (machine.trouble && machine.trouble->code == Errc::internal) {
            world_.oracles->fencing.on_given_up(machine.trouble->detail);
        }
        if (machine.manifest_number > 0 && machine.mode == upload::MachineMode::active) {
            state_.witnesses[machine.machine] = {.number = machine.manifest_number,
                                                 .hash = machine.manifest_hash};
        }
    }
}

bool Process::quiet() {
    return stage_->delivered_recovered() && spool_->idle() && door_->quiet() && changed_.empty() &&
           engine_->stored().empty() && releases_.empty() && rings_.records.empty() &&
           rings_.spooled.empty() && engine_->status().backlog_records == 0;
}

}  // namespace cw::sim
