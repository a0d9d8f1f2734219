// ChainWriter: writes one machine's manifests, one at a time.
//
//   (a checkpoint's index runs first, each under a name of its own)
//   draft → create (If-None-Match: *) → stored?      → GC marks → settled: told and released
//                                     → refused      → pause, the same bytes again
//                                     → exists or unknown → read back: ours → as stored;
//                                                           another's → fenced; absent → again
//
// The same sealed bytes are offered until one answer is certain, so a late-landing request can only
// be our own manifest. After each create the GC marks are read: a boundary above our number means
// that a deleted number was written again (fenced); a swept segment is replaced and corrected
// first.
//
// Asynchronous over the publisher's store. Thread-safety: none. Lifetime: it is destroyed only when
// idle() or after the store (whose callbacks borrow it).
#pragma once

#include "base/random.h"
#include "egress/upload/head_writer.h"
#include "egress/upload/ledger.h"

#include <memory>
#include <optional>

namespace cw::upload {

class WriterHost {
public:
    virtual ~WriterHost() = default;
    // The draft's manifest is committed (or it needed none): tell and release.
    virtual void settled(const MachineId& machine, const Draft& draft, std::uint64_t number,
                         const Sha256& hash) = 0;
    virtual void store_again(const MachineId& machine, StepId step) = 0;
    virtual void fenced(const MachineId& machine, const Error& why) = 0;
    // The draft would break the machine's chain: nothing was written, and nothing will be.
    virtual void gave_up(const MachineId& machine, const Error& why) = 0;
    // Publishing is in trouble (retried by itself) or fine again.
    virtual void trouble(const MachineId& machine, const std::optional<Error>& error) = 0;
};

class ChainWriter {
public:
    struct Context {
        Clock& clock;
        Random& random;
        const vault::VaultIdentity& vault;
        const vault::ServerSigner& signer;
        const EngineOptions& options;
        WriterHost& host;
        Conditions& conditions;
    };
    ChainWriter(const Context& context, ChainClaim claim);

    // Starts what can be started. True if something was.
    bool step(blob::BlobStore& store);
    [[nodiscard]] Nanos next_deadline() const;
    // No request of the chain is under way. (A head hint may be: it borrows nothing of this.)
    [[nodiscard]] bool idle() const noexcept { return phase_ == Phase::idle && !busy_; }
    // A request is on the wire.
    [[nodiscard]] bool busy() const noexcept { return busy_; }
    // Nothing is left to publish.
    [[nodiscard]] bool done() const noexcept { return idle() && ledger_.empty() && !draft_; }
    // No new draft is begun from now on.
    void stop() noexcept { stopped_ = true; }
    // A manifest of ours is in the store of which nobody may be told before it is corrected.
    [[nodiscard]] bool untold() const noexcept { return corrected_.has_value(); }
    // It cannot be corrected: fenced() without another server, as soon as no request is under way.
    // Whoever opens the chain next takes that manifest back (ChainMend).
    void give_back(std::string why);
    // Looks soon whether another server has the machine now: fenced() if so.
    void look_ahead() noexcept { look_asked_ = true; }
    // Something of the machine cannot be published before its agent has helped, which may be with
    // another server for good: looked for more often, as while anything is left to publish.
    void wait_for_agent(bool waits) noexcept { waits_ = waits; }

    [[nodiscard]] Ledger& ledger() noexcept { return ledger_; }
    [[nodiscard]] const Ledger& ledger() const noexcept { return ledger_; }
    [[nodiscard]] vault::MachineKeys& keys() noexcept { return *keys_; }

private:
    enum class Phase : std::uint8_t {
        idle,
        runs,       // A checkpoint's index runs are to be stored before it.
        run_back,   // Whether the next of them is there must be found out.
        create,     // The sealed manifest is to be offered (again).
        read_back,  // Whether it is there must be found out.
        check_gc,
        correcting,  // Swept segments are being uploaded again.
    };

    void begin(Draft draft);
    void next_run();
    void seal();
    void put_run(blob::BlobStore& store);
    void run_put(const blob::PutResult& result);
    void read_run_back(blob::BlobStore& store);
    void run_seen(const Result<blob::GetResult>& found);
    void run_stored();
    void create(blob::BlobStore& store);
    void created(const blob::PutResult& result);
    void read_back(blob::BlobStore& store);
    void seen(const Result<blob::GetResult>& found);
    void check_gc(blob::BlobStore& store);
    void gc_read(const Result<blob::GetResult>& found);
    void judge_gc(const vault::GcBoundary& marks);
    [[nodiscard]] bool names_others_of(const std::set<vault::AttemptId>& swept,
                                       std::size_t steps) const;
    void accept();
    void settle();
    void look(blob::BlobStore& store);
    [[nodiscard]] Nanos look_due() const;
    void fence_by(const vault::ManifestHeader& header);
    void fence(std::string why);
    void end();
    void pause(Phase next, const Error& error);
    void succeed();

    Context context_;
    std::shared_ptr<vault::MachineKeys> keys_;  // Shared with the opener until it let go.
    Ledger ledger_;
    Phase phase_ = Phase::idle;
    bool busy_ = false;                      // A request is under way.
    bool stopped_ = false;                   // Fenced or closed.
    std::optional<std::string> given_back_;  // Why, while a request is under way.
    std::optional<Draft> draft_;             // On its way into the store.
    std::optional<Draft> corrected_;         // Stored, but not to be told before a correction.
    std::size_t runs_stored_ = 0;            // Of the draft's runs,
    std::optional<vault::SealedRun> run_;    // and the next.
    vault::SealedManifest sealed_;
    Nanos not_before_{};
    std::uint32_t failures_ = 0;
    HeadWriter head_;
    bool look_asked_ = false;
    bool waits_ = false;
    Nanos looked_;  // When nobody else had the next number, or was looked for.
};

}  // namespace cw::upload
