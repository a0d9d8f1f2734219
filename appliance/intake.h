// Intake: what every server is up to the end of the cache: the door, the durable log, admission.
//
//   reactors ─records→ spool ─stored→ Terminal
//      ↑ spooled ────────┘                │
//      └ opened, committed ← admission ←──┘
//
// Threads of what consumes start before those of what produces; stopping is the reverse.
// Thread-safety: opening, start(), close_*() and stop() belong to the main thread; what a terminal
// uses says which thread may.
#pragma once

#include "appliance/admission.h"
#include "appliance/agent_watch.h"
#include "appliance/engine_link.h"
#include "appliance/reactor_rings.h"
#include "appliance/reader_pump.h"
#include "appliance/server_context.h"
#include "appliance/standing_trouble.h"
#include "appliance/terminal.h"
#include "ingest/credit.h"
#include "ingest/listener.h"
#include "ingest/quarantine_file.h"

#include <memory>
#include <set>
#include <vector>

namespace cw::appliance {

// TLS state, read-ahead and output buffers of one connection, in or out.
inline constexpr std::uint64_t connection_bytes = 96 * kib;

class Intake {
public:
    // The door's and the cache's part of what plans memory.
    static pipeline::BudgetNeeds memory_needs(const config::Settings& settings);

    Intake(const config::Settings& settings, ServerContext context);
    ~Intake();  // stop()s. The terminal's threads have ended by then.

    // Makes the pools `ingest` and `readback`, opens the cache and recovers it. Errors: io_error,
    // out_of_memory, those of Spool::open().
    Result<void> open_cache(const pipeline::SlabSplit& slabs);
    // Connects everything and opens the port. Errors: unreachable, tls_failed, and as
    // ingest::Listener::create(). `terminal` is connected and outlives the threads.
    Result<void> open_door(Terminal& terminal);
    void start();
    // Nothing more is accepted, what arrived is acknowledged. False: not within `limit`.
    bool close_door(const DrainLimit& limit);
    // The last syncs and the checkpoint; the door is closed and the terminal drained. False: the
    // next start scans the cache.
    bool close_cache();
    // Keeps what is refused over a restart. The main thread, about once a second.
    void store_quarantines();
    void stop();  // Joins every thread. Idempotent.

    // --- For the terminal ---
    [[nodiscard]] pipeline::SlabPool& ingest_slabs() noexcept { return *ingest_slabs_; }
    [[nodiscard]] pipeline::SlabPool& readback_slabs() noexcept { return *readback_slabs_; }
    [[nodiscard]] ReaderPump& reader() noexcept { return *reader_; }  // The terminal's thread.
    [[nodiscard]] EngineLink& sink() noexcept { return link_; }
    // Of one thread. False: no room now; `reply` is untouched then.
    bool send_digests(std::uint32_t reactor, ingest::DigestReply& reply);
    // The machine says HELLO again. Any thread.
    void end_session(const MachineId& machine) { listener_->sessions().end_session(machine); }
    // The machine is another server's now: so is what stands of its agents. Any thread.
    void let_go(const MachineId& machine) {
        listener_->sessions().end_session(machine);
        listener_->sessions().took_state(machine);
    }
    // Two agents no longer share the machine's identity: an operator says so. Any thread.
    void forgive(const MachineId& machine) { listener_->sessions().forgive(machine); }
    // What was lost here of the machine is not waited for any more, nor for what its agent holds in
    // order: it says HELLO again, if there is one. Any thread.
    void forget(const MachineId& machine) {
        spool_stage_->forget_machine(machine);
        spool_runner_.doorbell().ring();
        end_session(machine);
    }
    // Machines the cache held something of at the start, or had lost.
    [[nodiscard]] const std::set<MachineId>& recovered() const noexcept { return recovered_; }
    // Ends in-flight reads of the cache: the kernel must not write into memory that is given back.
    // After the terminal's threads ended.
    void settle_reads();

    // --- For the server ---
    [[nodiscard]] ingest::Listener& listener() const noexcept { return *listener_; }
    [[nodiscard]] cache::SpoolUsage usage() const { return spool_stage_->usage(); }  // Any thread.
    [[nodiscard]] bool cache_failed() const { return spool_stage_->failed(); }
    [[nodiscard]] std::size_t records_queued() const;  // Between the reactors and the cache.
    [[nodiscard]] std::vector<StageThread> threads() const;
    [[nodiscard]] AgentWatch& agents() noexcept { return agents_; }
    [[nodiscard]] const AgentWatch& agents() const noexcept { return agents_; }

private:
    ingest::ReactorPorts connect_reactor(std::size_t index, cache::SpoolStagePorts& spool,
                                         AdmissionPorts& admission);
    void connect_spool(Terminal& terminal, cache::SpoolStagePorts& spool);
    void connect_admission(Terminal& terminal, AdmissionPorts& admission);
    Result<void> open_listener(Terminal& terminal, std::vector<ingest::ReactorPorts> doors);
    void ring_reactor(std::size_t index) { listener_->reactor(index).doorbell().ring(); }

    const config::Settings settings_;  // As of the start.
    ServerContext context_;
    std::unique_ptr<pipeline::SlabPool> ingest_slabs_, readback_slabs_;
    std::unique_ptr<Disk> spool_disk_, reader_disk_;
    std::unique_ptr<cache::Spool> spool_;
    std::unique_ptr<cache::SpoolReader> spool_reader_;
    std::set<MachineId> recovered_;

    std::vector<std::unique_ptr<ReactorRings>> rings_;
    pipeline::Ring<cache::SpoolCommand> spool_commands_{1024};
    pipeline::Ring<cache::StreamsOpened> streams_opened_{1024};
    pipeline::Ring<pipeline::MachineOpened> machines_opened_{1024};
    pipeline::Ring<pipeline::Release> releases_{4096};
    AgentWatch agents_;
    ingest::SharedCredit credit_;
    std::unique_ptr<ReaderPump> reader_;
    // Runners and their doorbells exist before what rings them; threads start last.
    pipeline::Runner spool_runner_, admission_runner_;
    EngineLink link_;
    std::unique_ptr<cache::SpoolStage> spool_stage_;
    std::unique_ptr<Admission> admission_;
    std::unique_ptr<ingest::Listener> listener_;
    ingest::QuarantineFile quarantine_;
    StandingTrouble quarantine_trouble_;
};

}  // namespace cw::appliance
