#include "agent/stream/disk_capture.h"

#include "base/log.h"
#include "pipeline/fence.h"

#include <algorithm>
#include <utility>

namespace cw::agent {

using pipeline::ExtentOp;
using pipeline::RecordType;

namespace {

constexpr std::uint64_t extent_bytes_max = 4 * mib;
// A record is worth a frame of its own from here on; a bigger one only when nothing drains.
constexpr std::uint32_t record_bytes_good = 1024 * 1024;

}  // namespace

DiskCapture::DiskCapture(Start start, DirtyMap map, Parts parts)
    : start_(start),
      parts_(parts),
      map_(std::move(map)),
      key_(start.key),
      next_(start.next),
      limit_(start.limit),
      hello_next_(start.next),
      hash_(start.stream_hash),
      logging_(start.logging),
      open_(parts.pool) {
    CW_ASSERT(raw(next_) >= 1 && next_ <= limit_);
    if (logging_) {
        map_.assume_logged(Seq{raw(next_) - 1});
    }
}

Result<void> DiskCapture::write(std::uint64_t offset, Bytes data) {
    CW_ASSERT(!data.empty() && offset % sector_bytes == 0 && data.size() % sector_bytes == 0);
    return make({ExtentOp::write, offset, data.size(), data},
                [&] { return parts_.image.write(offset, data); });
}

Result<void> DiskCapture::zero(std::uint64_t offset, std::uint64_t length, ExtentOp op,
                               bool unmap) {
    CW_ASSERT(length > 0 && offset % sector_bytes == 0 && length % sector_bytes == 0);
    return make({op, offset, length, {}}, [&] { return parts_.image.zero(offset, length, unmap); });
}

template <typename Apply>
Result<void> DiskCapture::make(const Change& change, Apply&& apply) {
    const std::lock_guard turn(turn_);
    {
        std::unique_lock lock(order_);
        wait_for_barrier(lock);
        CW_TRY(mark(change.offset, change.length));
        flight_ = {change.offset, change.length};
    }
    const Result<void> applied = apply();
    std::unique_lock lock(order_);
    wait_for_barrier(lock);  // A barrier that came meanwhile has it not: nobody may hear of it yet.
    flight_.reset();
    unsettled_ = false;
    if (!applied) {
        stop_logging(change.offset, change.length,
                     "the image cannot be written");  // Half of it may be on the disk.
        return applied;
    }
    // Logging may have ended or begun meanwhile. The union has it: nothing is written.
    CW_ASSERT(mark(change.offset, change.length).has_value());
    log(change.op, change.offset, change.length, change.data);
    return {};
}

void DiskCapture::keep_flight() {
    if (flight_) {
        CW_ASSERT(mark(flight_->offset, flight_->length).has_value());
    }
}

Result<bool> DiskCapture::log_block(std::uint64_t offset, Bytes data) {
    CW_ASSERT(!data.empty() && data.size() <= extent_bytes_max);
    const std::lock_guard guard(order_);
    if (!logging_) {
        return false;
    }
    CW_TRY(map_.mark(offset, data.size()));
    return try_log(ExtentOp::write, offset, static_cast<std::uint32_t>(data.size()), data);
}

Result<void> DiskCapture::miss(const BlockSet& blocks) {
    const std::lock_guard guard(order_);
    const std::uint64_t size = parts_.image.size();
    if (!blocks.empty()) {
        map_.forget_ranges();  // Nobody knows more than these.
    }
    recorded_bytes_ = blocks.bytes();
    for (const auto& [ordinal, mask] : blocks.words()) {
        for (std::uint64_t bit = 0; bit < 64; ++bit) {
            const std::uint64_t at = (std::uint64_t{ordinal} * 64 + bit) * map_block_bytes;
            if ((mask >> bit & 1) != 0 && at < size) {
                const std::uint64_t length = std::min(map_block_bytes, size - at);
                CW_TRY(map_.mark_missed(at, length));
                stop_logging(at, length, "QEMU's bitmaps have what nobody captured");
            }
        }
    }
    return {};
}

DiskCapture::Position DiskCapture::position() {
    const std::lock_guard guard(order_);
    return position_locked();
}

DiskCapture::Position DiskCapture::position_locked() const noexcept {
    return {.generation = key_.generation,
            .next = next_,
            .logging = logging_,
            .mode = logging_               ? wire::ReplicationMode::data
                    : map_.missed_ranges() ? wire::ReplicationMode::metadata
                                           : wire::ReplicationMode::bitmap,
            .missed_bytes = map_.missed_bytes(),
            .uncommitted_bytes = map_.uncommitted().bytes(),
            .missed_ranges = map_.missed_ranges() ? map_.missed_ranges()->count() : 0,
            .recorded_bytes = recorded_bytes_,
            .fences = fences_,
            .missed_why = logging_ ? std::string_view{} : missed_why_};
}

DiskCapture::Position DiskCapture::prepare_hello() {
    const std::lock_guard guard(order_);
    close_open();
    hello_next_ = next_;
    return position_locked();
}

Nanos DiskCapture::close_older_than(std::int64_t linger_ns) {
    const std::lock_guard guard(order_);
    if (open_.empty()) {
        return Nanos{INT64_MAX};
    }
    const Nanos deadline = opened_ + linger_ns;
    if (parts_.clock.boot() - deadline < 0) {
        return deadline;
    }
    close_open();
    return Nanos{INT64_MAX};
}

Result<DiskCapture::Fence> DiskCapture::open_fence(wire::ResyncKind kind, Generation generation,
                                                   Seq at, std::uint64_t leap) {
    CW_ASSERT(kind != wire::ResyncKind::resume);
    const std::lock_guard guard(order_);
    close_open();
    // Not yet sent, or sent to a server that is gone: the dirty map has all of it.
    parts_.outbox.drop(start_.slot, Seq{1});
    next_ = at;
    key_.generation = generation;
    return begin_fence(kind, leap);
}

Result<DiskCapture::Fence> DiskCapture::resume_logging(std::uint64_t leap) {
    const std::lock_guard guard(order_);
    close_open();
    return begin_fence(wire::ResyncKind::resume, leap);
}

Result<DiskCapture::Fence> DiskCapture::begin_fence(wire::ResyncKind kind, std::uint64_t leap) {
    const Seq after{raw(next_) - 1};
    if (leap > 0) {
        next_ = advance(std::max(next_, limit_), leap);
    }
    if (!reserve_next()) {
        next_ = next(after);
        return fail(Errc::io_error, "sequence reservation in the state directory");
    }
    resumes_ = kind == wire::ResyncKind::resume;
    Fence fence{.seq = next_, .after = after, .blocks = map_.begin_fence(!resumes_), .exact = {}};
    fence.exact = map_.fence_ranges();
    hash_ = {};
    recorded_bytes_ = 0;  // In the fence now.
    push_control(RecordType::resync_begin, static_cast<std::uint64_t>(kind),
                 resumes_ ? pipeline::ordinal_of(after) : 0);
    logging_ = true;
    fence_open_ = true;
    ++fences_;
    return fence;
}

BlockSet DiskCapture::missed() {
    const std::lock_guard guard(order_);
    return map_.missed();
}

std::vector<RangeSet::Range> DiskCapture::missed_ranges() {
    const std::lock_guard guard(order_);
    return !logging_ && map_.missed_ranges() ? map_.missed_ranges()->all()
                                             : std::vector<RangeSet::Range>{};
}

std::optional<Seq> DiskCapture::close_fence(std::uint32_t super_chunks) {
    const std::lock_guard guard(order_);
    if (!logging_ || !reserve_next()) {
        return std::nullopt;
    }
    CW_ASSERT(fence_open_);
    close_open();
    push_control(RecordType::resync_end, 0, super_chunks);
    const Seq end{raw(next_) - 1};
    map_.end_fence(end);
    fence_open_ = false;
    unsettled_ = flight_.has_value();
    keep_flight();
    return end;
}

void DiskCapture::abandon() {
    const std::lock_guard guard(order_);
    close_open();
    parts_.outbox.drop(start_.slot, Seq{1});
    map_.give_up_intervals();
    logging_ = false;
}

bool DiskCapture::fence_open() {
    const std::lock_guard guard(order_);
    return fence_open_;
}

bool DiskCapture::resumes() {
    const std::lock_guard guard(order_);
    return resumes_;
}

Result<void> DiskCapture::forget_history() {
    const std::lock_guard guard(order_);
    return map_.mark_all();
}

Result<void> DiskCapture::committed(Seq seq) {
    const std::lock_guard guard(order_);
    return map_.committed(seq);
}

Result<void> DiskCapture::sync_map() {
    const std::lock_guard guard(order_);
    return map_.sync();
}

pipeline::DiskCut DiskCapture::cut_locked() {
    CW_ASSERT(consistent_locked());
    close_open();
    const Seq cut{raw(next_) - 1};
    map_.close_interval(cut);
    keep_flight();
    return {key_.disk, key_.generation, cut, hash_};
}

Result<void> DiskCapture::mark(std::uint64_t offset, std::uint64_t length) {
    return logging_ ? map_.mark(offset, length) : map_.mark_missed(offset, length);
}

void DiskCapture::log(ExtentOp op, std::uint64_t offset, std::uint64_t length, Bytes data) {
    while (length > 0 && logging_) {
        const auto step = static_cast<std::uint32_t>(std::min(length, extent_bytes_max));
        const Bytes part = op == ExtentOp::write ? data.first(step) : Bytes{};
        if (!try_log(op, offset, step, part)) {
            stop_logging(offset, length, why_not_logged());
            return;
        }
        data = op == ExtentOp::write ? data.subspan(step) : data;
        offset += step;
        length -= step;
    }
}

bool DiskCapture::try_log(ExtentOp op, std::uint64_t offset, std::uint32_t length, Bytes data) {
    const WallMicros now = parts_.clock.wall();
    const auto add = [&] {
        return op == ExtentOp::write ? open_.add_write(offset, data, now)
                                     : open_.add_hole(offset, length, op, now);
    };
    if (!parts_.outbox.room() || !reserve_next()) {
        return false;
    }
    RecordBuilder::Added added = add();
    if (added == RecordBuilder::Added::full) {
        close_open();
        added = add();
    }
    if (added != RecordBuilder::Added::ok) {
        return false;
    }
    next_ = next(next_);
    if (open_.extent_count() == 1) {
        opened_ = parts_.clock.boot();
        parts_.outbox.wake();
    }
    if (open_.data_bytes() >= record_bytes_good) {
        close_open();
    }
    return true;
}

// What try_log() could not get.
std::string_view DiskCapture::why_not_logged() const noexcept {
    if (next_ >= limit_) {
        return "the state directory takes no reservation of sequences";
    }
    const bool room_on_disk = parts_.outbox.spool().room_bytes >= pipeline::record_data_bytes_max;
    return room_on_disk && parts_.outbox.room()
               ? "the queue in memory is full, and the one on disk is too slow"
               : "the queue is full";
}

void DiskCapture::stop_logging(std::uint64_t offset, std::uint64_t length, std::string_view why) {
    missed_why_ = why;
    if (logging_) {
        close_open();
        logging_ = false;
        const Outbox::SpoolState spool = parts_.outbox.spool();
        log_warning("agent.capture.degraded", {{"disk", key_.disk},
                                               {"next_seq", next_},
                                               {"reason", why},
                                               {"spool_room_bytes", spool.room_bytes},
                                               {"spool_bytes_per_s", spool.bytes_per_s}});
    }
    // The union has these blocks already, so nothing is written and nothing can fail.
    CW_ASSERT(map_.mark_missed(offset, length).has_value());
}

bool DiskCapture::reserve_next() {
    if (next_ < limit_) {
        return true;
    }
    const auto limit = parts_.reserve.reserve(start_.slot, next_);
    if (!limit) {
        log_error("agent.capture.reserve", {{"disk", key_.disk}, {"error", limit.error()}});
        return false;
    }
    CW_ASSERT(*limit > next_);
    limit_ = *limit;
    return true;
}

void DiskCapture::close_open() {
    if (open_.empty()) {
        return;
    }
    const std::uint32_t count = open_.extent_count();
    OutboxEntry entry;
    entry.record = open_.close();
    entry.slot = start_.slot;
    entry.record.header.key = key_;
    entry.record.header.type = RecordType::write;
    entry.record.header.seq = Seq{raw(next_) - count};
    entry.record.header.seq_count = count;
    entry.record.received = opened_;
    Sha256Stream hash;
    hash.update(hash_);
    hash.update(entry.record.table.bytes());
    hash_ = hash.finish();
    parts_.outbox.push(std::move(entry));
}

void DiskCapture::push_control(RecordType type, std::uint64_t aux, std::uint32_t ordinal) {
    OutboxEntry entry;
    entry.slot = start_.slot;
    entry.record.header.key = key_;
    entry.record.header.type = type;
    entry.record.header.seq = next_;
    entry.record.header.seq_count = 1;
    entry.record.header.aux = aux;
    entry.record.header.ordinal = ordinal;
    next_ = next(next_);
    parts_.outbox.push(std::move(entry));
}

}  // namespace cw::agent
