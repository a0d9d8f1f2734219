// The publisher's commands: opening machines, and what people and retention ask for.
#include "base/assert.h"
#include "base/log.h"
#include "egress/upload/disk_decision.h"
#include "egress/upload/pause.h"
#include "egress/upload/publish_stage.h"

#include <algorithm>

namespace cw::upload {
namespace {

std::string subject_of(const MachineId& id) {
    return "machine " + to_string(id);
}

// Both: the one that has the higher number may have it from a chain that was taken back, and has
// grown since beyond what the other one remembers.
Witnesses witnesses_of(const OpenCommand& command) {
    return {vault::ChainWitness{.number = command.open.witness_number,
                                .hash = command.open.witness_hash},
            command.server_witness};
}

const StreamWatermark* watermark_of(const OpenCommand& command, const pipeline::DiskHello& hello) {
    const auto at = std::ranges::find_if(command.streams, [&](const StreamWatermark& mark) {
        return mark.key.machine == command.open.machine && mark.key.disk == hello.disk &&
               mark.key.generation == hello.generation;
    });
    return at == command.streams.end() ? nullptr : &*at;
}

Generation newest_cached(const OpenCommand& command, const DiskId& disk) {
    Generation newest{};
    for (const StreamWatermark& mark : command.streams) {
        if (mark.key.machine == command.open.machine && mark.key.disk == disk) {
            newest = std::max(newest, mark.key.generation);
        }
    }
    return newest;
}

std::vector<DiskId> cached_disks(const OpenCommand& command) {
    std::vector<DiskId> out;
    for (const StreamWatermark& mark : command.streams) {
        if (mark.key.machine == command.open.machine) {
            out.push_back(mark.key.disk);
        }
    }
    return out;
}

// Of every point that the vault holds, oldest first.
std::vector<pipeline::PointStatus> statuses_of(const vault::ChainState& state) {
    std::vector<pipeline::PointStatus> out;
    out.reserve(state.points.size());
    for (const auto& [id, point] : state.points) {
        out.push_back({.id = id,
                       .state = pipeline::PointState::committed,
                       .manifest_number = point.manifest,
                       .reason = {}});
    }
    std::ranges::stable_sort(out, {}, &pipeline::PointStatus::manifest_number);
    return out;
}

// What a look at the machine answers where nothing is in its way.
bool could_be_opened(const Error& error) {
    return error.code == Errc::cancelled;
}

// Whether a later look, which writes nothing, would tell that it is over.
bool looking_tells(Errc code) {
    return code != Errc::fenced && code != Errc::vault_full && code != Errc::blob_immutable &&
           code != Errc::blob_leased && code != Errc::blob_conflict;
}

}  // namespace

void PublishStage::run(Command command) {
    std::visit([this](auto&& what) { handle(std::forward<decltype(what)>(what)); },
               std::move(command));
}

void PublishStage::handle(OpenCommand command) {
    const MachineId id = command.open.machine;
    Machine& machine = machines_[id];
    if (!command.open.name.empty()) {
        machine.name = command.open.name;
    }
    machine.reactor = command.open.reactor;
    if (machine.given_up) {
        refuse_given_up(machine, command);
        return;
    }
    if (machine.asked) {
        refuse(*machine.asked, {Errc::stale_session, "a newer session of the machine said HELLO"});
        machine.asked.reset();
    }
    if (machine.mode == MachineMode::active && !machine.closing) {
        machine.asked = std::move(command);
        if (ask_again(id, machine) || machine.writer->untold()) {
            return;  // Without the former: answered when the newest may be told.
        }
        answer(id, machine, *std::exchange(machine.asked, std::nullopt));
        machine.writer->look_ahead();
        return;
    }
    machine.asked = std::move(command);
    if (machine.mode == MachineMode::opening || machine.closing) {
        return;  // Asked as soon as that is over.
    }
    ask_opener(id, machine);
}

void PublishStage::handle(RecoverCommand command) {
    Machine& machine = machines_[command.machine];
    if (machine.mode == MachineMode::waiting) {
        machine.recover = std::move(command);
        machine.recover_at = context_.clock.boot();
    }
}

void PublishStage::handle(PruneCommand command) {
    const auto at = machines_.find(command.machine);
    if (at == machines_.end() || at->second.writer == nullptr) {
        log_warning("upload.prune.refused",
                    {{"machine", command.machine}, {"reason", "not open here"}});
        return;
    }
    at->second.writer->ledger().prune(std::move(command));
}

void PublishStage::handle(const FlushCommand& command) {
    const auto at = machines_.find(command.machine);
    if (at != machines_.end() && at->second.writer != nullptr) {
        at->second.writer->ledger().publish_now();
        reply(command.machine, FlushNow{});
    }
}

void PublishStage::handle(const CloseCommand& command) {
    const auto at = machines_.find(command.machine);
    if (at == machines_.end()) {
        return;
    }
    Machine& machine = at->second;
    machine.recover.reset();
    machine.look = false;
    if (machine.writer != nullptr && machine.mode == MachineMode::active) {
        machine.closing = true;
        machine.writer->stop();
    } else if (machine.mode == MachineMode::waiting) {
        machine.mode = MachineMode::closed;
        trouble(command.machine, std::nullopt);
    }
}

void PublishStage::handle(const DiscardQuarantineCommand& command) {
    Machine& machine = machines_[command.machine];
    if (machine.mode == MachineMode::active && !machine.damaged.empty()) {
        // What lies behind damage is not published without its agent, which may never come.
        machine.discarding = machine.closing = true;
        machine.writer->stop();
        return;
    }
    if (machine.mode == MachineMode::active || machine.mode == MachineMode::opening) {
        log_warning("upload.discard.refused",
                    {{"machine", command.machine}, {"mode", name_of(machine.mode)}});
        return;
    }
    machine.recover.reset();
    machine.look = false;
    trouble(command.machine, std::nullopt);
    if (machine.mode == MachineMode::waiting) {
        machine.mode = MachineMode::closed;
    }
    discard(command.machine, machine);
}

void PublishStage::discard(const MachineId& id, Machine& machine) {
    log_warning("upload.quarantine.discarded", {{"machine", id}});
    machine.damaged.clear();
    machine.given_up = false;
    trouble(id, std::nullopt);
    context_.conditions.clear(Errc::spool_lost_durable, subject_of(id));
    reply(id, MachineStopped{.discard = true});
}

void PublishStage::handle(const RotateDekCommand& command) {
    const auto at = machines_.find(command.machine);
    if (at != machines_.end() && at->second.writer != nullptr) {
        rotate_dek(command.machine, at->second);
    }
}

void PublishStage::ask_opener(const MachineId& id, Machine& machine) {
    OpenTask task;
    task.machine = id;
    if (machine.asked) {
        task.name = machine.asked->open.name;
        task.disks = machine.asked->open.disks;
        task.cached = cached_disks(*machine.asked);
        task.witnesses = witnesses_of(*machine.asked);
    } else if (machine.recover) {
        // What an agent that was refused remembers counts here, too.
        task.witnesses = {machine.compared.front(), machine.recover->server_witness};
        task.only_if_ours = true;
    } else {
        CW_ASSERT(machine.look);
        task.witnesses = machine.compared;
        task.only_look = true;
    }
    machine.recovering = task.only_if_ours || task.only_look;
    machine.compared = task.witnesses;
    CW_ASSERT(machine.writer == nullptr || machine.writer->idle());
    machine.writer.reset();  // Of a fenced opening.
    machine.mode = MachineMode::opening;
    context_.open_tasks.send(std::move(task));
}

// Another server has gone on, or the vault's history is not the one that it was; or what is
// remembered is older than the trail: then it costs an opening that changes nothing, once. What is
// not published yet and still continues the chain is published when it is open again. A machine
// that lies here does so at its own cost.
bool PublishStage::ask_again(const MachineId& id, Machine& machine) {
    const vault::ChainState& state = machine.writer->ledger().state();
    for (const vault::ChainWitness& witness : witnesses_of(*machine.asked)) {
        const bool compared =
            std::ranges::any_of(machine.compared, [&](const vault::ChainWitness& other) {
                return other.number == witness.number && other.hash == witness.hash;
            });
        if (witness.number == 0 || compared || state.trail.at(witness.number) == witness.hash) {
            continue;
        }
        log_warning("upload.machine.behind",
                    {{"machine", id}, {"witness", witness.number}, {"known", state.newest.number}});
        machine.closing = true;
        machine.writer->stop();
        return true;
    }
    return false;
}

void PublishStage::opened(OpenOutcome outcome) {
    const MachineId id = outcome.machine;
    Machine& machine = machines_.at(id);
    CW_ASSERT(machine.mode == MachineMode::opening && machine.writer == nullptr);
    if (!outcome.claim) {
        open_failed(id, machine, outcome.claim.error());
        return;
    }
    machine.mode = MachineMode::active;
    machine.opening = Opening{next_opening_++};
    machine.recover.reset();
    machine.look = false;
    machine.failures = 0;
    machine.damaged.clear();
    trouble(id, std::nullopt);
    const std::string& recorded = outcome.claim->state.newest.machine_name;
    machine.name = recorded.empty() ? machine.name : recorded;
    machine.writer =
        std::make_unique<ChainWriter>(ChainWriter::Context{.clock = context_.clock,
                                                           .random = context_.random,
                                                           .vault = context_.vault,
                                                           .signer = context_.signer,
                                                           .options = context_.options,
                                                           .host = *this,
                                                           .conditions = context_.conditions},
                                      std::move(*outcome.claim));
    // The chain knows what the process before this one committed, or another server, also of what
    // was dropped here; what made no manifest is known only here.
    const vault::ChainState& state = machine.writer->ledger().state();
    auto told = std::exchange(machine.told, {});
    std::erase_if(told, [&](const pipeline::PointStatus& status) {
        return status.state == pipeline::PointState::committed || state.points.contains(status.id);
    });
    remember(machine, statuses_of(state));
    remember(machine, {told.begin(), told.end()});
    MachineReady ready{.opening = machine.opening, .keys = segment_keys(machine), .disks = {}};
    for (const vault::DiskEntry& disk : machine.writer->ledger().state().newest.disks) {
        ready.disks[disk.disk] = {.generation = disk.generation,
                                  .committed = disk.committed,
                                  .fence = disk.open_fence,
                                  .base_done = disk.base_done};
    }
    reply(id, std::move(ready));
    // The HELLO may have come while the machine was being opened, for another one or for the sake
    // of the cache: then what it remembers has not been compared.
    if (machine.asked && !ask_again(id, machine)) {
        answer(id, machine, *std::exchange(machine.asked, std::nullopt));
    }
}

void PublishStage::open_failed(const MachineId& id, Machine& machine, const Error& error) {
    machine.mode = MachineMode::waiting;
    if (machine.recovering && machine.asked) {
        // A HELLO came meanwhile. It may take the machine over, which a recovery must not.
        ask_opener(id, machine);
        return;
    }
    if (machine.recovering && !machine.recover && (!machine.look || could_be_opened(error))) {
        machine.mode = machine.look ? MachineMode::waiting : MachineMode::closed;
        machine.look = false;
        trouble(id, std::nullopt);
        return;
    }
    log_warning("upload.machine.not_opened", {{"machine", id}, {"error", error}});
    if (machine.asked) {
        refuse(*machine.asked, error);
        // Its agent may go to another server now. What the cache has taken for an earlier opening
        // is looked after without it: published, or found to be another server's.
        if (raw(machine.opening) > 0 && !machine.recover) {
            machine.recover = RecoverCommand{id, machine.asked->server_witness};
        }
        machine.asked.reset();
    }
    trouble(id, error);
    const Action action = action_of(error.code);
    if (action == Action::fenced || action == Action::stop || action == Action::repair) {
        // Its records wait for a person or another server: the others must not wait with them.
        reply(id, MachineStopped{.discard = false});
    }
    machine.look = !machine.recover && looking_tells(error.code);
    if (!machine.recover && !machine.look) {
        return;
    }
    if (error.code == Errc::fenced) {
        machine.mode = MachineMode::fenced;
        machine.recover.reset();
        return;
    }
    machine.recover_at = context_.clock.boot() +
                         pause_ns(context_.options, machine.failures++, context_.random, error);
}

void PublishStage::refuse(const OpenCommand& command, Error error) {
    pipeline::MachineOpened refusal;
    refusal.machine = command.open.machine;
    refusal.session = command.open.session;
    refusal.reactor = command.open.reactor;
    refusal.token = command.open.token;
    refusal.refused = std::move(error);
    outgoing_.emplace_back(std::move(refusal));
}

// Its agent goes to another server, if it has one, which catches up from what is committed.
void PublishStage::refuse_given_up(const Machine& machine, const OpenCommand& command) {
    refuse(command, {Errc::fenced, "this server gave the machine up: " +
                                       (machine.trouble ? machine.trouble->detail : "")});
}

void PublishStage::answer(const MachineId& id, Machine& machine, const OpenCommand& command) {
    Ledger& ledger = machine.writer->ledger();
    const vault::Manifest& newest = ledger.state().newest;
    pipeline::MachineOpened reply_out;
    reply_out.machine = id;
    reply_out.session = command.open.session;
    reply_out.reactor = command.open.reactor;
    reply_out.token = command.open.token;
    reply_out.fingerprint_secret = machine.writer->keys().fingerprint_secret;
    reply_out.manifest_number = newest.number;
    reply_out.manifest_hash = ledger.state().hash;
    std::vector<pipeline::DiskHello> declared;
    ListedDisks listed(newest, cached_disks(command));
    for (const pipeline::DiskHello& hello : command.open.disks) {
        const auto entry = std::ranges::find(newest.disks, hello.disk, &vault::DiskEntry::disk);
        std::optional<Seq> damaged_after;
        if (const auto at = machine.damaged.find(hello.disk); at != machine.damaged.end()) {
            damaged_after = at->second.generation == hello.generation ? at->second.sound : Seq{};
        }
        const StreamWatermark* const cached = watermark_of(command, hello);
        pipeline::DiskWelcome welcome =
            decide_disk(hello, {.committed = entry == newest.disks.end() ? nullptr : &*entry,
                                .cached = cached,
                                .newest_cached = newest_cached(command, hello.disk),
                                .damaged_after = damaged_after,
                                .no_room = listed.no_room_for(hello.disk)});
        if (welcome.action != pipeline::DiskAction::reject) {
            listed.add(hello.disk);
            declared.push_back(hello);
            declared.back().generation = welcome.generation;
        }
        const bool repairs = damaged_after.has_value() || (cached != nullptr && cached->base_lost);
        if (welcome.action == pipeline::DiskAction::catch_up && repairs) {
            reply(id, RepairAllowed{.opening = machine.opening,
                                    .disk = hello.disk,
                                    .session = command.open.session});
        }
        log_info("upload.disk.welcome", {{"machine", id},
                                         {"disk", hello.disk},
                                         {"action", raw(welcome.action)},
                                         {"reason", welcome.reason}});
        reply_out.disks.push_back(std::move(welcome));
    }
    // All of them: the agent may know of the newest manifest from another server's WELCOME, which
    // told it of other points.
    reply_out.points.assign(machine.told.begin(), machine.told.end());
    if (std::ranges::none_of(reply_out.disks, &pipeline::DiskWelcome::superseded)) {
        ledger.declare(declared, command.open.name);
    }
    outgoing_.emplace_back(std::move(reply_out));
}

std::shared_ptr<const SegmentKeys> PublishStage::segment_keys(Machine& machine) const {
    const vault::MachineKeys& keys = machine.writer->keys();
    // The newest that a committed manifest carries, not the newest made.
    const vault::ChainState& state = machine.writer->ledger().state();
    CW_ASSERT(!state.deks.empty());
    const vault::Dek& newest = keys.deks.at(state.deks.rbegin()->first);
    auto dek = std::make_shared<vault::Dek>();
    dek->version = newest.version;
    dek->key = newest.key.clone();
    auto out = std::make_shared<SegmentKeys>();
    out->machine = keys.machine;
    out->epoch = state.newest.epoch;
    out->dek = std::move(dek);
    out->fingerprint_secret = keys.fingerprint_secret;
    return out;
}

}  // namespace cw::upload
