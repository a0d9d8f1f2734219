// What a spool does beside writing: checkpoints, and making sealed regions free again.
#include "base/crash_point.h"
#include "base/log.h"
#include "cache/log_spool.h"

#include <algorithm>
#include <limits>

namespace cw::cache {
namespace {

// When nothing is written any more, the durable mark is put down after this long.
constexpr std::int64_t mark_delay_ns = ns_per_s;

}  // namespace

bool LogSpool::mark_waits() const {
    return in_flight_.empty() && (checkpointed_through_ < durable_through_ || table_changed_);
}

bool LogSpool::checkpoint_due() const {
    return (regions_.next() && !next_named_) ||
           (mark_waits() && context_.clock.boot() - last_checkpoint_ >= mark_delay_ns);
}

bool LogSpool::checkpoint_if_due() {
    if (checkpoint_running_) {
        if (checkpointer_.busy()) {
            return false;
        }
        finish_checkpoint();
        return true;
    }
    choose_next();
    if (!checkpoint_due()) {
        return false;
    }
    start_checkpoint();
    return true;
}

void LogSpool::choose_next() {
    if (regions_.next() || regions_.free_count() == 0) {
        return;
    }
    // A region that somebody still reads from must keep its content.
    const auto region = regions_.pick_free([&](auto r) { return !index_->pinned(r); });
    if (region) {
        regions_.make_next(*region, ++epoch_);
    }
}

void LogSpool::start_checkpoint() {
    Checkpoint checkpoint{.spool = superblock_.id,
                          .generation = 0,
                          .durable_through = durable_through_,
                          .next_batch = next_batch_,
                          .epoch = epoch_,
                          .next_lsn = next_lsn_,
                          .released_below = Lsn{raw(durable_lsn_) + 1},
                          .regions = regions_.entries(),
                          .streams = {},
                          .losses = unrepaired_};
    if (const auto oldest = index_->oldest()) {
        checkpoint.released_below = std::min(checkpoint.released_below, *oldest);
    }
    for (const auto& [key, stream] : streams_.all()) {
        checkpoint.streams.emplace(key, stream.durable);
    }
    checkpoint_through_ = durable_through_;
    checkpoint_names_next_ = regions_.next().has_value();
    checkpoint_running_ = true;
    table_changed_ = false;
    CW_CRASH_POINT("cache.before_checkpoint");
    if (const auto started = checkpointer_.start(std::move(checkpoint)); !started) {
        checkpoint_running_ = false;
        fail_with(started.error());
    }
}

void LogSpool::finish_checkpoint() {
    checkpoint_running_ = false;
    if (const auto result = checkpointer_.finish(); !result) {
        fail_with(result.error());
        return;
    }
    CW_CRASH_POINT("cache.after_checkpoint");
    checkpointed_through_ = checkpoint_through_;
    // No other region can have become the next meanwhile: that needs this one to be used first.
    next_named_ = next_named_ || (checkpoint_names_next_ && regions_.next());
    last_checkpoint_ = context_.clock.boot();
}

void LogSpool::start_cleaning() {
    const std::uint32_t ready = regions_.ready();
    const std::uint32_t low = std::max(reserve_regions + 2, regions_.count() / 8);
    if (ready == 0 || ready > low) {
        return;
    }
    // At most one byte moved per byte freed; three when there is hardly anything left.
    const unsigned quarters_max = ready <= reserve_regions ? 3 : 2;
    if (const auto victim = regions_.emptiest(quarters_max)) {
        cleaner_.start(*victim, regions_.at(*victim).entry.epoch);
    }
}

// Only a sealed region becomes free. With little room the open one may hold all there could be:
// dead bytes that nothing more will seal, because nothing more is taken.
void LogSpool::give_up_open() {
    if (!regions_.open() || !in_flight_.empty() || space_for(2 * little(), reserved_)) {
        return;
    }
    const RegionTable::Region& open = regions_.at(*regions_.open());
    if (open.used_bytes > 0 && open.live_bytes == 0) {
        regions_.seal_open(next_batch_, false);
    }
}

bool LogSpool::clean() {
    give_up_open();
    if (!cleaner_.active()) {
        start_cleaning();
        return cleaner_.active();
    }
    bool worked = false;
    while (moving_bytes_ < options_.batch_bytes_max) {
        std::optional<BatchItem> item = cleaner_.take();
        if (!item) {
            break;
        }
        moving_bytes_ += item->payload();
        moving_.push_back(std::move(*item));
        worked = true;
    }
    const bool moves_in_flight = std::ranges::any_of(
        in_flight_, [](const auto& batch) { return batch->lowest_moved() != 0; });
    if (cleaner_.exhausted() && moving_.empty() && !moves_in_flight) {
        RegionTable::Region& region = regions_.at(cleaner_.region());
        if (region.entry.state == RegionState::sealed && region.live_bytes > 0) {
            region.damaged = true;  // It stays until what is left in it is released.
            log_warning("cache.clean.unreadable", {{"region", cleaner_.region()},
                                                   {"records", cleaner_.unreadable()},
                                                   {"live_bytes", region.live_bytes}});
        }
        cleaner_.stop();
        worked = true;
    }
    return worked;
}

Nanos LogSpool::next_deadline() const {
    Nanos deadline{std::numeric_limits<std::int64_t>::max()};
    if (failed_ || closed_) {
        return deadline;
    }
    if (!in_flight_.empty() && !slow_) {
        deadline = std::min(deadline, in_flight_.front()->started() + options_.slow_sync_ns + 1);
    }
    if (slow_) {
        deadline = std::min(deadline, slow_until_);
    }
    if (mark_waits() && !checkpoint_running_) {
        deadline = std::min(deadline, last_checkpoint_ + mark_delay_ns);
    }
    return deadline;
}

}  // namespace cw::cache
