// AgentWatch: which machines have an agent that is heard, and what it says of itself. A protected
// machine without one is AGENT_SILENT after a while: nothing else shows it, because its points grow
// old no faster than those of a machine that has nothing to write.
//
// Thread-safety: all of it, from any thread.
#pragma once

#include "base/clock.h"
#include "base/conditions.h"
#include "egress/upload/status.h"
#include "ingest/ports.h"
#include "ingest/wire/mode_text.h"

#include <map>
#include <mutex>
#include <set>
#include <string>
#include <vector>

namespace cw::appliance {

struct AgentStatus {
    bool connected = false;
    double since_s = 0;  // In this state; never heard: since the server's start.
    std::string software, peer;
    wire::ReplicationMode mode = wire::ReplicationMode::data;
    std::uint64_t backlog_bytes = 0;  // In another mode than data: what it owes. As it last said.
    std::string reason;               // For that mode; people's words: data.
    // In METADATA: what changed of a disk and has not been read again; at most this, because long
    // lists are told shorter than they are.
    struct Unread {
        std::uint64_t bytes = 0;
        std::uint32_t ranges = 0;
    };
    std::map<DiskId, Unread> unread = {};
    // Why disks must be compared before they can be protected again, and why they are compared now
    // or were last.
    std::map<DiskId, std::string> required = {}, resyncs = {};
};

class AgentWatch {
public:
    AgentWatch(Clock& clock, Conditions& conditions)
        : clock_(clock), conditions_(conditions), started_(clock.boot()) {}

    void heard(const ingest::AgentNotice& notice);
    // Raises and clears AGENT_SILENT. About once a second, with every machine of the server.
    void watch(const std::vector<upload::MachineStatus>& machines, std::int64_t silent_ns);
    [[nodiscard]] AgentStatus agent_of(const MachineId& machine) const;

private:
    struct Agent {
        SessionId session{};
        AgentStatus status;
        std::set<std::string> compared;  // Subjects of conditions that stand for its disks.
        bool planned = false;  // It said that the machine moves: its silence is what was wanted.
        Nanos changed{};
    };
    void forget_resyncs(const MachineId& machine);
    void heard_of_disk(Agent& agent, const ingest::AgentNotice& notice);
    Nanos silent_since(const MachineId& machine) const;  // Locked. INT64_MAX: not silent.

    Clock& clock_;
    Conditions& conditions_;
    const Nanos started_;
    mutable std::mutex mutex_;
    std::map<MachineId, Agent> agents_;
};

}  // namespace cw::appliance
