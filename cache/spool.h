// Spool: the durable log. What it has reported durable survives kill -9 and power loss.
//
// One append-only log per device in one pre-written, recycled file of fixed size, divided into
// regions; O_DIRECT; group commit (a batch is what arrived during the last sync). The format is
// FORMAT.md beside this file.
//
// Invariants: acknowledged <= durable <= appended. A record is durable only after the device said
// so for it and everything before it; each batch carries `durable_through`, so that recovery can
// tell a torn tail (dropped) from damage to acknowledged data (reported, never truncated). A failed
// sync is never retried: the spool stops and the process restarts into recovery. Space is freed
// only by release(); the last live records of an old region are moved forward so that one slow
// machine cannot pin the log.
//
// A passive object: step() does bounded work and never waits, so a Runner, the agent's loop or a
// simulator can drive it. Thread-safety: none; one thread.
#pragma once

#include "base/clock.h"
#include "base/conditions.h"
#include "base/disk.h"
#include "base/metrics.h"
#include "base/random.h"
#include "cache/stream_table.h"
#include "pipeline/messages.h"
#include "pipeline/record.h"
#include "pipeline/stage.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace cw::cache {

class SpoolIndex;

using pipeline::Lsn;
using pipeline::Record;
using pipeline::RecordHeader;
using pipeline::StoredRecord;
using pipeline::StreamKey;

struct SpoolOptions {
    std::string path;                       // Directory; mode 0700; holds spool.log and spool.id.
    std::uint64_t size_bytes = 0;           // Fixed at creation; multiple of region_bytes.
    std::uint64_t region_bytes = 64 * mib;  // Unit of reclaim.
    std::uint32_t batch_bytes_max = 8 * mib;
    std::uint32_t batches_in_flight = 4;
    std::int64_t slow_sync_ns = 2 * ns_per_s;  // Above: condition SPOOL_SLOW.
    // Below this share of free space no more data is taken (SPOOL_FULL); fences, points and the
    // like are.
    double throttle_free = 0.05;
    bool may_create = true;  // false: an empty directory is a missing mount, not a first start.
    SpoolId
        expected_id{};  // Refuse any other spool (another server's disk, an old clone). Nil: any.
    bool prewrite = true;  // Write the whole file once at creation: twice the commit rate.
    // Called while pre-writing with (bytes done, bytes in all), for progress on a console.
    void (*on_prewrite)(std::uint64_t, std::uint64_t) = nullptr;
};

// A range of acknowledged data that is damaged on the device: to be repaired from the agent. When
// the damage took the headers too, the spool cannot tell lost records from released ones: a range
// whose `last` is committed in the vault is then of no concern (see settle_stream()).
struct DamagedRange {
    StreamKey key;
    Seq first{},
        last{};  // Inclusive; 0,0 when only the place is known, or for records without one.
    std::string evidence;
};

struct SpoolUsage {
    std::uint64_t capacity = 0, live = 0, dead = 0, free = 0;  // Bytes.
    std::uint64_t reserved = 0;                                // Promised to outstanding credit.
    std::uint64_t room = 0;  // What append() would take now, reservations aside.
};

class Spool {
public:
    virtual ~Spool() = default;

    // Opens or creates the spool, scans it (never trusting the page cache) and leaves it ready.
    // Errors: io_error, disk_full (no space for the file), spool_tampered (other identity, size
    // changed, a file is missing or both superblocks are damaged), format_unsupported, usage.
    // `disk`, `clock`, `random`, `conditions`, `metrics` outlive the spool.
    struct Context {
        Disk& disk;
        Clock& clock;
        Random& random;
        Conditions& conditions;
        MetricRegistry& metrics;
    };
    static Result<std::unique_ptr<Spool>> open(SpoolOptions options, Context context);

