// Terminal: what a role plugs in behind the cache. Durable records end there: as objects in a vault
// (ProcessServer) or as a disk of this site (MasterTarget). Everything before it is Intake's.
//
// A Server calls plan(), connect(), start(), in this order, and drain(), stop() at the end, all on
// the main thread. Any of the first three may fail: stop() comes all the same.
#pragma once

#include "appliance/drain_limit.h"
#include "appliance/status_json.h"
#include "config/settings.h"
#include "egress/upload/ports.h"
#include "ingest/options.h"
#include "ingest/ports.h"
#include "pipeline/budget.h"
#include "pipeline/ring.h"

#include <memory>
#include <string>
#include <vector>

namespace cw::appliance {

class Intake;
struct ServerContext;

// One thread (or several of one kind), for metrics and the watchdog.
struct StageThread {
    std::string stage;
    double cpu_seconds = 0;
    Nanos last_round{};            // 0: not watched.
    std::int64_t patience_ns = 0;  // How much longer than others it may take for a round.
};

class Terminal {
public:
    virtual ~Terminal() = default;
    [[nodiscard]] virtual Role role() const noexcept = 0;

    // Opens what must be there before anything is promised, and shares out the memory. `needs` is
    // Intake's part. Errors: config_invalid, and the role's own.
    virtual Result<pipeline::MemoryPlan> plan(pipeline::BudgetNeeds needs) = 0;
    // Makes the stages, between the cache that is open and the door that is not. `intake` outlives
    // the terminal.
    virtual Result<void> connect(Intake& intake, const pipeline::MemoryPlan& plan) = 0;
    virtual void start() = 0;
    // What is in flight ends, or stays in the cache. False: not within `limit`.
    virtual bool drain(const DrainLimit& limit) = 0;
    virtual void stop() = 0;  // Joins every thread. Idempotent.

    // --- What intake asks, on its threads ---
    // In: the spool's thread pushes, in append order, and calls wake().
    virtual pipeline::Ring<pipeline::StoredRecord>& stored() = 0;
    virtual void wake() = 0;
    // The rest of HELLO; answered through Intake::sink(). Admission's thread, as the next two.
    virtual void open_machine(upload::OpenCommand command) = 0;
    virtual vault::ChainWitness witness(const MachineId& /*machine*/) { return {}; }
    virtual void ask_digests(const ingest::DigestRequest& request) = 0;
    // As in AdmissionPorts. Admission's thread.
    virtual std::optional<std::string> resync_due(const MachineId& /*machine*/,
                                                  const DiskId& /*disk*/) {
        return std::nullopt;
    }
    virtual void resync_begun(const MachineId& /*machine*/, const DiskId& /*disk*/) {}
    // Whether it hears of disks that must be compared, and orders that.
    [[nodiscard]] virtual bool keeps_resync_orders() const noexcept { return false; }
    virtual void require_resync(const ingest::AgentNotice& /*notice*/) {}
    // As ingest::Authorise. Reactors' threads.
    virtual Result<void> authorise(const Identity& /*identity*/, const wire::Hello& /*hello*/) {
        return {};
    }

    // --- Running ---
    virtual void fill_status(DaemonStatus& status) const = 0;  // Any thread.
    virtual void apply(const config::Settings& /*settings*/) {}
    // Commands of the role, POST /v1/NAME: the answer's JSON. Any thread. Errors: not_found (no
    // such command), usage, the command's own.
    virtual Result<std::string> post(const std::string& name, const std::string& /*body*/) {
        return fail(Errc::not_found, "no such command: " + name);
    }
    virtual void tick() = 0;  // Once a second: the role's own metrics and chores.
    [[nodiscard]] virtual std::vector<StageThread> threads() const = 0;
};

// `settings` and `context` as Server::start()'s.
std::unique_ptr<Terminal> make_process_server(const config::Settings& settings,
                                              ServerContext context);
std::unique_ptr<Terminal> make_master_target(const config::Settings& settings,
                                             ServerContext context);

}  // namespace cw::appliance
