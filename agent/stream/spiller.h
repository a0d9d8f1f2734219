// Spiller: moves the oldest payload of the outbox to a spool on disk when memory runs short, and
// reads it back when its turn comes, so that an outage costs disk and keeps every write in order.
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
    // Opens or creates the spool in `directory`. Errors: io_error, spool_full, spool_tampered.
    static Result<std::unique_ptr<Spiller>> open(const std::string& directory,
                                                 std::uint64_t size_bytes, Context context);
    ~Spiller();

    // Moves, reads back, frees. True if it did something.
    bool step();
    // Waiting for the device: step() again soon.
    [[nodiscard]] bool busy() const noexcept { return !moving_.empty() || loading_; }

private:
    struct Ticket {  // One append under way.
        std::uint16_t slot;
        Seq seq;
    };
    struct Load {
        std::uint16_t slot;
        Seq seq;
        pipeline::Record record;
        std::optional<Result<void>> done;
    };
    explicit Spiller(Context context) : context_(context) {}
    void give_up();
    bool move_out();
    bool settle_moved();
    bool load_next();
    bool settle_loaded();
    bool append(OutboxEntry& entry);
    OutboxEntry* find(std::uint16_t slot, Seq seq);

    Context context_;
    std::unique_ptr<Conditions> conditions_;
    std::unique_ptr<MetricRegistry> metrics_;
    std::unique_ptr<cw::Disk> disk_, read_disk_;
    std::unique_ptr<pipeline::SlabPool> read_pool_;
    std::unique_ptr<cache::Spool> spool_;
    std::unique_ptr<cache::SpoolReader> reader_;
    std::deque<Ticket> moving_;
    std::unique_ptr<Load> loading_;
    std::map<pipeline::StreamKey, Seq> ends_;  // Last sequence appended, while anything lies there.
    std::size_t held_ = 0;                     // Entries whose copy lies in the spool.
};

}  // namespace cw::agent