    // --- After open(), before the first append() ---
    // Everything recovered and not known to be released, oldest first, without payload. Each comes
    // exactly once; the caller releases what it does not need.
    virtual std::optional<StoredRecord> next_recovered() = 0;
    // Each is raised as SPOOL_LOST_DURABLE ("disk …", or "cache" when it is not known whose it
    // was) until it is repaired or a newer history of the disk has begun, however often the spool
    // is opened meanwhile; at least for half a minute.
    [[nodiscard]] virtual std::vector<DamagedRange> damaged() const = 0;
    // Watermarks of every history this spool knows, also of those whose records are all released.
    [[nodiscard]] virtual std::vector<StreamState> streams() const = 0;
    // What is appended and durable per history; for checks before append().
    [[nodiscard]] virtual const StreamTable& stream_table() const = 0;
    // The vault holds everything of `key` up to `committed`: suspected holes below do not matter,
    // and the stream, if unknown, starts there. `open_fence`: the fence open there, 0: none; it
    // counts unless this spool holds more than the vault.
    virtual void settle_stream(const StreamKey& key, Seq committed, Seq open_fence) = 0;
    // What the stream holds after `durable`, with the fence that is open there, is taken once more:
    // its agent was told that it lacks. Only while nothing of the stream is on its way to the
    // device.
    virtual void take_again(const StreamKey& key, Seq durable) = 0;
    [[nodiscard]] virtual SpoolId id() const = 0;

    // --- Running ---
    // Takes the record if there is room; false leaves it untouched (full, or queue of unsynced
    // batches full, or failed). The caller has checked sequence order: the spool asserts that
    // records of a key come without gaps after what is appended, or after a forget_stream(). Only
    // resync_begin may jump forward: what lies below is covered by its BASE.
    virtual bool append(Record& record) = 0;
    // Takes back what was appended of this machine and is not on its way to the device, in append
    // order. It was never acknowledged, so its sequences may be appended again; a reservation that
    // append() consumed stays consumed. What is left becomes durable or the spool fails: only that
    // is bounded, because what is not on its way may wait for room for ever.
    virtual std::vector<Record> withdraw(const MachineId& machine) = 0;
    // Something of this machine is being written: it becomes durable or the spool fails.
    [[nodiscard]] virtual bool on_its_way(const MachineId& machine) const = 0;
    // Durable records in append order, payload still attached. Empty when none is ready.
    virtual std::optional<StoredRecord> take_durable() = 0;
    // The record's bytes are no longer needed. Unknown LSNs are ignored (released twice).
    virtual void release(Lsn lsn) = 0;
    // A new generation of this disk begins (or the stream is dropped): watermarks are forgotten
    // once the records are released.
    virtual void forget_stream(const StreamKey& key) = 0;

    // Submits what has gathered, reaps what finished, reclaims, moves, checkpoints.
    virtual pipeline::Progress step(std::size_t budget) = 0;
    [[nodiscard]] virtual Nanos next_deadline() const = 0;
    // True when nothing is unsynced.
    [[nodiscard]] virtual bool idle() const = 0;
    // Writes a final checkpoint for a fast start. The spool takes nothing more afterwards.
    virtual Result<void> close() = 0;

    // Credit: reserves `bytes` of free space for a peer's future payload; false when they are not
    // there. append() consumes reservations of the record's size; unreserve() returns the rest.
    virtual bool reserve(std::uint64_t bytes) = 0;
    virtual void unreserve(std::uint64_t bytes) = 0;
    [[nodiscard]] virtual SpoolUsage usage() const = 0;
    // Set when the device failed (B2, B3): nothing is taken or acknowledged any more.
    [[nodiscard]] virtual std::optional<Error> failed() const = 0;

private:
    friend class SpoolReader;
    // Where records lie, shared with readers on other threads.
    [[nodiscard]] virtual std::shared_ptr<SpoolIndex> index() const = 0;
};

// Reads records back, on another thread and Disk than the Spool's, of records that are durable and
// not yet released. Verifies identity, place and checksums of what it reads.
class SpoolReader {
public:
    virtual ~SpoolReader() = default;
    // Called on the spool's thread; the reader then belongs to the thread of `disk`. It shares the
    // spool's index (a record that was moved out of an old region is still found by its LSN) and
    // may outlive the spool, which then neither moves nor recycles anything.
    static Result<std::unique_ptr<SpoolReader>> open(Spool& spool, Disk& disk);

    // Starts reading the record `lsn` points at; `done` runs inside poll(). The table and slabs
    // of `record` are filled; its header is the one the spool gave out, its slabs must have been
    // provided (slab_count() of them). `record` stays in place until `done`.
    // Errors: record_corrupt (bit rot, misdirected or lost write; or the device has refused it at
    // every attempt, some in a row), not_found (released), io_error: worth another attempt.
    virtual void read(Lsn lsn, Record& record, std::function<void(Result<void>)> done) = 0;
    virtual std::size_t poll() = 0;
    [[nodiscard]] virtual std::size_t in_flight() const noexcept = 0;
};

}  // namespace cw::cache
