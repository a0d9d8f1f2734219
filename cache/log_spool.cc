#include "cache/log_spool.h"

#include "base/crash_point.h"
#include "base/log.h"
#include "cache/payload_check.h"

#include <algorithm>
#include <limits>

namespace cw::cache {
namespace {

constexpr const char* subject = "cache";
constexpr std::int64_t pump_ns = ns_per_s / 10;
constexpr std::int64_t slow_hold_ns = 10 * ns_per_s, gauge_period_ns = ns_per_s;
constexpr std::int64_t loss_shown_ns = 30 * ns_per_s;

std::string loss_subject(const StreamKey& key) {
    return key.disk.is_nil() ? subject : "disk " + to_string(key.disk);
}

std::vector<double> sync_bounds() {
    return {0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 2, 5};
}

}  // namespace

Result<std::unique_ptr<Spool>> Spool::open(SpoolOptions options, Context context) {
    CW_ASSERT(options.batches_in_flight > 0 && options.throttle_free >= 0 &&
              options.throttle_free < 1);
    CW_TRY_ASSIGN(SpoolFiles files, open_spool_files(options, context.disk, context.random));
    CW_TRY_ASSIGN(Recovered recovered, recover(context.disk, *files.log, files.superblock));
    log_info("cache.open", {{"path", options.path},
                            {"id", files.superblock.id},
                            {"created", files.created},
                            {"records", recovered.records.size()},
                            {"durable_through", recovered.durable_through},
                            {"torn_batches", recovered.torn_batches},
                            {"damaged_ranges", recovered.damaged.size()},
                            {"rebuilt", recovered.rebuilt}});
    const std::array<bool, 2> damaged = files.superblock_damaged;
    auto spool = std::make_unique<LogSpool>(std::move(options), context, std::move(files),
                                            std::move(recovered));
    CW_TRY(spool->confirm_recovery());
    CW_TRY(spool->repair(damaged));
    return spool;
}

LogSpool::LogSpool(SpoolOptions options, Context context, SpoolFiles files, Recovered recovered)
    : options_(std::move(options)),
      context_(context),
      superblock_(files.superblock),
      log_(std::move(files.log)),
      index_(std::make_shared<SpoolIndex>(log_path(options_.path), superblock_.region_count())),
      regions_(std::move(recovered.regions)),
      checkpointer_(context.disk, *log_, superblock_, recovered.checkpoint_generation),
      cleaner_({context.disk, *log_, superblock_}, *index_),
      recovered_(std::move(recovered.records)),
      damaged_(std::move(recovered.damaged)),
      opened_(context.clock.boot()),
      next_lsn_(recovered.next_lsn),
      durable_lsn_(Lsn{raw(recovered.next_lsn) - 1}),
      next_batch_(recovered.durable_through + 1),
      durable_through_(recovered.durable_through),
      epoch_(recovered.epoch),
      // What the last batch before the restart moved is not known here: assume anything.
      last_moved_(1),
      live_gauge_(&context.metrics.gauge("causeway_cache_bytes", {{"state", "live"}})),
      dead_gauge_(&context.metrics.gauge("causeway_cache_bytes", {{"state", "dead"}})),
      free_gauge_(&context.metrics.gauge("causeway_cache_bytes", {{"state", "free"}})),
      reserved_gauge_(&context.metrics.gauge("causeway_cache_bytes", {{"state", "reserved"}})),
      sync_seconds_(&context.metrics.histogram("causeway_cache_sync_seconds", sync_bounds())),
      moved_total_(&context.metrics.counter("causeway_cache_moved_bytes_total")) {
    for (const RecoveredRecord& record : recovered_) {
        index_->insert(record.lsn, record.place);
    }
    for (auto& [key, view] : recovered.streams) {
        streams_.restore(key, std::move(view));
    }
    for (const DamagedRange& range : damaged_) {
        note_loss(range);
    }
}

LogSpool::~LogSpool() {
    const auto outstanding = [&] {
        return checkpointer_.busy() || cleaner_.busy() ||
               std::ranges::any_of(in_flight_, [](const auto& batch) { return !batch->done(); });
    };
    while (outstanding() && context_.disk.in_flight() > 0) {
        if (context_.disk.poll() == 0) {
            context_.disk.wait(pump_ns);
        }
    }
    for (const Errc code : {Errc::spool_full, Errc::spool_slow}) {
        context_.conditions.clear(code, subject);
    }
}

Result<void> LogSpool::confirm_recovery() {
    CW_CRASH_POINT("cache.recovery.before_confirm");
    choose_next();
    start_checkpoint();
    wait_for_checkpoint();
    CW_CRASH_POINT("cache.recovery.after_confirm");
    return failed_ ? Result<void>(std::unexpected(*failed_)) : Result<void>();
}

Result<void> LogSpool::repair(const std::array<bool, 2>& superblock_damaged) {
    return repair_superblocks(context_.disk, *log_, superblock_, superblock_damaged);
}

void LogSpool::wait_for_checkpoint() {
    while (checkpoint_running_ && checkpointer_.busy()) {
        if (context_.disk.poll() == 0) {
            context_.disk.wait(pump_ns);
        }
    }
    if (checkpoint_running_) {
        finish_checkpoint();
    }
}

std::optional<StoredRecord> LogSpool::next_recovered() {
    while (recovered_next_ < recovered_.size()) {
        const RecoveredRecord& found = recovered_[recovered_next_++];
        StoredRecord out;
        out.lsn = found.lsn;
        out.record.header = found.header;
        out.record.received = opened_;
        if (found.header.data_bytes > 0 || found.header.table_bytes == 0) {
            return out;
        }
        // A record without data counts as complete, so its table comes along.
        out.record.table = pipeline::TableBuffer(found.header.table_bytes);
        const auto got =
            read_at(context_.disk, *log_, found.place.table_offset, out.record.table.bytes());
        if (got && *got == found.header.table_bytes &&
            check_table(found.header, out.record.table.bytes())) {
            return out;
        }
        damaged_.push_back({found.header.key, Seq{}, Seq{}, "unreadable after recovery"});
        note_loss(damaged_.back());
        release(found.lsn);
    }
    recovered_.clear();
    recovered_.shrink_to_fit();
    recovered_next_ = 0;
    return std::nullopt;
}

void LogSpool::settle_stream(const StreamKey& key, Seq committed, Seq open_fence) {
    table_changed_ = streams_.settle(key, committed, open_fence) || table_changed_;
}

void LogSpool::take_again(const StreamKey& key, Seq durable) {
    table_changed_ = streams_.take_again(key, durable) || table_changed_;
}

void LogSpool::forget_stream(const StreamKey& key) {
    streams_.forget(key);
    if (unrepaired_.contains(key)) {
        end_loss(key);
    }
    table_changed_ = true;
}

std::uint64_t LogSpool::capacity() const noexcept {
    return superblock_.size_bytes - superblock_.region_bytes;
}

std::uint64_t LogSpool::room() const {
    const auto floor =
        static_cast<std::uint64_t>(static_cast<double>(capacity()) * options_.throttle_free);
    const std::uint64_t left = writable();
    return left - std::min(left, floor);
}

std::uint64_t LogSpool::writable() const {
    const std::uint64_t left = regions_.writable_bytes(reserve_regions);
    return left - std::min(left, pending_bytes_);
}

bool LogSpool::space_for(std::uint64_t bytes, std::uint64_t reserved_after) const {
    return bytes + reserved_after <= room();
}

std::uint64_t LogSpool::little() const noexcept {
    return std::min(superblock_.region_bytes, capacity() / 50);
}

void LogSpool::say_full() {
    if (!full_) {
        full_ = true;
        const SpoolUsage now = usage();
        const std::uint64_t left = now.room - std::min(now.room, now.reserved);
        context_.conditions.raise(
            Errc::spool_full, subject,
            std::to_string(left / mib) + " MiB left to promise: of " +
                std::to_string(now.capacity / mib) + " MiB " + std::to_string(now.free / mib) +
                " are free, of these " + std::to_string(now.reserved / mib) +
                " promised to agents and the rest kept back (cache.throttle_free)");
    }
}

bool LogSpool::reserve(std::uint64_t bytes) {
    if (failed_ || closed_) {
        return false;
    }
    if (!space_for(bytes, reserved_)) {
        say_full();
        return false;
    }
    reserved_ += bytes;
    return true;
}

void LogSpool::unreserve(std::uint64_t bytes) {
    reserved_ -= std::min(reserved_, bytes);
}

SpoolUsage LogSpool::usage() const {
    const std::uint64_t live = regions_.live_bytes(), used = regions_.used_bytes();
    return {.capacity = capacity(),
            .live = live,
            .dead = used > live ? used - live : 0,
            .free = regions_.writable_bytes(0),
            .reserved = reserved_,
            .room = room()};
}

void LogSpool::release(Lsn lsn) {
    if (const auto place = index_->erase(lsn)) {
        regions_.drop_live(place->region, place->footprint());
    }
}

void LogSpool::note_loss(const DamagedRange& range) {
    Seq& last = unrepaired_[range.key];
    last = std::max(last, range.last);
    table_changed_ = true;
    log_warning("cache.damaged", {{"machine", range.key.machine},
                                  {"disk", range.key.disk},
                                  {"first", range.first},
                                  {"last", range.last},
                                  {"evidence", range.evidence}});
    context_.conditions.raise(Errc::spool_lost_durable, loss_subject(range.key), range.evidence);
}

void LogSpool::end_loss(const StreamKey& key) {
    unrepaired_.erase(key);
    table_changed_ = true;
    const bool other = std::ranges::any_of(
        unrepaired_, [&](const auto& lost) { return lost.first.disk == key.disk; });
    if (!other) {
        context_.conditions.clear(Errc::spool_lost_durable, loss_subject(key));
    }
}

void LogSpool::watch_losses() {
    // Shown for a while even when nothing needed repair.
    if (unrepaired_.empty() || context_.clock.boot() - opened_ < loss_shown_ns) {
        return;
    }
    const Losses all = unrepaired_;
    for (const auto& [key, last] : all) {
        const Stream* const stream = streams_.find(key);
        const bool repaired = stream != nullptr && stream->durable.seq >= last;
        // A newer history begins with all of the disk. Nobody forgets one that was lost whole.
        const auto newer = streams_.all().upper_bound(key);
        const bool replaced = newer != streams_.all().end() &&
                              newer->first.machine == key.machine && newer->first.disk == key.disk;
        if (raw(last) == 0 || repaired || replaced) {
            end_loss(key);
        }
    }
}

void LogSpool::watch() {
    const Nanos now = context_.clock.boot();
    if (!in_flight_.empty() && now - in_flight_.front()->started() > options_.slow_sync_ns) {
        slow_until_ = now + slow_hold_ns;
        if (!slow_) {
            slow_ = true;
            context_.conditions.raise(Errc::spool_slow, subject,
                                      "a sync takes longer than " +
                                          std::to_string(options_.slow_sync_ns / ns_per_ms) +
                                          " ms");
        }
    } else if (slow_ && now >= slow_until_) {
        slow_ = false;
        context_.conditions.clear(Errc::spool_slow, subject);
    }
    // Some room beyond the limit, or the condition would flap.
    if (full_ && space_for(little() + little() / 2, reserved_)) {
        full_ = false;
        context_.conditions.clear(Errc::spool_full, subject);
    }
    if (now < next_gauges_) {
        return;
    }
    // Agents stop for want of credit before anything has to be refused: that is full all the same.
    if (!space_for(little(), reserved_)) {
        say_full();
    }
    next_gauges_ = now + gauge_period_ns;
    watch_losses();
    const SpoolUsage use = usage();
    live_gauge_->set(static_cast<double>(use.live));
    dead_gauge_->set(static_cast<double>(use.dead));
    free_gauge_->set(static_cast<double>(use.free));
    reserved_gauge_->set(static_cast<double>(use.reserved));
}

void LogSpool::fail_with(const Error& error) {
    if (!failed_) {
        failed_ = error;
        context_.conditions.raise(Errc::io_error, subject, error.detail);
    }
}

bool LogSpool::idle() const {
    return pending_.empty() && moving_.empty() && in_flight_.empty();
}

Result<void> LogSpool::close() {
    closed_ = true;
    while (!failed_) {
        submit(std::numeric_limits<std::size_t>::max());
        checkpoint_if_due();
        if (in_flight_.empty() && !checkpoint_running_) {
            break;  // What is pending now has no room; it was never acknowledged.
        }
        if (context_.disk.poll() == 0) {
            context_.disk.wait(pump_ns);
        }
        reap();
    }
    if (!failed_) {
        CW_CRASH_POINT("cache.close.before_checkpoint");
        start_checkpoint();
        wait_for_checkpoint();
    }
    return failed_ ? Result<void>(std::unexpected(*failed_)) : Result<void>();
}

}  // namespace cw::cache
