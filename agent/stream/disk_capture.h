// DiskCapture: one protected disk. Every change passes here: it is marked in the dirty map, written
// to the image and logged with the next sequence, in this order, one change at a time. So the
// sequence is the order of the image, and any prefix of the log is a state a power cut could have
// left.
//
// The loop never waits for the image: a change that is being written there is not in the log, and
// nobody was told that it is done, so a point may be cut without it. A disk that hangs stops
// neither the loop nor the points of its machine.
//
// A change never waits for the network. When the queue has no room the disk stops logging (mode
// METADATA): changes go to the dirty map only ("missed") until open_fence() starts the log again
// and what was missed is read as BASE beneath it: exactly that, or, if it was too much for the
// map's list of ranges (mode BITMAP), the blocks that it touched.
//
// The running hash H_n = SHA-256(H_{n-1} || extent table) covers the WRITE records since the last
// RESYNC_BEGIN, where it starts from zeros: what came before is covered by the BASE.
//
// Thread-safety: write(), zero(), flush(), log_block() from any thread; the rest from the agent's
// loop, each taking the order lock by itself. Lock order: the turn of a disk, its order lock (of
// several disks: standstill.h), the outbox.
#pragma once

#include "agent/group/admission_gate.h"
#include "agent/scan/block_image.h"
#include "agent/stream/dirty_map.h"
#include "agent/stream/outbox.h"
#include "agent/stream/record_builder.h"
#include "base/clock.h"
#include "base/crypto.h"
#include "ingest/wire/messages.h"

#include <mutex>
#include <optional>
#include <vector>

namespace cw::agent {

// Where sequence numbers may go: a persisted bound above every sequence ever used.
class SequenceReserve {
public:
    virtual ~SequenceReserve() = default;
    // A bound > `at_least`, durable when it returns. Any thread.
    virtual Result<Seq> reserve(std::uint16_t slot, Seq at_least) = 0;
};

class DiskCapture {
public:
    struct Start {
        pipeline::StreamKey key;
        std::uint16_t slot = 0;
        Seq next{1};           // The next sequence to use.
        Seq limit{1};          // Sequences below it are reserved already.
        Sha256 stream_hash{};  // At next - 1.
        bool logging = false;  // The server's state is known to be next - 1.
    };
    struct Parts {
        BlockImage& image;
        Outbox& outbox;
        pipeline::SlabPool& pool;
        Clock& clock;
        SequenceReserve& reserve;
        AdmissionGate* gate = nullptr;  // Holds write() and zero() while it is closed.
    };
    // Everything in `parts` outlives the capture.
    DiskCapture(Start start, DirtyMap map, Parts parts);

    // --- sources ---
    // Image and log. Sector multiples within the disk, length > 0. Errors: io_error; the range's
    // content is then whatever the image holds, and is read again later.
    Result<void> write(std::uint64_t offset, Bytes data);
    Result<void> zero(std::uint64_t offset, std::uint64_t length, pipeline::ExtentOp op,
                      bool unmap);
    Result<void> flush() { return parts_.image.flush(); }
    // Log only, for a scanner: at most 4 MiB. false: no room now, nothing was logged, try again.
    Result<bool> log_block(std::uint64_t offset, Bytes data);
    // These blocks changed without passing here: a fence must read them.
    Result<void> miss(const BlockSet& blocks);
    [[nodiscard]] BlockImage& image() noexcept { return parts_.image; }

    // --- the loop ---
    struct Position {
        Generation generation{};
        Seq next{};
        bool logging = false;
        wire::ReplicationMode mode{};
        std::uint64_t missed_bytes = 0, uncommitted_bytes = 0;
        std::size_t missed_ranges = 0;     // In mode METADATA.
        std::uint64_t recorded_bytes = 0;  // That miss() was told of.
        std::uint64_t fences = 0;          // Opened by this object so far.
        std::string_view missed_why = {};  // Why changes are not logged, while they are not.
    };
    [[nodiscard]] Position position();
    // Closes the open record and remembers where it ends: what HELLO promises.
    Position prepare_hello();
    // Pushes the open record if its first write is older than `linger_ns`. Its deadline otherwise.
    Nanos close_older_than(std::int64_t linger_ns);

