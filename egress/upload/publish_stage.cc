#include "egress/upload/publish_stage.h"

#include "base/crash_point.h"
#include "base/log.h"

#include <algorithm>

namespace cw::upload {
namespace {

std::string subject_of(const MachineId& id) {
    return "machine " + to_string(id);
}

}  // namespace

void CommandBox::post(Command command) {
    const std::scoped_lock lock(mutex_);
    waiting_.push_back(std::move(command));
}

std::vector<Command> CommandBox::take_all() {
    const std::scoped_lock lock(mutex_);
    return std::exchange(waiting_, {});
}

PublishStage::PublishStage(Context context) : context_(std::move(context)) {}

// The store goes first: its callbacks borrow the writers.
PublishStage::~PublishStage() {
    context_.store.reset();
}

pipeline::Progress PublishStage::step(std::size_t budget) {
    bool worked = context_.store->poll() > 0;
    context_.replies.flush();
    context_.open_tasks.flush();
    worked |= flush_outgoing();
    for (Command& command : context_.commands.take_all()) {
        run(std::move(command));
        worked = true;
    }
    worked |= take_outcomes();
    worked |= take_events(budget);
    if (outgoing_.empty()) {
        for (auto& [id, machine] : machines_) {
            worked |= step_machine(id, machine);
        }
    }
    worked |= flush_outgoing();
    const Nanos now = context_.clock.boot();
    if (now >= status_due_) {
        refresh_status(now);
    }
    context_.board.publish_quiet.store(!worked && quiet());
    if (worked) {
        return pipeline::Progress::worked;
    }
    return outgoing_.empty() ? pipeline::Progress::starved : pipeline::Progress::blocked;
}

bool PublishStage::take_outcomes() {
    bool worked = false;
    while (!context_.open_outcomes.empty()) {
        OpenOutcome outcome{.machine = {}, .claim = fail(Errc::internal)};
        context_.open_outcomes.receive(outcome);
        opened(std::move(outcome));
        worked = true;
    }
    return worked;
}

bool PublishStage::take_events(std::size_t budget) {
    bool worked = false;
    for (std::size_t i = 0; i < budget && !context_.events.empty(); ++i) {
        AssemblyEvent event;
        context_.events.receive(event);
        take(std::move(event));
        worked = true;
    }
    return worked;
}

bool PublishStage::quiet() const {
    const bool keep = context_.board.drain.load() == DrainMode::keep;
    return outgoing_.empty() && context_.events.empty() && context_.open_outcomes.empty() &&
           std::ranges::all_of(machines_, [keep](const auto& entry) {
               const Machine& machine = entry.second;
               const bool still = machine.writer == nullptr ||
                                  (keep ? !machine.writer->busy() : machine.writer->idle());
               return still && machine.mode != MachineMode::opening;
           });
}

void PublishStage::reply(const MachineId& id, decltype(PublishEvent::what) what) {
    context_.replies.send({.machine = id, .what = std::move(what)});
}

bool PublishStage::step_machine(const MachineId& id, Machine& machine) {
    if (machine.writer == nullptr) {
        const bool look = machine.look && context_.board.drain.load() == DrainMode::none;
        if ((machine.recover || look) && machine.mode == MachineMode::waiting &&
            context_.clock.boot() >= machine.recover_at) {
            ask_opener(id, machine);
            return true;
        }
        return false;
    }
    if (machine.mode == MachineMode::fenced) {
        machine.writer.reset();
        if (machine.asked) {
            ask_opener(id, machine);
        }
        return true;
    }
    // A drain that keeps the rest begins nothing; one that commits lets everything pass.
    if (context_.board.drain.load() == DrainMode::keep) {
        return false;
    }
    machine.writer->wait_for_agent(!machine.damaged.empty());
    const bool worked = machine.writer->step(*context_.store);
    if (machine.closing && machine.writer->idle()) {
        finish_closing(id, machine);
        return true;
    }
    if (machine.asked && machine.mode == MachineMode::active && !machine.closing &&
        !machine.writer->untold()) {
        const OpenCommand command = std::move(*std::exchange(machine.asked, std::nullopt));
        answer(id, machine, command);
        return true;
    }
    return worked;
}

void PublishStage::finish_closing(const MachineId& id, Machine& machine) {
    machine.writer.reset();
    machine.closing = false;
    machine.mode = MachineMode::closed;
    if (std::exchange(machine.discarding, false)) {
        discard(id, machine);
    } else {
        reply(id, MachineStopped{.discard = false});
    }
    log_info("upload.machine.closed", {{"machine", id}});
    if (machine.asked) {
        ask_opener(id, machine);
    }
}

void PublishStage::take(AssemblyEvent event) {
    const auto at = machines_.find(event.machine);
    if (at == machines_.end() || at->second.opening != event.opening ||
        at->second.writer == nullptr) {
        return;  // Of an opening that is over.
    }
    Machine& machine = at->second;
    Ledger& ledger = machine.writer->ledger();
    if (auto* const step = std::get_if<Step>(&event.what)) {
        if (step->repairs || step->kind == StepKind::generation) {
            machine.damaged.erase(step->disk);
        }
        ledger.add(std::move(*step));
    } else if (auto* const stored = std::get_if<SegmentStored>(&event.what)) {
        machine.dek_bytes += stored->ref.object_bytes;
        ledger.stored(std::move(*stored));
    } else if (const auto* const lost = std::get_if<SegmentLost>(&event.what)) {
        ledger.lost(*lost);
        report_damage(event.machine, machine, lost->damage, lost->repaired);
        if (ledger.corrects(lost->step)) {
            machine.writer->give_back("a swept segment is damaged in the cache, too");
        }
    } else {
        report_damage(event.machine, machine, std::get<DamagedRecords>(event.what), false);
    }
    if (machine.dek_bytes >= context_.options.dek_bytes) {
        rotate_dek(event.machine, machine);
    }
}

void PublishStage::report_damage(const MachineId& id, Machine& machine,
                                 const DamagedRecords& damage, bool repaired) {
    log_error("upload.records.damaged", {{"machine", id},
                                         {"disk", damage.key.disk},
                                         {"first", damage.first},
                                         {"last", damage.last},
                                         {"repaired", repaired},
                                         {"evidence", damage.evidence}});
    if (!damage.key.disk.is_nil() && !repaired) {
        machine.damaged.insert_or_assign(damage.key.disk,
                                         Machine::Damage{damage.key.generation, damage.sound});
    }
    context_.conditions.raise(Errc::spool_lost_durable, subject_of(id),
                              "sequences " + std::to_string(raw(damage.first)) + " to " +
                                  std::to_string(raw(damage.last)) + ": " + damage.evidence);
    if (!repaired) {
        outgoing_.emplace_back(damage);
    }
}

void PublishStage::rotate_dek(const MachineId& id, Machine& machine) {
    vault::MachineKeys& keys = machine.writer->keys();
    machine.writer->ledger().add_dek(vault::make_dek(keys, context_.vault, context_.random));
    machine.dek_bytes = 0;
    log_info("upload.dek.made", {{"machine", id}, {"version", keys.newest().version}});
}

void PublishStage::settled(const MachineId& id, const Draft& draft, std::uint64_t number,
                           const Sha256& hash) {
    Machine& machine = machines_.at(id);
    CW_CRASH_POINT("upload.before_told");
    pipeline::Committed told = draft.told;
    told.machine = id;
    told.manifest_number = number;
    told.manifest_hash = hash;
    outgoing_.push_back(ToReactor{.reactor = machine.reactor,
                                  .committed = std::move(told),
                                  .steps = {.opening = machine.opening, .through = draft.through}});
    // A new DEK is used only after the manifest that carries it is committed.
    if (draft.manifest && !draft.manifest->deks.empty() &&
        draft.manifest->kind == vault::ManifestKind::regular) {
        reply(id, KeysChanged{.opening = machine.opening, .keys = segment_keys(machine)});
    }
    remember(machine, draft.told.points);
    count_points(draft);
    note_point(machine, id, draft);
    if (machine.damaged.empty()) {
        context_.conditions.clear(Errc::spool_lost_durable, subject_of(id));
    }
    status_due_ = std::min(status_due_, context_.clock.boot() + 100 * ns_per_ms);
}

void PublishStage::remember(Machine& machine, const std::vector<pipeline::PointStatus>& told) {
    constexpr std::size_t kept_max = 256;  // As many as an agent keeps.
    machine.told.insert(machine.told.end(), told.begin(), told.end());
    while (machine.told.size() > kept_max) {
        machine.told.pop_front();
    }
}

void PublishStage::store_again(const MachineId& id, StepId step) {
    reply(id, StoreAgain{.opening = machines_.at(id).opening, .step = step});
}

void PublishStage::fenced(const MachineId& id, const Error& why) {
    log_error("upload.machine.fenced", {{"machine", id}, {"error", why}});
    let_go(id, machines_.at(id), why);
}

void PublishStage::gave_up(const MachineId& id, const Error& why) {
    log_error("upload.machine.given_up", {{"machine", id}, {"error", why}});
    Machine& machine = machines_.at(id);
    machine.given_up = true;
    const auto asked = std::exchange(machine.asked, std::nullopt);
    let_go(id, machine, why);
    if (asked) {
        refuse_given_up(machine, *asked);
    }
}

void PublishStage::let_go(const MachineId& id, Machine& machine, const Error& why) {
    machine.mode = MachineMode::fenced;
    machine.closing = false;
    trouble(id, why);
    reply(id, MachineStopped{.discard = false});
    if (std::exchange(machine.discarding, false)) {
        discard(id, machine);
    }
    if (!machine.asked) {  // Else the newest session waits for the chain to be opened again.
        outgoing_.emplace_back(
            FencedMachine{.machine = id, .reactor = machine.reactor, .why = why});
    }
}

void PublishStage::trouble(const MachineId& id, const std::optional<Error>& error) {
    Machine& machine = machines_.at(id);
    if (machine.trouble && (!error || error->code != machine.trouble->code)) {
        context_.conditions.clear(machine.trouble->code, subject_of(id));
    }
    if (error) {
        context_.conditions.raise(error->code, subject_of(id), error->detail);
    }
    machine.trouble = error;
}

bool PublishStage::flush_outgoing() {
    bool moved = false;
    while (!outgoing_.empty() && offer(outgoing_.front())) {
        outgoing_.pop_front();
        moved = true;
    }
    return moved;
}

bool PublishStage::offer(Outgoing& outgoing) {
    if (auto* const answer = std::get_if<pipeline::MachineOpened>(&outgoing)) {
        return context_.sink.opened(*answer);
    }
    if (auto* const news = std::get_if<ToReactor>(&outgoing)) {
        const MachineId machine = news->committed.machine;
        if (!context_.sink.committed(news->reactor, news->committed)) {
            return false;
        }
        CW_CRASH_POINT("upload.before_release");
        if (raw(news->steps.through) > 0) {
            reply(machine, news->steps);
        }
        return true;
    }
    if (auto* const fenced = std::get_if<FencedMachine>(&outgoing)) {
        return context_.sink.fenced(*fenced);
    }
    return context_.sink.damaged(std::get<DamagedRecords>(outgoing));
}

Nanos PublishStage::next_deadline() const {
    Nanos soonest = status_due_;
    for (const auto& [id, machine] : machines_) {
        if (machine.writer != nullptr) {
            soonest = std::min(soonest, machine.writer->next_deadline());
        } else if ((machine.recover || machine.look) && machine.mode == MachineMode::waiting) {
            soonest = std::min(soonest, machine.recover_at);
        }
    }
    return soonest;
}

// Nothing is lost at the limit: the cache keeps what is not published, and retention makes room.
void PublishStage::bound_chains() {
    if (context_.options.chain_bytes_max == 0) {
        return;
    }
    std::uint64_t bytes = 0, segments = 0;
    for (const auto& [id, machine] : machines_) {
        if (machine.writer != nullptr) {
            bytes += Ledger::memory_bytes(machine.writer->ledger().state());
            segments += machine.writer->ledger().state().segments.size();
        }
    }
    const bool full = bytes >= context_.options.chain_bytes_max;
    for (auto& [id, machine] : machines_) {
        if (machine.writer != nullptr) {
            machine.writer->ledger().hold(full);
        }
    }
    const std::string subject = "recovery points in memory";
    if (full) {
        context_.conditions.raise(Errc::out_of_budget, subject,
                                  std::to_string(segments) + " segments are alive and take " +
                                      std::to_string(bytes / mib) +
                                      " MiB: raise pipeline.memory or shorten points.retention");
    } else {
        context_.conditions.clear(Errc::out_of_budget, subject);
    }
}

}  // namespace cw::upload
