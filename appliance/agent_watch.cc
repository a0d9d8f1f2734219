#include "appliance/agent_watch.h"

namespace cw::appliance {
namespace {

using ingest::AgentNotice;

constexpr Nanos never{INT64_MAX};

double seconds(std::int64_t ns) {
    return static_cast<double>(ns) / static_cast<double>(ns_per_s);
}

}  // namespace

void AgentWatch::heard(const AgentNotice& notice) {
    const std::lock_guard lock(mutex_);
    Agent& agent = agents_[notice.machine];
    if (notice.kind == AgentNotice::Kind::closed) {
        // A session that a newer one has replaced ends after that one began.
        if (agent.session == notice.session && agent.status.connected) {
            agent.status.connected = false;
            agent.changed = clock_.boot();
        }
        return;
    }
    if (!agent.status.connected || agent.session != notice.session) {
        Agent fresh;
        fresh.session = notice.session;
        fresh.status.connected = true;
        fresh.status.resyncs = std::move(agent.status.resyncs);  // A fence outlasts its session.
        fresh.compared = std::move(agent.compared);
        fresh.changed = clock_.boot();
        agent = std::move(fresh);
    }
    heard_of_disk(agent, notice);
    if (notice.kind == AgentNotice::Kind::connected) {
        agent.status.software = notice.software;
        agent.status.peer = notice.peer;
    } else if (notice.kind == AgentNotice::Kind::mode) {
        agent.status.mode = notice.mode;
        agent.status.backlog_bytes = notice.backlog_bytes;
        agent.status.reason = notice.reason;
        agent.status.unread.clear();
    } else if (notice.kind == AgentNotice::Kind::extents) {
        agent.status.unread[notice.disk] = {notice.unread_bytes, notice.unread_ranges};
    } else if (notice.kind == AgentNotice::Kind::goodbye) {
        agent.planned = notice.planned_failover;
    }
}

void AgentWatch::heard_of_disk(Agent& agent, const AgentNotice& notice) {
    if (notice.kind == AgentNotice::Kind::resync_required) {
        agent.status.required[notice.disk] = notice.reason;
        agent.compared.insert(notice.subject);
    } else if (notice.kind == AgentNotice::Kind::resync_begin) {
        agent.status.required.erase(notice.disk);
        agent.status.resyncs[notice.disk] = notice.reason;
        if (notice.resync == wire::ResyncKind::resync) {
            conditions_.raise(Errc::resync_required, notice.subject, notice.reason);
            agent.compared.insert(notice.subject);
        }
    } else if (notice.kind == AgentNotice::Kind::resync_end) {
        conditions_.clear(Errc::resync_required, notice.subject);
        agent.compared.erase(notice.subject);
    }
}

void AgentWatch::forget_resyncs(const MachineId& machine) {
    const auto found = agents_.find(machine);
    if (found != agents_.end()) {
        for (const std::string& subject : found->second.compared) {
            conditions_.clear(Errc::resync_required, subject);
        }
        found->second.compared.clear();
        found->second.status.required.clear();
    }
}

Nanos AgentWatch::silent_since(const MachineId& machine) const {
    const auto found = agents_.find(machine);
    if (found == agents_.end()) {
        return started_;
    }
    const Agent& agent = found->second;
    return agent.status.connected || agent.planned ? never : agent.changed;
}

void AgentWatch::watch(const std::vector<upload::MachineStatus>& machines, std::int64_t silent_ns) {
    const std::lock_guard lock(mutex_);
    const Nanos now = clock_.boot();
    for (const upload::MachineStatus& machine : machines) {
        const std::string who = machine.name.empty() ? to_string(machine.machine) : machine.name;
        const Nanos since = silent_since(machine.machine);
        // A machine of another server, or one that was given up, has its agent elsewhere.
        const bool ours = machine.mode != upload::MachineMode::fenced &&
                          machine.mode != upload::MachineMode::closed;
        if (!ours) {
            forget_resyncs(machine.machine);
        }
        if (ours && since != never && now - since >= silent_ns) {
            conditions_.raise(Errc::agent_silent, who,
                              "no agent for " + std::to_string((now - since) / ns_per_s) + " s");
        } else {
            conditions_.clear(Errc::agent_silent, who);
        }
    }
}

AgentStatus AgentWatch::agent_of(const MachineId& machine) const {
    const std::lock_guard lock(mutex_);
    const Nanos now = clock_.boot();
    const auto found = agents_.find(machine);
    AgentStatus status = found == agents_.end() ? AgentStatus{} : found->second.status;
    status.since_s = seconds(now - (found == agents_.end() ? started_ : found->second.changed));
    return status;
}

}  // namespace cw::appliance
