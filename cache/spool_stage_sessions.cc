// Whose records are taken, and what the machines are told: sessions and their answers, what is
// dropped of what they send, points that come again.
#include "base/log.h"
#include "cache/spool_format.h"
#include "cache/spool_stage.h"

#include <algorithm>
#include <set>

namespace cw::cache {
namespace {

std::optional<pipeline::Point> point_of(const Record& record) {
    auto point = pipeline::decode_point(record.table.bytes());
    return point ? std::optional(std::move(*point)) : std::nullopt;
}

}  // namespace

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
    if (spool_.failed() || spool_.on_its_way(question.machine)) {
        return false;
    }
    StreamsOpened answer{.machine = question.machine,
                         .session = question.session,
                         .reactor = question.reactor,
                         .token = question.token,
                         .streams = {}};
    const auto& all = spool_.stream_table().all();
    const StreamKey first{.machine = question.machine, .disk = {}, .generation = {}};
    for (auto it = all.lower_bound(first); it != all.end() && it->first.machine == question.machine;
         ++it) {
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
        if (entry.sent_again_after) {
            spool_.take_again(entry.key, *entry.sent_again_after);
        }
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

void SpoolStage::forget_machine(const MachineId& machine) {
    const std::lock_guard lock(shared_mutex_);
    to_forget_.push_back(machine);
}

bool SpoolStage::forget_machines() {
    std::vector<MachineId> machines;
    {
        const std::lock_guard lock(shared_mutex_);
        machines.swap(to_forget_);
    }
    for (const MachineId& id : machines) {
        if (const auto known = machines_.find(id); known != machines_.end()) {
            take_back(id, known->second);
            known->second = Machine{};
        }
        // Of a history that was lost whole no stream is left.
        std::set<StreamKey> keys;
        for (const auto& [key, stream] : spool_.stream_table().all()) {
            keys.insert(key);
        }
        for (const DamagedRange& range : spool_.damaged()) {
            keys.insert(range.key);
        }
        for (const StreamKey& key : keys) {
            if (key.machine == id) {
                spool_.forget_stream(key);
            }
        }
    }
    return !machines.empty();
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
    } else if (arrival == Arrival::stale) {
        note.refused_fence = header.seq;
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

void SpoolStage::remember_recovered(const Record& record) {
    if (record.header.type != RecordType::point) {
        return;
    }
    if (const auto point = point_of(record)) {
        remember_point(machines_[record.header.key.machine], point->id, true);
    }
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

}  // namespace cw::cache
