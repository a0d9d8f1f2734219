// Spiller: moves the oldest payload of the outbox to a spool on disk when memory runs short, and
// reads it back when its turn comes, so that an outage costs disk and keeps every write in order.
//
// All disks share the room, record by record: what fits goes in, whose it is does not matter. The
// records of a disk lie there in order; only where its own do not follow each other (a history that
// began anew) does it wait, and only for what lies there of its own.
//
// The spool serves this run only: after a restart the dirty maps say what the server lacks, and
// what lies in the spool is released. Thread-safety: none; the agent's loop. Never waits.
#pragma once

#include "agent/stream/outbox.h"
#include "cache/spool.h"
#include "ingest/wire/frame.h"

#include <deque>
#include <map>
#include <memory>

namespace cw::agent {

class Spiller {
public:
    struct Context {
        Outbox& outbox;
        pipeline::SlabPool& pool;  // Of the log; watched for pressure.
        Clock& clock;
        Random& random;
    };
    // Opens or creates the spool in `directory`. Errors: io_error, disk_full, spool_tampered.
    static Result<std::unique_ptr<Spiller>> open(const std::string& directory,
                                                 std::uint64_t size_bytes, Context context);
    // The same on any device, with any geometry that the largest record fits into.
    struct Disks {
        std::unique_ptr<cw::Disk> write, read;
    };
    static Result<std::unique_ptr<Spiller>> open(const cache::SpoolOptions& options, Disks disks,
                                                 Context context);
    ~Spiller();

    // Moves, reads back, frees. True if it did something.
    bool step();
    // Waiting for the device: step() again soon. What waits for room needs no more than the loop's
    // other rounds: it comes with an acknowledgement.
    [[nodiscard]] bool busy() const noexcept { return disk_->in_flight() > 0 || loading_; }
    // What the spool says of itself: SPOOL_FULL.
    [[nodiscard]] const Conditions& conditions() const noexcept { return *conditions_; }
    struct Usage {
        std::uint64_t used_bytes = 0, room_bytes = 0;
        std::uint64_t bytes_per_s = 0;  // While something was last on its way there; 0: not known.
    };
    [[nodiscard]] Usage usage() const;

private:
    // What lies in the spool, or is on its way there, of one history.
    struct Stretch {
        Seq end;
        std::size_t held = 0;  // Records. None: the next may begin anywhere.
    };
    enum class Appended : std::uint8_t {
        yes,
        before,  // It is there, or does not go there.
        full,    // Nobody's fits now.
        held,    // This disk's must wait until what lies there of its own is gone.
    };
    struct Load {
        pipeline::Record record;
        std::optional<Result<void>> done;
    };
    explicit Spiller(Context context) : context_(context) {}
    bool round();
    void give_up();
    void gone(const pipeline::StreamKey& key);
    bool move_out();
    bool settle_moved();
    bool load_next();
    bool settle_loaded();
    Appended append(OutboxEntry& entry);
    bool may_follow(const pipeline::RecordHeader& header);
    OutboxEntry* find(const pipeline::RecordHeader& header, bool newest_first);

    Context context_;
    std::unique_ptr<Conditions> conditions_;
    std::unique_ptr<MetricRegistry> metrics_;
    std::unique_ptr<cw::Disk> disk_, read_disk_;
    std::unique_ptr<pipeline::SlabPool> read_pool_;
    std::unique_ptr<cache::Spool> spool_;
    std::unique_ptr<cache::SpoolReader> reader_;
    std::deque<pipeline::RecordHeader> moving_;  // Appends under way.
    Nanos moving_since_{};                       // How long there were any without a break,
    std::uint64_t moved_bytes_ = 0;              // and what became durable since.
    std::uint64_t bytes_per_s_ = 0;
    std::unique_ptr<Load> loading_;
    std::map<pipeline::StreamKey, Stretch> stretches_;  // At most one per disk with nothing held.
    std::uint64_t seen_ = 0;  // No entry of a lower number lies in memory alone.
    std::size_t held_ = 0;    // Entries whose copy lies in the spool.
};

}  // namespace cw::agent
