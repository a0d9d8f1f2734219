// PublishStage: the owner of every machine's chain. Takes commands, opens machines, lets each
// machine's ChainWriter publish, and tells ingest and agents what is committed.
// Thread-safety: none, but for post() through the engine's CommandBox; one thread.
#pragma once

#include "base/conditions.h"
#include "base/metrics.h"
#include "egress/upload/chain_writer.h"
#include "egress/upload/channel.h"
#include "egress/upload/engine.h"
#include "egress/upload/status_board.h"

#include <deque>
#include <map>
#include <memory>
#include <mutex>

namespace cw::upload {

// Commands from any thread; the lock is held for a push or a swap.
class CommandBox {
public:
    void post(Command command);
    std::vector<Command> take_all();

private:
    std::mutex mutex_;
    std::vector<Command> waiting_;  // Taken at every step: an empty deque would cost memory.
};

class PublishStage final : public BlobStage, private WriterHost {
public:
    struct Context {
        Clock& clock;
        Random& random;
        std::unique_ptr<blob::BlobStore> store;
        const vault::VaultIdentity& vault;
        const vault::ServerSigner& signer;
        const EngineOptions& options;
        EngineSink& sink;
        Conditions& conditions;
        MetricRegistry& metrics;
        CommandBox& commands;
        Channel<AssemblyEvent>& events;
        Channel<PublishEvent>& replies;
        Channel<OpenTask>& open_tasks;
        Channel<OpenOutcome>& open_outcomes;
        StatusBoard& board;
    };
    explicit PublishStage(Context context);
    ~PublishStage() override;

    pipeline::Progress step(std::size_t budget) override;
    [[nodiscard]] Nanos next_deadline() const override;
    [[nodiscard]] std::string_view name() const noexcept override { return "publish"; }
    [[nodiscard]] blob::BlobStore& store() noexcept override { return *context_.store; }

private:
    struct Machine {
        MachineMode mode = MachineMode::waiting;
        Opening opening{};
        std::unique_ptr<ChainWriter> writer;
        std::optional<OpenCommand> asked;       // The HELLO that waits for the opening.
        Witnesses compared;                     // With the vault, by the newest opening.
        std::optional<RecoverCommand> recover;  // Wanted until it is decided.
        Nanos recover_at{};
        bool recovering = false;     // The opening under way is for no HELLO.
        std::uint32_t failures = 0;  // Of recovering or looking, in a row.
        bool closing = false;
        bool discarding = false;  // With the end of closing: a person has said so.
        // What the cache holds cannot be published: until a person discards it, or a restart.
        bool given_up = false;
        std::uint32_t reactor = 0;
        std::string name;
        struct Damage {
            Generation generation{};
            Seq sound{};  // Published all the same.
        };
        std::map<DiskId, Damage> damaged;
        std::optional<Error> trouble;
        // A HELLO was refused, and nothing of the machine is here: whether `trouble` is over is
        // looked for without its agent, which may have gone to another server.
        bool look = false;
        std::uint64_t dek_bytes = 0;  // Stored under the newest DEK.
        RpoStages stages;
        std::optional<vault::PointEntry> newest_point;
        std::optional<WallMicros> point_time;
        std::deque<pipeline::PointStatus> told;  // Of the newest points; said again to a HELLO.
    };
    // What is committed; assembly releases the steps only after it has been told.
    struct ToReactor {
        std::uint32_t reactor = 0;
        pipeline::Committed committed;
        StepsCommitted steps;
    };
    using Outgoing =
        std::variant<pipeline::MachineOpened, ToReactor, DamagedRecords, FencedMachine>;

    // Commands.
    void run(Command command);
    void handle(OpenCommand command);
    void handle(RecoverCommand command);
    void handle(PruneCommand command);
    void handle(const FlushCommand& command);
    void handle(const CloseCommand& command);
    void handle(const DiscardQuarantineCommand& command);
    void handle(const RotateDekCommand& command);
    // Opening.
    void ask_opener(const MachineId& id, Machine& machine);
    // The chain is closed, to be opened for the HELLO that waits: true if whoever sent it, or this
    // server, remembers a commit that is not known to be in it. The vault can tell.
    bool ask_again(const MachineId& id, Machine& machine);
    void opened(OpenOutcome outcome);
    void open_failed(const MachineId& id, Machine& machine, const Error& error);
    void answer(const MachineId& id, Machine& machine, const OpenCommand& command);
    void refuse(const OpenCommand& command, Error error);
    void refuse_given_up(const Machine& machine, const OpenCommand& command);
    [[nodiscard]] std::shared_ptr<const SegmentKeys> segment_keys(Machine& machine) const;
    // Events of assembly.
    void take(AssemblyEvent event);
    void report_damage(const MachineId& id, Machine& machine, const DamagedRecords& damage,
                       bool repaired);
    // WriterHost.
    void settled(const MachineId& id, const Draft& draft, std::uint64_t number,
                 const Sha256& hash) override;
    void store_again(const MachineId& id, StepId step) override;
    void fenced(const MachineId& id, const Error& why) override;
    void gave_up(const MachineId& id, const Error& why) override;
    void trouble(const MachineId& id, const std::optional<Error>& error) override;

    bool take_outcomes();
    bool take_events(std::size_t budget);
    bool step_machine(const MachineId& id, Machine& machine);
    // Nothing more of this opening is published here.
    void let_go(const MachineId& id, Machine& machine, const Error& why);
    void finish_closing(const MachineId& id, Machine& machine);
    void discard(const MachineId& id, Machine& machine);
    void rotate_dek(const MachineId& id, Machine& machine);
    static void remember(Machine& machine, const std::vector<pipeline::PointStatus>& told);
    void note_point(Machine& machine, const MachineId& id, const Draft& draft);
    void count_points(const Draft& draft);
    bool flush_outgoing();
    bool offer(Outgoing& outgoing);
    void refresh_status(Nanos now);
    void bound_chains();
    [[nodiscard]] MachineStatus status_of(const MachineId& id, const Machine& machine) const;
    [[nodiscard]] bool quiet() const;
    void reply(const MachineId& id, decltype(PublishEvent::what) what);

    Context context_;
    std::map<MachineId, Machine> machines_;
    std::deque<Outgoing> outgoing_;  // Bounded: no draft is begun while it holds anything.
    std::uint64_t next_opening_ = 1;
    Nanos status_due_{};
};

}  // namespace cw::upload
