// HELLO, OpenMachine, MachineOpened, WELCOME: how a session comes to life.
#include "base/assert.h"
#include "base/log.h"
#include "ingest/session.h"
#include "pipeline/point.h"

#include <algorithm>
#include <utility>

namespace cw::ingest {
namespace {

static_assert(wire::disks_max == pipeline::disks_per_machine_max);

pipeline::DiskHello to_pipeline(const wire::Hello::Disk& disk) {
    return {.disk = disk.id,
            .size_bytes = disk.size_bytes,
            .generation = disk.generation,
            .next_seq = disk.next_seq,
            .oldest_held = disk.oldest_held,
            .catch_up_possible = disk.catch_up_possible,
            .name = disk.name};
}

wire::Welcome::Disk to_wire(const pipeline::DiskWelcome& disk) {
    return {.action = static_cast<wire::DiskAction>(raw(disk.action)),
            .generation = disk.generation,
            .durable = disk.durable,
            .committed = disk.committed,
            .resync_open = disk.resync_open,
            .fence = disk.resync_open ? disk.fence : Seq{},  // Means nothing otherwise.
            .base_durable = disk.resync_open ? disk.base_durable : ByteVector{},
            .reason = disk.reason.substr(0, wire::reason_bytes_max)};
}

// The control must answer for every disk asked about, in the same order.
bool answers(const std::vector<pipeline::DiskHello>& asked,
             const std::vector<pipeline::DiskWelcome>& answered) {
    return std::ranges::equal(asked, answered, {}, &pipeline::DiskHello::disk,
                              &pipeline::DiskWelcome::disk);
}

}  // namespace

void Session::on_hello(Bytes payload) {
    const Result<wire::Hello> hello = wire::decode<wire::Hello>(payload);
    if (!hello) {
        close_with(hello.error());
        return;
    }
    if (Result<void> accepted = accept_hello(*hello); !accepted) {
        const bool busy = action_of(accepted.error().code) == Action::throttle;
        close_with(std::move(accepted).error(), busy ? context_.limits.retry_after_s : 0);
    }
}

Result<void> Session::accept_hello(const wire::Hello& hello) {
    if (hello.version_min > wire::protocol_version) {
        return fail(Errc::version_unsupported,
                    "version " + std::to_string(hello.version_min) + " is newer than this server");
    }
    if ((hello.features & wire::critical_features) != 0) {
        return fail(Errc::version_unsupported, "a critical feature is not known here");
    }
    if (raw(hello.joins) != 0) {
        return fail(Errc::server_busy, "no bulk connections were granted");
    }
    if (context_.authorise) {
        CW_TRY(context_.authorise(identity_, hello));
    }
    CW_TRY_ASSIGN(admission_, context_.table.admit(machine_, hello.boot_counter));
    takes_policy_ = (hello.features & wire::feature_policy) != 0;
    pipeline::OpenMachine open;
    open.machine = machine_;
    open.session = admission_.session;
    open.reactor = context_.reactor;
    open.token = token_;
    open.name = machine_name_ = hello.machine_name;
    open.witness_number = hello.witness_number;
    open.witness_hash = hello.witness_hash;
    std::ranges::transform(hello.disks, std::back_inserter(open.disks), to_pipeline);
    hello_disks_ = open.disks;
    outbox_.open = std::move(open);
    note({.kind = AgentNotice::Kind::connected,
          .machine = machine_,
          .session = id(),
          .software = hello.software,
          .peer = peer_});
    state_ = State::opening;
    since_ = context_.clock.boot();
    return {};
}

void Session::on_opened(pipeline::MachineOpened&& opened) {
    if (state_ != State::opening || opened.session != admission_.session) {
        return;  // The answer to a question that is no longer asked.
    }
    if (fenced()) {
        return;
    }
    if (opened.refused) {
        const bool busy = action_of(opened.refused->code) == Action::throttle;
        close_with(std::move(*opened.refused), busy ? context_.limits.retry_after_s : 0);
        return;
    }
    CW_ASSERT(opened.machine == machine_ && answers(hello_disks_, opened.disks));
    const auto superseded = std::ranges::find_if(opened.disks, &pipeline::DiskWelcome::superseded);
    if (superseded != opened.disks.end()) {
        Error error{Errc::state_superseded, "disk " + to_string(superseded->disk) + ": " +
                                                superseded->reason + "; it came from " + peer_};
        context_.table.refused_state(machine_, error.detail);
        close_with(std::move(error));
        return;
    }
    welcome(opened);
}

// A quarantined stream stays so for every session, until the disk begins a new generation.
void Session::reject_quarantined(pipeline::MachineOpened& opened) {
    admission_.memory->begin(opened.disks);
    for (pipeline::DiskWelcome& disk : opened.disks) {
        const auto why = admission_.memory->quarantined(disk.disk, disk.generation);
        if (why) {
            disk.action = pipeline::DiskAction::reject;
            disk.reason = std::string(name_of(Errc::seq_conflict)) + ": " + *why;
        } else if (disk.action != pipeline::DiskAction::reject) {
            context_.table.end_quarantine(machine_, disk.disk);
        }
    }
}

void Session::welcome(pipeline::MachineOpened& opened) {
    context_.table.took_state(machine_);
    reject_quarantined(opened);
    for (std::size_t i = 0; i < opened.disks.size(); ++i) {
        streams_.emplace_back(hello_disks_[i], opened.disks[i]);
    }
    bytes_total_ = &context_.metrics.counter("causeway_ingest_bytes_total",
                                             {{"machine", to_string(machine_)}});
    manifest_number_ = opened.manifest_number;
    manifest_hash_ = opened.manifest_hash;
    (void)credit_.grow();  // 0 when the cache is full: CREDIT follows when there is room.
    wire::Welcome message;
    message.session = admission_.session;
    message.credit_bytes = credit_.granted();
    message.fingerprint_secret = fingerprint_secret_ = opened.fingerprint_secret;
    message.features = wire::feature_summaries | wire::feature_own_sequences |
                       (context_.keeps_resync_orders ? wire::feature_resync_orders : 0);
    message.manifest_number = opened.manifest_number;
    message.manifest_hash = opened.manifest_hash;
    std::ranges::transform(opened.disks, std::back_inserter(message.disks), to_wire);
    wire::fit_to_frame(message);
    send(wire::FrameType::welcome, wire::encode(message));
    state_ = State::live;
    since_ = context_.clock.boot();
    log_info("ingest.session.open", {{"machine", machine_},
                                     {"session", id()},
                                     {"peer", peer_},
                                     {"disks", streams_.size()},
                                     {"credit", credit_.granted()}});
    say(opened.points);
    for (const pipeline::Committed& notice : std::exchange(early_, {})) {
        on_committed(notice);
    }
    tell_policy();  // After the statuses: PROTOCOL.md, section 8.
}

// At first, and whenever it has become another one.
void Session::tell_policy() {
    const PolicyTable* const table = context_.policies;
    if (!takes_policy_ || table == nullptr || table->version() == policies_seen_) {
        return;
    }
    policies_seen_ = table->version();  // Before the look: what changes meanwhile is seen later.
    const wire::Policy policy = table->of(machine_);
    if (policy != policy_told_) {
        policy_told_ = policy;
        send(wire::FrameType::policy, wire::encode(policy));
    }
}

}  // namespace cw::ingest
