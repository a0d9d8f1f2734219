#include "appliance/admission.h"

#include "base/log.h"
#include "ingest/wire/mode_text.h"
#include "pipeline/generation.h"

#include <algorithm>

namespace cw::appliance {
namespace {

std::string_view kind_text(ingest::AgentNotice::Kind kind) {
    switch (kind) {
        case ingest::AgentNotice::Kind::connected:
            return "agent.connected";
        case ingest::AgentNotice::Kind::mode:
            return "agent.mode";
        case ingest::AgentNotice::Kind::extents:
            return "agent.extents";
        case ingest::AgentNotice::Kind::resync_required:
            return "agent.resync_required";
        case ingest::AgentNotice::Kind::resync_begin:
            return "agent.resync_begin";
        case ingest::AgentNotice::Kind::resync_end:
            return "agent.resync_end";
        case ingest::AgentNotice::Kind::goodbye:
            return "agent.goodbye";
        case ingest::AgentNotice::Kind::closed:
            return "agent.closed";
    }
    return "agent.notice";
}

upload::StreamWatermark watermark_of(const cache::StreamState& state) {
    return {.key = state.key,
            .durable = state.durable,
            .fence = state.fence,
            .base_ordinals = state.base_ordinals,
            .base_lost = state.base_lost};
}

}  // namespace

pipeline::Progress Admission::step(std::size_t budget) {
    bool worked = false;
    for (std::size_t i = 0; i < budget; ++i) {
        // Decisions first: they free what HELLOs wait for.
        bool moved = take_decision() | take_streams();
        for (std::size_t reactor = 0; reactor < ports_.reactors.size(); ++reactor) {
            moved |= take_hello(reactor) | take_digests(reactor) | take_notice(reactor);
        }
        if (!moved) {
            break;
        }
        worked = true;
    }
    return worked ? pipeline::Progress::worked : pipeline::Progress::starved;
}

bool Admission::command_spool(cache::SpoolCommand command) {
    if (!ports_.spool_commands->try_push(command)) {
        return false;
    }
    ports_.wake_spool();
    return true;
}

// Sessions are numbered in the order in which they fenced each other, around the end of 32 bits. A
// HELLO that comes late by another reactor's ring must not fence its successor in the cache.
bool Admission::is_newest(const pipeline::OpenMachine& open) {
    const auto [newest, fresh] = newest_.try_emplace(open.machine, open.session);
    if (!fresh && static_cast<std::int32_t>(raw(open.session) - raw(newest->second)) < 0) {
        return false;
    }
    newest->second = open.session;
    return true;
}

bool Admission::take_hello(std::size_t reactor) {
    pipeline::OpenMachine open;
    // One place for OpenStreams, or the HELLO stays where it is.
    if (ports_.spool_commands->full() || !ports_.reactors[reactor].opens->try_pop(open)) {
        return false;
    }
    if (!is_newest(open)) {
        return true;
    }
    const bool sent = command_spool(cache::OpenStreams{.machine = open.machine,
                                                       .session = open.session,
                                                       .reactor = open.reactor,
                                                       .token = open.token});
    CW_ASSERT(sent);  // This stage is the only producer.
    waiting_.insert_or_assign(open.machine, std::move(open));
    return true;
}

bool Admission::take_streams() {
    cache::StreamsOpened answer;
    if (!ports_.streams_opened->try_pop(answer)) {
        return false;
    }
    const auto found = waiting_.find(answer.machine);
    if (found == waiting_.end() || found->second.session != answer.session) {
        return true;  // A newer HELLO of this machine has its own answer coming.
    }
    forget_histories(found->second, answer.streams);
    upload::OpenCommand command{.open = std::move(found->second),
                                .streams = {},
                                .server_witness = ports_.witness(answer.machine)};
    waiting_.erase(found);
    for (const cache::StreamState& state : answer.streams) {
        command.streams.push_back(watermark_of(state));
    }
    known_.insert_or_assign(answer.machine,
                            Known{.session = answer.session, .streams = std::move(answer.streams)});
    ports_.open_machine(std::move(command));
    return true;
}

// A disk without a history is given a new one and compared: what an order for a resync asks for.
// Only where this server has seen the agent's own history: the new one must be beyond it.
void Admission::forget_histories(pipeline::OpenMachine& open,
                                 const std::vector<cache::StreamState>& streams) {
    for (pipeline::DiskHello& disk : open.disks) {
        const bool known = std::ranges::any_of(streams, [&](const cache::StreamState& state) {
            return state.key.disk == disk.disk && state.key.generation >= disk.generation;
        });
        if (!known || !pipeline::names_history(disk.generation) || !ports_.resync_due) {
            continue;
        }
        if (auto why = ports_.resync_due(open.machine, disk.disk)) {
            disk.generation = pipeline::without_history(disk.generation);
            forgotten_[{open.machine, disk.disk}] = std::move(*why);
        }
    }
}

void Admission::explain_resyncs(pipeline::MachineOpened& decision) {
    for (pipeline::DiskWelcome& disk : decision.disks) {
        const auto found = forgotten_.find({decision.machine, disk.disk});
        if (found == forgotten_.end()) {
            continue;
        }
        const std::string why = std::move(found->second);
        forgotten_.erase(found);
        if (!decision.refused && disk.action == pipeline::DiskAction::resync) {
            disk.reason = why;
            ports_.resync_begun(decision.machine, disk.disk);
        }
    }
}

bool Admission::take_decision() {
    // Up to two commands for the spool, and a place in any reactor's ring, or it stays.
    constexpr std::size_t commands_needed = 2;
    const auto& commands = *ports_.spool_commands;
    const bool blocked = commands.capacity() - commands.size() < commands_needed ||
                         std::any_of(
                             ports_.reactors.begin(), ports_.reactors.end(),
                             [](const ReactorControl& reactor) { return reactor.opened->full(); });
    pipeline::MachineOpened decision;
    if (blocked || !ports_.engine_opened->try_pop(decision)) {
        return false;
    }
    explain_resyncs(decision);
    // A state that is superseded leaves the histories as they are: it has no say in them.
    const bool refused =
        decision.refused || std::ranges::any_of(decision.disks, &pipeline::DiskWelcome::superseded);
    cache::SettleStreams settle;
    cache::ForgetStreams forget;
    // An older session is refused while a newer one of the machine waits for its own decision.
    std::vector<cache::StreamState> known;
    if (const auto at = known_.find(decision.machine);
        at != known_.end() && at->second.session == decision.session) {
        known = std::move(at->second.streams);
        known_.erase(at);
    }
    for (const pipeline::DiskWelcome& disk : decision.disks) {
        if (disk.action == pipeline::DiskAction::reject) {
            continue;  // Nothing of it is taken, and what the cache holds of it stays.
        }
        cache::SettleStreams::Entry entry{.key = {decision.machine, disk.disk, disk.generation},
                                          .committed = disk.committed,
                                          .open_fence = disk.resync_open ? disk.fence : Seq{}};
        for (const cache::StreamState& state : known) {
            if (state.key.disk != disk.disk) {
                continue;
            }
            if (state.key.generation != disk.generation) {
                forget.keys.push_back(state.key);
            } else if (disk.action == pipeline::DiskAction::catch_up) {
                entry.sent_again_after = disk.durable;
            }
        }
        settle.streams.push_back(std::move(entry));
    }
    if (!refused) {
        CW_ASSERT(command_spool(std::move(settle)));
        if (!forget.keys.empty()) {
            CW_ASSERT(command_spool(std::move(forget)));
        }
    }
    CW_ASSERT(decision.reactor < ports_.reactors.size());
    const ReactorControl& reactor = ports_.reactors[decision.reactor];
    CW_ASSERT(reactor.opened->try_push(decision));
    reactor.wake();
    return true;
}

bool Admission::take_digests(std::size_t reactor) {
    ingest::DigestRequest request;
    if (!ports_.reactors[reactor].digests->try_pop(request)) {
        return false;
    }
    ports_.ask_digests(request);
    return true;
}

bool Admission::take_notice(std::size_t reactor) {
    ingest::AgentNotice notice;
    if (ports_.spool_commands->full() || !ports_.reactors[reactor].notices->try_pop(notice)) {
        return false;
    }
    const bool list = notice.kind == ingest::AgentNotice::Kind::extents;  // Comes again and again.
    const bool says_mode = notice.kind == ingest::AgentNotice::Kind::mode;
    log(list ? LogLevel::debug : LogLevel::info, kind_text(notice.kind),
        {{"machine", notice.machine},
         {"session", notice.session},
         {"peer", notice.peer},
         {"software", notice.software},
         {"mode", says_mode ? name_of(notice.mode) : std::string_view{}},
         {"backlog_bytes", notice.backlog_bytes},
         {"unread_bytes", notice.unread_bytes},
         {"planned", notice.planned_failover},
         {"reason", notice.reason}});
    if (ports_.heard) {
        ports_.heard(notice);
    }
    if (notice.kind == ingest::AgentNotice::Kind::closed) {
        CW_ASSERT(command_spool(
            cache::CloseStreams{.machine = notice.machine, .session = notice.session}));
    }
    return true;
}

}  // namespace cw::appliance
