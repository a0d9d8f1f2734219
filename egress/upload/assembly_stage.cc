#include "egress/upload/assembly_stage.h"

#include "base/assert.h"

#include <algorithm>

namespace cw::upload {
namespace {

constexpr std::size_t lsns_per_release_max = 4096;
// While there is work; else what the board says stays true, and nobody is woken for it.
constexpr std::int64_t status_interval_ns = 250 * ns_per_ms;
constexpr std::int64_t status_interval_idle_ns = 2 * ns_per_s;
constexpr std::int64_t reader_poll_ns = ns_per_ms;

}  // namespace

void LiveOptions::set_lanes(const LaneOptions& lanes) {
    const std::scoped_lock lock(mutex_);
    changes_.lanes = lanes;
    changed_.store(true, std::memory_order_release);
}

void LiveOptions::set_bandwidth(const BandwidthOptions& bandwidth) {
    const std::scoped_lock lock(mutex_);
    changes_.bandwidth = bandwidth;
    changed_.store(true, std::memory_order_release);
}

void LiveOptions::set_codec(const pipeline::CodecPolicyOptions& codec) {
    const std::scoped_lock lock(mutex_);
    changes_.codec = codec;
    changed_.store(true, std::memory_order_release);
}

std::optional<LiveOptions::Changes> LiveOptions::take() {
    if (!changed_.load(std::memory_order_acquire)) {
        return std::nullopt;
    }
    const std::scoped_lock lock(mutex_);
    changed_.store(false, std::memory_order_relaxed);
    return std::exchange(changes_, {});
}

AssemblyStage::AssemblyStage(Context context, const SegmentBuilder::Context& builder)
    : context_(std::move(context)),
      lanes_(context_.options.lanes, context_.options.bandwidth),
      trouble_(context_.conditions),
      codec_(context_.options.codec),
      outstanding_(context_.orders.size()),
      control_done_(std::make_shared<std::vector<std::shared_ptr<ControlRead>>>()),
      builder_(builder, *this, context_.options.verify) {}

pipeline::Progress AssemblyStage::step(std::size_t budget) {
    apply_live_options();
    bool worked = context_.reader.poll() > 0;
    worked |= take_replies();
    worked |= take_answers();
    worked |= finish_control_reads();
    worked |= take_records(budget);
    shed_payload();
    seal();
    measure_waits();
    worked |= builder_.step();
    worked |= start_jobs();
    worked |= dispatch();
    if (context_.options.pace) {
        context_.options.pace->bytes_per_s.store(lanes_.pace());
    }
    measure_waits();
    worked |= make_room_for_repair();
    worked |= flush_releases();
    const bool sent = context_.events.flush();
    for (Channel<UploadOrder>* const orders : context_.orders) {
        orders->flush();
    }
    const Nanos now = context_.clock.boot();
    if (worked) {
        status_due_ = std::min(status_due_, status_at_ + status_interval_ns);
    }
    if (now >= status_due_) {
        refresh_status(now);
    }
    context_.board.assembly_quiet.store(!worked && sent && quiet());
    if (worked) {
        return pipeline::Progress::worked;
    }
    const bool full = backlog_ >= context_.options.backlog_records && !context_.stored.empty();
    return full || builder_.starved() ? pipeline::Progress::blocked : pipeline::Progress::starved;
}

AssemblyStage::Machine::Machine(const MachineId& id, AssemblyHost& host, MetricRegistry& metrics)
    : assembly(id, host),
      lanes_active(metrics.gauge("causeway_upload_lanes",
                                 {{"machine", to_string(id)}, {"state", "active"}})),
      lanes_waiting(metrics.gauge("causeway_upload_lanes",
                                  {{"machine", to_string(id)}, {"state", "waiting"}})) {}

AssemblyStage::Machine& AssemblyStage::machine_of(const MachineId& id) {
    std::unique_ptr<Machine>& machine = machines_[id];
    if (machine == nullptr) {
        machine =
            std::make_unique<Machine>(id, static_cast<AssemblyHost&>(*this), context_.metrics);
    }
    return *machine;
}

bool AssemblyStage::take_records(std::size_t budget) {
    if (context_.board.drain.load() == DrainMode::keep) {
        return false;
    }
    bool worked = false;
    for (std::size_t i = 0; i < budget && backlog_ < context_.options.backlog_records; ++i) {
        pipeline::StoredRecord stored;
        if (!context_.stored.try_pop(stored)) {
            break;
        }
        Machine& machine = machine_of(stored.record.header.key.machine);
        backlog_ += machine.stopped ? 0 : 1;
        machine.assembly.take(std::move(stored));
        worked = true;
    }
    return worked;
}

bool AssemblyStage::take_replies() {
    bool worked = false;
    PublishEvent event;
    while (context_.replies.receive(event)) {
        Machine& machine = machine_of(event.machine);  // Before the event moves on.
        handle(machine, std::move(event));
        worked = true;
    }
    return worked;
}

void AssemblyStage::handle(Machine& machine, PublishEvent event) {
    MachineAssembly& assembly = machine.assembly;
    if (const auto* const ready = std::get_if<MachineReady>(&event.what)) {
        open(machine, *ready);
    } else if (const auto* const stopped = std::get_if<MachineStopped>(&event.what)) {
        stop(machine, stopped->discard);
    } else if (const auto* const done = std::get_if<StepsCommitted>(&event.what)) {
        if (done->opening == assembly.opening() && assembly.active()) {
            assembly.committed(done->through);
        }
    } else if (const auto* const again = std::get_if<StoreAgain>(&event.what)) {
        SegmentWork* const work = again->opening == assembly.opening() && assembly.active()
                                      ? assembly.find(again->step)
                                      : nullptr;
        if (work != nullptr && work->phase == SegmentPhase::stored) {
            assembly.requeue(*work);
        }
    } else if (const auto* const repair = std::get_if<RepairAllowed>(&event.what)) {
        if (repair->opening == assembly.opening()) {
            assembly.allow_repair(repair->disk, repair->session);
        }
    } else if (const auto* const changed = std::get_if<KeysChanged>(&event.what)) {
        if (changed->opening == assembly.opening() && assembly.active()) {
            assembly.set_keys(changed->keys);
        }
    } else {
        assembly.seal_all();
    }
}

void AssemblyStage::open(Machine& machine, const MachineReady& ready) {
    count(machine);
    machine.assembly.open(ready);
}

void AssemblyStage::stop(Machine& machine, bool discard) {
    count(machine);
    dispose(machine.assembly.stop(discard));
    CW_ASSERT(backlog_ >= machine.assembly.backlog_records());
    backlog_ -= machine.assembly.backlog_records();
    machine.stopped = true;
}

// The backlog may be beyond its limit now: then nothing is taken until it is not.
void AssemblyStage::count(Machine& machine) {
    if (std::exchange(machine.stopped, false)) {
        backlog_ += machine.assembly.backlog_records();
    }
}

void AssemblyStage::set_aside(std::ptrdiff_t records) {
    CW_ASSERT(records <= static_cast<std::ptrdiff_t>(backlog_));
    backlog_ -= static_cast<std::size_t>(records);  // Fewer than none: more of them count.
}

void AssemblyStage::step_made(const MachineId& machine, Opening opening, Step step) {
    context_.events.send({.machine = machine, .opening = opening, .what = std::move(step)});
}

void AssemblyStage::release(pipeline::Lsn lsn) {
    CW_ASSERT(backlog_ > 0);
    --backlog_;
    releases_.push_back(lsn);
}

void AssemblyStage::read_control(const MachineId& machine, pipeline::StoredRecord record) {
    auto read = std::make_shared<ControlRead>();
    read->machine = machine;
    read->record = std::move(record);
    context_.reader.read(read->record.lsn, read->record.record,
                         [read, done = control_done_](Result<void> outcome) {
                             read->outcome = std::move(outcome);
                             done->push_back(read);
                         });
}

bool AssemblyStage::finish_control_reads() {
    const auto done = std::exchange(*control_done_, {});
    for (const std::shared_ptr<ControlRead>& read : done) {
        machine_of(read->machine)
            .assembly.payload_read(std::move(read->record), std::move(read->outcome));
    }
    return !done.empty();
}

void AssemblyStage::disk_damaged(const MachineId& machine, Opening opening, DamagedRecords damage) {
    context_.events.send({.machine = machine, .opening = opening, .what = std::move(damage)});
}

void AssemblyStage::apply_live_options() {
    const auto changes = context_.live.take();
    if (!changes) {
        return;
    }
    status_due_ = status_at_;
    if (changes->lanes) {
        lanes_.set(*changes->lanes);
    }
    if (changes->bandwidth) {
        lanes_.set_bandwidth(*changes->bandwidth);
    }
    if (changes->codec) {
        codec_.reconfigure(*changes->codec);
    }
}

// Latest deadlines lose their payload first: they will wait longest anyway.
void AssemblyStage::shed_payload() {
    const std::size_t low =
        std::min(context_.options.ingest_slabs_low, context_.ingest_slabs.count() / 2);
    const std::size_t free = context_.ingest_slabs.free_count();
    if (free >= low) {
        return;
    }
    std::size_t wanted = 2 * low - free;
    for (auto at = machines_.rbegin(); at != machines_.rend() && wanted > 0; ++at) {
        wanted -= std::min(wanted, at->second->assembly.shed_payload(wanted));
    }
}

// An agent repairs a disk in the order of all its writes, which need credit: with the cache full of
// what lies behind the damage there would be none, for ever.
bool AssemblyStage::make_room_for_repair() {
    if (context_.clock.boot() < status_due_ || !context_.sink.room_is_wanted()) {
        return false;  // Looked at as often as the status.
    }
    bool any = false;
    for (auto& [id, machine] : machines_) {
        any |= machine->assembly.let_go_behind_damage();
    }
    return any;
}

void AssemblyStage::seal() {
    const Nanos now = context_.clock.boot();
    const bool all = context_.board.drain.load() == DrainMode::commit && context_.stored.empty();
    for (auto& [id, machine] : machines_) {
        if (all && machine->assembly.active()) {
            machine->assembly.seal_all();
        } else {
            machine->assembly.seal_due(now);
        }
    }
}

bool AssemblyStage::flush_releases() {
    bool worked = false;
    while (!releases_.empty()) {
        const std::size_t count = std::min(releases_.size(), lsns_per_release_max);
        pipeline::Release release;
        release.lsns.assign(releases_.begin(),
                            releases_.begin() + static_cast<std::ptrdiff_t>(count));
        if (!context_.sink.release(release)) {
            break;
        }
        releases_.erase(releases_.begin(), releases_.begin() + static_cast<std::ptrdiff_t>(count));
        worked = true;
    }
    return worked;
}

bool AssemblyStage::quiet() const {
    const bool still = builder_.running() == 0 && lanes_.in_use() == 0 && releases_.empty();
    if (context_.board.drain.load() == DrainMode::keep) {
        return still;
    }
    return still && context_.stored.empty() && context_.replies.empty() &&
           std::ranges::all_of(machines_, [](const auto& entry) {
               const MachineAssembly& assembly = entry.second->assembly;
               return !assembly.active() || assembly.idle();
           });
}

Nanos AssemblyStage::next_deadline() const {
    const Nanos now = context_.clock.boot();
    Nanos soonest = std::min(status_due_, lanes_.next_start(now));
    for (const auto& [id, machine] : machines_) {
        soonest = std::min(soonest, machine->assembly.next_seal());
        const Nanos start = machine->assembly.next_start();
        if (start > now) {  // Else it waits for a job to end, not for time.
            soonest = std::min(soonest, start);
        }
    }
    if (context_.reader.in_flight() > 0 && context_.reader.event_fd() < 0) {
        soonest = std::min(soonest, now + reader_poll_ns);
    }
    return soonest;
}

void AssemblyStage::refresh_status(Nanos now) {
    status_at_ = now;
    status_due_ = now + status_interval_idle_ns;
    std::map<MachineId, AssemblyStatus> all;
    for (const auto& [id, machine] : machines_) {
        AssemblyStatus& status = all[id];
        status.backlog_bytes = machine->assembly.backlog_bytes();
        status.backlog_records = machine->assembly.backlog_records();
        status.uploaded_bytes = machine->uploaded_bytes;
        status.coalesced_bytes = machine->coalesced_bytes;
        status.lanes_active = lanes_.in_use(id);
        status.lanes_waiting = lanes_.waiting(id);
        for (const MachineAssembly::DiskState& disk : machine->assembly.disks()) {
            status.disks[disk.disk] = {disk.assembled, disk.damaged};
        }
        machine->lanes_active.set(status.lanes_active);
        machine->lanes_waiting.set(status.lanes_waiting);
    }
    context_.board.set_assembly(std::move(all), {.bandwidth_limit = lanes_.bandwidth_limit(),
                                                 .connections_used = lanes_.in_use(),
                                                 .connections_max = lanes_.allowed(),
                                                 .jobs_running = builder_.running()});
}

}  // namespace cw::upload
