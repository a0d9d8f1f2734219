#include "cache/spool_stage.h"

#include "base/log.h"
#include "cache/spool_format.h"

#include <algorithm>
#include <limits>

namespace cw::cache {
namespace {

// A full ring has no bell of its own: look again soon.
constexpr std::int64_t retry_ns = 2 * ns_per_ms;
// At most this many recovered records wait for the upload side at once.
constexpr std::size_t recovered_ahead = 256;

std::optional<pipeline::Point> point_of(const Record& record) {
    auto point = pipeline::decode_point(record.table.bytes());
    return point ? std::optional(std::move(*point)) : std::nullopt;
}

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
    bool worked = false;
    SpoolCommand command;
    while (ports_.commands->try_pop(command)) {
        std::visit([&](const auto& what) { on(what); }, command);
        worked = true;
    }
    return worked;
}

void SpoolStage::on(const OpenStreams& command) {
    Machine& machine = machines_[command.machine];
    take_back(command.machine, machine);
    machine.session = command.session;
    machine.reactor = command.reactor;
    std::erase_if(questions_, [&](const OpenStreams& older) {
        return older.machine == command.machine;  // Its session is over.
    });
    questions_.push_back(command);
}

// The session that sent these is over. In a full cache they might wait for room for ever, and the
// new session with them.
void SpoolStage::take_back(const MachineId& id, Machine& machine) {
    for (const Record& record : spool_.withdraw(id)) {
        account(machine.reactor, record);
        if (record.header.type != RecordType::point) {
            continue;
        }
        if (const auto point = point_of(record)) {  // It will come again.
            std::erase_if(machine.points, [&](const SeenPoint& seen) {
                return seen.id == point->id && !seen.durable;
            });
        }
    }
}

// What an older session left on its way to the device is part of what the new one is told of: a
// copy of the machine would take for its own what ends where both have been.
bool SpoolStage::answer(const OpenStreams& question) {
    StreamsOpened answer{.machine = question.machine,
                         .session = question.session,
                         .reactor = question.reactor,
                         .token = question.token,
                         .streams = {}};
    const auto& all = spool_.stream_table().all();
    const StreamKey first{.machine = question.machine, .disk = {}, .generation = {}};
    for (auto it = all.lower_bound(first); it != all.end() && it->first.machine == question.machine;
         ++it) {
        const Stream& stream = it->second;
        if (stream.durable.seq < stream.appended.seq) {
            return false;
        }
        answer.streams.push_back(spool_.stream_table().state(it->first));
    }
    answers_.push_back(std::move(answer));
    return true;
}

bool SpoolStage::answer_some() {
    return std::erase_if(questions_,
                         [this](const OpenStreams& question) { return answer(question); }) > 0;
}

void SpoolStage::on(const SettleStreams& command) {
    for (const SettleStreams::Entry& entry : command.streams) {
        spool_.settle_stream(entry.key, entry.committed, entry.open_fence);
    }
}

void SpoolStage::on(const CloseStreams& command) {
    const auto it = machines_.find(command.machine);
    if (it != machines_.end() && it->second.session == command.session) {
        it->second.session = SessionId{};
    }
}

void SpoolStage::on(const ForgetStreams& command) {
    for (const StreamKey& key : command.keys) {
        spool_.forget_stream(key);
    }
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

pipeline::Spooled& SpoolStage::account(std::uint32_t reactor, const Record& record) {
    const std::uint64_t bytes = payload_bytes(record.header);
    pipeline::Spooled& note = notes_.note(reactor, record.header.key, record.header.session);
    note.bytes += bytes;
    return note;
}

bool SpoolStage::offer(std::uint32_t reactor, Record& record) {
    const std::uint64_t bytes = payload_bytes(record.header);
    const auto known = machines_.find(record.header.key.machine);
    const bool current = known != machines_.end() && raw(record.header.session) != 0 &&
                         known->second.session == record.header.session;
    if (!current) {
        account(reactor, record);
    } else if (!drop_needless(reactor, record, known->second)) {
        std::optional<pipeline::Point> point;
        if (record.header.type == RecordType::point) {
            point = point_of(record);
        }
        if (!spool_.append(record)) {
            return false;
        }
        if (point) {
            remember_point(known->second, point->id, false);
        }
    }
    if (ports_.payload_taken) {
        ports_.payload_taken(bytes);
    }
    return true;
}

bool SpoolStage::drop_needless(std::uint32_t reactor, const Record& record,
                               const Machine& machine) {
    const RecordHeader& header = record.header;
    if (header.type == RecordType::point) {
        const auto point = point_of(record);
        if (!point) {
            log_warning("cache.point.malformed", {{"machine", header.key.machine}});
            account(reactor, record);
            return true;
        }
        return drop_point(reactor, record, machine, *point);
    }
    if (header.type == RecordType::point_result) {
        return false;
    }
    const Stream* stream = spool_.stream_table().find(header.key);
    const Arrival arrival =
        stream == nullptr ? Arrival::stale : spool_.stream_table().check(header);
    if (arrival == Arrival::accept) {
        return false;
    }
    pipeline::Spooled& note = account(reactor, record);
    if (stream == nullptr) {
        return true;
    }
    note.durable = stream->durable.seq;
    if (arrival == Arrival::gap) {
        note.expected = next(stream->appended.seq);
    } else if (arrival == Arrival::duplicate && header.type == RecordType::base &&
               stream->durable.ordinals.contains(header.ordinal)) {
        note.fence = header.seq;
        note.base_ordinals.push_back(header.ordinal);
    } else if (arrival == Arrival::malformed) {
        log_warning("cache.record.malformed",
                    {{"machine", header.key.machine}, {"disk", header.key.disk}});
    }
    return true;
}

bool SpoolStage::cuts_fit(MachineId machine, const pipeline::Point& point) const {
    return std::ranges::all_of(point.cuts, [&](const pipeline::DiskCut& cut) {
        const Stream* stream = spool_.stream_table().find({machine, cut.disk, cut.generation});
        return stream != nullptr && stream->appended.seq == cut.cut;
    });
}

bool SpoolStage::drop_point(std::uint32_t reactor, const Record& record, const Machine& machine,
                            const pipeline::Point& point) {
    const auto seen = std::ranges::find(machine.points, point.id, &SeenPoint::id);
    if (seen != machine.points.end()) {
        pipeline::Spooled& note = account(reactor, record);
        if (seen->durable) {
            note.points.push_back(point.id);
        }
        return true;
    }
    if (cuts_fit(record.header.key.machine, point)) {
        return false;
    }
    // A barrier that is not where the log stands would be a wrong point. Behind a gap it comes
    // again with what was missing.
    log_info("cache.point.misplaced",
             {{"machine", record.header.key.machine}, {"point", point.id}});
    account(reactor, record);
    return true;
}

void SpoolStage::remember_point(Machine& machine, const PointId& id, bool durable) {
    const auto seen = std::ranges::find(machine.points, id, &SeenPoint::id);
    if (seen != machine.points.end()) {
        seen->durable = seen->durable || durable;
        return;
    }
    machine.points.push_back({id, durable});
    if (machine.points.size() > options_.points_remembered) {
        machine.points.pop_front();
    }
}

bool SpoolStage::deliver_recovered() {
    bool worked = false;
    while (!recovered_read_ && backlog_.size() < recovered_ahead) {
        auto stored = spool_.next_recovered();
        if (!stored) {
            recovered_read_ = true;
            break;
        }
        if (stored->record.header.type == RecordType::point) {
            if (const auto point = point_of(stored->record)) {
                remember_point(machines_[stored->record.header.key.machine], point->id, true);
            }
        }
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

void SpoolStage::tell_durable(const StoredRecord& stored) {
    const RecordHeader& header = stored.record.header;
    const auto known = machines_.find(header.key.machine);
    if (known == machines_.end()) {
        return;
    }
    pipeline::Spooled& note = account(known->second.reactor, stored.record);
    if (header.type == RecordType::point) {
        if (const auto point = point_of(stored.record)) {
            remember_point(known->second, point->id, true);
            note.points.push_back(point->id);
        }
        return;
    }
    if (const Stream* stream = spool_.stream_table().find(header.key)) {
        note.durable = stream->durable.seq;
    }
    if (header.type == RecordType::base) {
        if (note.fence != header.seq) {
            note.fence = header.seq;
            note.base_ordinals.clear();
        }
        note.base_ordinals.push_back(header.ordinal);
    }
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
    return worked || answered;
}

void SpoolStage::update_room() {
    const SpoolUsage usage = spool_.usage();
    if (usage.room != room_told_ && ports_.set_room) {
        room_told_ = usage.room;
        ports_.set_room(usage.room);
    }
    const std::lock_guard lock(usage_mutex_);
    usage_ = usage;
}

SpoolUsage SpoolStage::usage() const {
    const std::lock_guard lock(usage_mutex_);
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
    const bool waiting = !notes_.empty() || !backlog_.empty() || !answers_.empty() ||
                         !questions_.empty() || draining_.load(std::memory_order_relaxed);
    const Nanos spool = spool_.next_deadline();
    return waiting ? std::min(spool, clock_.boot() + retry_ns) : spool;
}

}  // namespace cw::cache