    struct Fence {
        Seq seq{};
        Seq after{};                    // It follows this sequence; seq - 1 but after a leap.
        BlockSet blocks;                // To be read as BASE,
        std::optional<RangeSet> exact;  // or, if it is there, no more than this of them.
    };
    // Logging (re)starts at a fence. A `leap` leaves out so many sequences, and all that may ever
    // have been used (own_sequences.h).
    // Beneath it lie all uncommitted blocks; what is logged from `at` on is dropped.
    Result<Fence> open_fence(wire::ResyncKind kind, Generation generation, Seq at,
                             std::uint64_t leap = 0);
    // Only the missed ones lie beneath it; it follows what was logged before it.
    Result<Fence> resume_logging(std::uint64_t leap = 0);
    // Whether the fence that is open, or was last, is of resume_logging().
    [[nodiscard]] bool resumes();
    // The missed blocks of a lasting outage, without opening anything.
    [[nodiscard]] BlockSet missed();
    // In mode METADATA exactly what was missed; else nothing.
    [[nodiscard]] std::vector<RangeSet::Range> missed_ranges();
    // All BASE of the fence, that many super-chunks, is spooled and nothing was missed since:
    // RESYNC_END, which takes the sequence that is returned. Nothing if something was missed: a new
    // fence is needed.
    std::optional<Seq> close_fence(std::uint32_t super_chunks);
    [[nodiscard]] bool fence_open();
    // The server refuses this disk: what is logged is dropped, changes go to the dirty map.
    void abandon();
    // The server begins its history anew: every block is to be sent.
    Result<void> forget_history();
    Result<void> committed(Seq seq);
    Result<void> sync_map();

    // --- cutting points: with all disks locked ---
    [[nodiscard]] std::unique_lock<std::mutex> lock() { return std::unique_lock(order_); }
    // Owns nothing if the lock is taken.
    [[nodiscard]] std::unique_lock<std::mutex> try_lock() { return {order_, std::try_to_lock}; }
    // May this disk be part of a point? Lock held.
    [[nodiscard]] bool consistent_locked() const noexcept {
        return logging_ && !fence_open_ && !unsettled_;
    }
    // Closes the open record and the dirty interval. Lock held.
    pipeline::DiskCut cut_locked();
    [[nodiscard]] std::uint16_t slot() const noexcept { return start_.slot; }
    [[nodiscard]] const DiskId& disk() const noexcept { return start_.key.disk; }
    [[nodiscard]] Sha256 stream_hash_locked() const noexcept { return hash_; }

private:
    void wait_for_barrier(std::unique_lock<std::mutex>& lock) {
        if (parts_.gate != nullptr) {
            parts_.gate->pass(lock);
        }
    }
    struct Change {
        pipeline::ExtentOp op{};
        std::uint64_t offset = 0, length = 0;
        Bytes data;
    };
    // `apply` does it to the image.
    template <typename Apply>
    Result<void> make(const Change& change, Apply&& apply);
    Result<void> mark(std::uint64_t offset, std::uint64_t length);
    // A change under way is logged later: it belongs to the interval that begins now as well.
    void keep_flight();
    // Logs one extent of at most 4 MiB, or stops logging.
    void log(pipeline::ExtentOp op, std::uint64_t offset, std::uint64_t length, Bytes data);
    bool try_log(pipeline::ExtentOp op, std::uint64_t offset, std::uint32_t length, Bytes data);
    [[nodiscard]] std::string_view why_not_logged() const noexcept;
    void stop_logging(std::uint64_t offset, std::uint64_t length, std::string_view why);
    [[nodiscard]] Position position_locked() const noexcept;
    bool reserve_next();
    void close_open();
    void push_control(pipeline::RecordType type, std::uint64_t aux, std::uint32_t ordinal = 0);
    // Order lock held.
    Result<Fence> begin_fence(wire::ResyncKind kind, std::uint64_t leap);

    const Start start_;
    Parts parts_;
    std::mutex turn_;   // Of the writers: held until the image and the log have the change.
    std::mutex order_;  // Guards everything below; never held while the image is written.
    DirtyMap map_;
    pipeline::StreamKey key_;
    Seq next_;
    Seq limit_;
    Seq hello_next_{};
    Sha256 hash_{};
    bool logging_;
    bool fence_open_ = false, resumes_ = false;
    struct Flight {
        std::uint64_t offset = 0, length = 0;
    };
    std::optional<Flight> flight_;  // Marked, and on its way to the image.
    // It was when the fence ended: BASE may have half of it, and the log has it not yet.
    bool unsettled_ = false;
    std::uint64_t fences_ = 0, recorded_bytes_ = 0;
    std::string_view missed_why_ = "not synchronised yet";
    RecordBuilder open_;
    Nanos opened_{};
};

}  // namespace cw::agent
