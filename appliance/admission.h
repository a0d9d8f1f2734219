// Admission: what happens between a machine's HELLO and its WELCOME, and the small talk beside.
//
//   reactor: OpenMachine → spool: OpenStreams → StreamsOpened → engine: OpenCommand
//   → MachineOpened → spool: SettleStreams → reactor: MachineOpened
//
// One stage, so that the cache's command ring has one producer. It reads snapshots and posts
// commands; nothing of the data plane passes here.
// Thread-safety: step() on its Runner; engine_opened() by the publisher's thread only.
#pragma once

#include "cache/spool_stage.h"
#include "egress/upload/engine.h"
#include "ingest/ports.h"
#include "pipeline/stage.h"

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace cw::appliance {

// One reactor's rings of the control path; all outlive the stage.
struct ReactorControl {
    pipeline::Ring<pipeline::OpenMachine>* opens;     // From the reactor.
    pipeline::Ring<ingest::DigestRequest>* digests;   // From the reactor.
    pipeline::Ring<ingest::AgentNotice>* notices;     // From the reactor.
    pipeline::Ring<pipeline::MachineOpened>* opened;  // To the reactor.
    std::function<void()> wake;                       // Its doorbell.
};

struct AdmissionPorts {
    std::vector<ReactorControl> reactors;
    pipeline::Ring<cache::SpoolCommand>* spool_commands;
    pipeline::Ring<cache::StreamsOpened>* streams_opened;    // From the spool's thread.
    pipeline::Ring<pipeline::MachineOpened>* engine_opened;  // From the publisher's thread.
    std::function<void()> wake_spool;
    std::function<void(upload::OpenCommand)> open_machine;
    std::function<vault::ChainWitness(const MachineId&)> witness;
    std::function<void(const ingest::DigestRequest&)> ask_digests;
    std::function<void(const ingest::AgentNotice&)> heard = {};  // Null: nobody listens.
    // The disk is to be compared again, and why; and the agent is told so. Null: nobody can.
    std::function<std::optional<std::string>(const MachineId&, const DiskId&)> resync_due = {};
    std::function<void(const MachineId&, const DiskId&)> resync_begun = {};
};

class Admission final : public pipeline::Stage {
public:
    explicit Admission(AdmissionPorts ports) : ports_(std::move(ports)) {}

    pipeline::Progress step(std::size_t budget) override;
    [[nodiscard]] std::string_view name() const noexcept override { return "admission"; }

private:
    bool take_hello(std::size_t reactor);
    bool take_streams();
    bool take_decision();
    bool take_digests(std::size_t reactor);
    bool take_notice(std::size_t reactor);
    bool command_spool(cache::SpoolCommand command);
    bool is_newest(const pipeline::OpenMachine& open);
    void forget_histories(pipeline::OpenMachine& open,
                          const std::vector<cache::StreamState>& streams);
    void explain_resyncs(pipeline::MachineOpened& decision);

    AdmissionPorts ports_;
    // HELLOs waiting for the spool's answer, by machine: a newer one replaces an older one.
    std::map<MachineId, pipeline::OpenMachine> waiting_;
    // The newest session that said HELLO: reactors are heard in any order.
    std::map<MachineId, SessionId> newest_;
    // What the spool knew, until the engine has decided; to forget generations that are over.
    struct Known {
        SessionId session{};
        std::vector<cache::StreamState> streams;
    };
    std::map<MachineId, Known> known_;
    // Disks whose history was kept from the engine, until it has decided, and why.
    std::map<std::pair<MachineId, DiskId>, std::string> forgotten_;
};

}  // namespace cw::appliance
