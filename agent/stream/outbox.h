// Outbox: the ordered queue between what was captured and what the server has on its disk.
//
// Records stay here from the moment they are logged until the server acknowledged them as spooled,
// so that a reconnect can send them again. Payload lies in memory (slabs); under pressure the
// oldest is moved to the agent's disk spool and read back when its turn comes (spill.h). What fits
// in neither is not logged: the capture then goes by its dirty map (disk_capture.h).
//
// Thread-safety: push(), room(), spool() and wake from any thread; everything else from the agent's
// loop.
#pragma once

#include "agent/stream/spill.h"
#include "base/net.h"
#include "pipeline/point.h"
#include "pipeline/record.h"

#include <atomic>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <vector>

namespace cw::agent {

struct OutboxEntry {
    pipeline::Record record;
    std::uint16_t slot = 0;  // Of the disk; wire::machine_slot for points and their results.
    bool sent = false;
    PointId point;          // Points only
    std::vector<Seq> cuts;  // Points only: by slot
    SpillState spill;

    [[nodiscard]] Seq last_seq() const noexcept {
        return Seq{raw(record.header.seq) + record.header.seq_count - 1};
    }
};

class Outbox {
public:
    static constexpr std::size_t results_told_max = 16;
    // `table_bytes_max` bounds the memory of tables and points, which lie outside the slab pool. A
    // table whose copy lies in the disk spool does not count: it is here for the moment that it is
    // sent in.
    explicit Outbox(std::uint64_t table_bytes_max) : table_bytes_max_(table_bytes_max) {}

    // Called (from any thread) after a push, to wake the loop. Set once, before threads start.
    void on_push(std::function<void()> wake) { wake_ = std::move(wake); }
    // False: the bound on tables is reached; nothing may be logged now.
    [[nodiscard]] bool room() const noexcept {
        return table_bytes_.load(std::memory_order_relaxed) < table_bytes_max_;
    }
    // Wakes the loop: a record was begun, whose linger must be watched.
    void wake() const {
        if (wake_) {
            wake_();
        }
    }
    // Keeps the order of pushes of one disk; the caller holds that disk's order lock.
    void push(OutboxEntry entry);
    // What the disk spool would take now, and how fast it has taken what it was given last.
    struct SpoolState {
        std::uint64_t room_bytes = 0, bytes_per_s = 0;
    };
    void note_spool(const SpoolState& now) noexcept {
        spool_room_.store(now.room_bytes, std::memory_order_relaxed);
        spool_rate_.store(now.bytes_per_s, std::memory_order_relaxed);
    }
    [[nodiscard]] SpoolState spool() const noexcept {
        return {spool_room_.load(std::memory_order_relaxed),
                spool_rate_.load(std::memory_order_relaxed)};
    }

    // --- the loop ---
    // Told of every entry that leaves the queue, so that the disk spool can free its copy.
    void on_removed(std::function<void(const OutboxEntry&)> told) { removed_ = std::move(told); }
    // The number of the front entry; those behind it count on. An entry keeps its number until
    // others than the front ones leave: then all get higher ones than were ever given.
    [[nodiscard]] std::uint64_t first_number() const noexcept { return first_number_; }
    // Moves what was pushed into the queue. Called by the others; cheap.
    void collect();
    // The oldest entry not yet sent, or nullptr. Valid until the next call that removes.
    OutboxEntry* next_unsent();
    // The server's spool has everything of `slot` up to `seq`.
    void spooled(std::uint16_t slot, Seq seq);
    // The server has answered for this point: it need not be sent again.
    void point_done(const PointId& id);
    // Whether the point is still to be sent, or sent again.
    [[nodiscard]] bool holds(const PointId& id);
    // A new session: everything that `durable` (by slot) does not cover is to be sent again. Points
    // that can no longer be placed are removed; the server had them, or they are lost with it.
    // What became of a group's points nobody acknowledges: the newest such words are sent again in
    // every session, because the last one may have been lost with its connection.
    void rewind(const std::vector<Seq>& durable);
    // The server wants the records of `slot` from sequence `from` on again, in this session: they
    // go out before what was not sent yet, and so do points behind them. False: they are not held,
    // or `from` lies within one.
    bool resend(std::uint16_t slot, Seq from);
    // Forgets a disk's records from sequence `from` on, and with them all points and what became of
    // them.
    void drop(std::uint16_t slot, Seq from);
    // A copy of the entry lies in the disk spool now: its table costs memory no longer.
    void spilled(OutboxEntry& entry, pipeline::Lsn lsn);
    // Forgets the records of disks of which the disk spool lost one: their dirty maps have it all.
    void drop_lost();
    // First sequence still held of a disk.
    [[nodiscard]] std::optional<Seq> oldest(std::uint16_t slot);

    // Changes an entry, which is not sent yet, through `change`.
    template <typename Change>
    void change(OutboxEntry& entry, Change&& change) {
        CW_ASSERT(!entry.sent);
        account(entry, false);
        change(entry);
        account(entry, true);
    }

    [[nodiscard]] bool empty();
    [[nodiscard]] std::deque<OutboxEntry>& entries() noexcept { return entries_; }
    [[nodiscard]] std::uint64_t payload_bytes() const noexcept { return payload_bytes_; }

private:
    void account(const OutboxEntry& entry, bool held) noexcept;
    void remove(const OutboxEntry& entry);
    void trim();
    void keep_told(OutboxEntry entry);
    template <typename Predicate>
    void remove_if(Predicate&& predicate);

    const std::uint64_t table_bytes_max_;
    std::function<void()> wake_;
    std::function<void(const OutboxEntry&)> removed_;
    std::atomic<std::uint64_t> table_bytes_{0}, spool_room_{0}, spool_rate_{0};
    std::uint64_t payload_bytes_ = 0;
    std::mutex incoming_mutex_;
    std::vector<OutboxEntry> incoming_;
    // A deque keeps references valid while entries are added and removed at its ends.
    std::deque<OutboxEntry> told_;  // Results that were sent, at most results_told_max.
    std::deque<OutboxEntry> entries_;
    std::vector<Seq> spooled_;  // By slot
    std::size_t next_ = 0;      // Everything before it is sent.
    std::uint64_t first_number_ = 0;
};

}  // namespace cw::agent
