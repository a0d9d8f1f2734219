// What flows through the stage: rings, the spool's steps, and the end. Whose records are taken is
// decided in spool_stage_sessions.cc.
#include "cache/spool_stage.h"

#include <algorithm>
#include <limits>

namespace cw::cache {
namespace {

// At most this many recovered records wait for the upload side at once.
constexpr std::size_t recovered_ahead = 256;

}  // namespace

SpoolStage::SpoolStage(Spool& spool, Disk& disk, Clock& clock, SpoolStagePorts ports,
                       SpoolStageOptions options)
    : spool_(spool),
      disk_(disk),
      clock_(clock),
      ports_(std::move(ports)),
      options_(options),
      held_(ports_.records.size()),
      backlog_(*ports_.stored, options.resident_bytes_max) {
    CW_ASSERT(ports_.records.size() == ports_.spooled.size() && ports_.commands != nullptr &&
              ports_.opened != nullptr && ports_.releases != nullptr && ports_.stored != nullptr);
}

pipeline::Progress SpoolStage::step(std::size_t budget) {
    if (closed_) {
        return pipeline::Progress::drained;
    }
    bool worked = take_commands();
    worked |= take_releases();
    worked |= take_records(budget);
    const pipeline::Progress progress = spool_.step(budget);
    worked |= progress == pipeline::Progress::worked;
    worked |= deliver_recovered();
    worked |= take_durable();
    worked |= answer_some();
    worked |= flush();
    update_room();
    if (spool_.failed()) {
        failed_.store(true);
        return worked ? pipeline::Progress::worked : pipeline::Progress::blocked;
    }
    if (draining_.load(std::memory_order_relaxed) && !worked && finish_drain()) {
        return pipeline::Progress::drained;
    }
    if (worked) {
        return pipeline::Progress::worked;
    }
    return inputs_empty() && spool_.idle() ? pipeline::Progress::starved
                                           : pipeline::Progress::blocked;
}

bool SpoolStage::take_commands() {
    bool worked = forget_machines();
    SpoolCommand command;
    while (ports_.commands->try_pop(command)) {
        forget_machines();  // A session that began after that is not meant.
        std::visit([&](const auto& what) { on(what); }, command);
        worked = true;
    }
    return worked;
}

bool SpoolStage::take_releases() {
    bool worked = false;
    pipeline::Release release;
    while (ports_.releases->try_pop(release)) {
        for (const Lsn lsn : release.lsns) {
            spool_.release(lsn);
        }
        worked = true;
    }
    return worked;
}

bool SpoolStage::take_records(std::size_t budget) {
    bool worked = false;
    for (std::uint32_t reactor = 0; reactor < held_.size() && !spool_.failed(); ++reactor) {
        for (std::size_t i = 0; i < budget; ++i) {
            std::optional<Record>& held = held_[reactor];
            if (!held) {
                Record record;
                if (!ports_.records[reactor]->try_pop(record)) {
                    break;
                }
                held.emplace(std::move(record));
                // Settled before it was sent, so visible now, if not before.
                take_commands();
            }
            if (!offer(reactor, *held)) {
                break;
            }
            held.reset();
            worked = true;
        }
    }
    return worked;
}

bool SpoolStage::deliver_recovered() {
    bool worked = false;
    while (!recovered_read_ && backlog_.size() < recovered_ahead) {
        auto stored = spool_.next_recovered();
        if (!stored) {
            recovered_read_ = true;
            break;
        }
        remember_recovered(stored->record);
        backlog_.add(std::move(*stored));
        worked = true;
    }
    if (recovered_read_ && !delivered_.load() && backlog_.empty()) {
        delivered_.store(true);
    }
    return worked;
}

bool SpoolStage::take_durable() {
    bool worked = false;
    while (recovered_read_) {  // What was there before the restart goes first.
        auto stored = spool_.take_durable();
        if (!stored) {
            break;
        }
        tell_durable(*stored);
        backlog_.add(std::move(*stored));
        worked = true;
    }
    return worked;
}

bool SpoolStage::flush() {
    bool worked = notes_.flush(ports_.spooled, [&](std::uint32_t reactor) {
        if (ports_.wake_reactor) {
            ports_.wake_reactor(reactor);
        }
    });
    if (backlog_.flush()) {
        worked = true;
        if (ports_.wake_stored) {
            ports_.wake_stored();
        }
    }
    bool answered = false;
    while (!answers_.empty() && ports_.opened->try_push(answers_.front())) {
        answers_.pop_front();
        answered = true;
    }
    if (answered && ports_.wake_control) {
        ports_.wake_control();
    }
    const bool some_left = waits_for_others();
    const Nanos now = clock_.boot();
    if (worked || answered || !some_left) {
        retry_ns_ = retry_min_ns;
        retry_at_ = now + retry_ns_;
    } else if (now >= retry_at_) {
        retry_ns_ = std::min(2 * retry_ns_, retry_max_ns);
        retry_at_ = now + retry_ns_;
    }
    return worked || answered;
}

bool SpoolStage::waits_for_others() const {
    return !notes_.empty() || !backlog_.empty() || !answers_.empty();
}

void SpoolStage::update_room() {
    const SpoolUsage usage = spool_.usage();
    if (usage.room != room_told_ && ports_.set_room) {
        room_told_ = usage.room;
        ports_.set_room(usage.room);
    }
    const std::lock_guard lock(shared_mutex_);
    usage_ = usage;
}

SpoolUsage SpoolStage::usage() const {
    const std::lock_guard lock(shared_mutex_);
    return usage_;
}

bool SpoolStage::inputs_empty() const {
    return ports_.commands->empty() && ports_.releases->empty() &&
           std::ranges::none_of(held_, [](const auto& held) { return held.has_value(); }) &&
           std::ranges::all_of(ports_.records, [](const auto* ring) { return ring->empty(); });
}

bool SpoolStage::finish_drain() {
    // Records that found no room were not acknowledged; their agents keep them. Those that the
    // spool has taken find none either when nothing is on its way to the device.
    const bool taken =
        std::ranges::all_of(ports_.records, [](const auto* ring) { return ring->empty(); });
    const bool stuck =
        std::ranges::any_of(held_, [](const auto& held) { return held.has_value(); });
    const bool settled = spool_.idle() || disk_.in_flight() == 0;
    if (!settled || !notes_.empty() || !(taken || stuck)) {
        return false;
    }
    if (const auto closed = spool_.close(); !closed) {
        failed_.store(true);
    }
    closed_ = true;
    return true;
}

Nanos SpoolStage::next_deadline() const {
    if (closed_) {
        return Nanos{std::numeric_limits<std::int64_t>::max()};
    }
    const Nanos spool = spool_.next_deadline();
    if (!questions_.empty() || draining_.load(std::memory_order_relaxed)) {
        return std::min(spool, clock_.boot() + retry_min_ns);
    }
    return waits_for_others() ? std::min(spool, retry_at_) : spool;
}

}  // namespace cw::cache
