#include "tests/sim/door.h"

#include <algorithm>

namespace cw::sim {
namespace {

constexpr std::int64_t tick_ns = 500 * ns_per_ms, retry_ns = 2 * ns_per_ms;
constexpr std::size_t turn_bytes = 1 * mib;

pipeline::Committed taken_for_committed(const pipeline::Spooled& spooled) {
    pipeline::Committed out{.machine = spooled.key.machine, .disks = {}, .points = {}};
    if (!spooled.key.disk.is_nil()) {
        out.disks.push_back({.disk = spooled.key.disk,
                             .generation = spooled.key.generation,
                             .committed = spooled.durable,
                             .fence = spooled.fence,
                             .base_ordinals = spooled.base_ordinals});
    }
    return out;
}

template <typename T>
bool push_all(std::deque<T>& items, pipeline::Ring<T>& ring) {
    bool pushed = false;
    while (!items.empty() && ring.try_push(items.front())) {
        items.pop_front();
        pushed = true;
    }
    return pushed;
}

}  // namespace

Door::Door(Context context) : context_(std::move(context)), next_tick_(context_.clock.boot()) {}

Door::~Door() {
    // The process dies: its sessions' memory goes, nobody is told.
    for (auto& entry : connections_) {
        entry.second.wire->server_gone = true;
        entry.second.wire->agent_told = !entry.second.wire->down.silent;
    }
}

void Door::accept(std::shared_ptr<Wire> wire, const MachineId& machine) {
    const std::uint64_t token = next_token_++;
    Connection& made = connections_[token];
    made.wire = std::move(wire);
    made.session = std::make_unique<ingest::Session>(
        ingest::Session::Context{.clock = context_.clock,
                                 .table = context_.table,
                                 .credit = context_.credit,
                                 .metrics = context_.metrics,
                                 .authorise = anybody_,
                                 .limits = limits_,
                                 .reactor = 0,
                                 .has_digests = context_.has_digests},
        Identity{Role::machine, machine.bytes}, "simulated", token);
    made.reader = std::make_unique<ingest::FrameReader>(context_.pool);
    made.last_byte = context_.clock.boot();
}

Nanos Door::bytes_due() const {
    Nanos soonest{INT64_MAX};
    for (const auto& [token, connection] : connections_) {
        if (connection.stuck) {
            continue;  // Looked at again when the next tick is due.
        }
        if (connection.session->ready() || connection.wire->up.in_flight() == 0) {
            soonest = std::min(soonest, connection.wire->up.next_due());
        }
        if (connection.wire->server_told && connection.wire->up.in_flight() == 0) {
            soonest = Nanos{0};
        }
    }
    return soonest;
}

template <typename Notice>
void Door::tell(const MachineId& machine, const Notice& apply) {
    const auto at = by_machine_.find(machine);
    if (at != by_machine_.end()) {
        apply(*connections_.at(at->second).session);
    }
}

bool Door::drain_inbound() {
    bool any = false;
    pipeline::MachineOpened opened;
    while (context_.rings.opened.try_pop(opened)) {
        any = true;
        context_.saw_opened(opened);
        const auto at = connections_.find(opened.token);
        if (at != connections_.end()) {
            at->second.session->on_opened(std::move(opened));
        }
    }
    pipeline::Spooled spooled;
    while (context_.rings.spooled.try_pop(spooled)) {
        any = true;
        context_.saw_spooled(spooled);
        tell(spooled.key.machine, [&](ingest::Session& s) { s.on_spooled(spooled); });
        if (context_.spooled_is_committed) {
            tell(spooled.key.machine,
                 [&](ingest::Session& s) { s.on_committed(taken_for_committed(spooled)); });
        }
    }
    pipeline::Committed committed;
    while (context_.rings.committed.try_pop(committed)) {
        any = true;
        tell(committed.machine, [&](ingest::Session& s) { s.on_committed(committed); });
    }
    ingest::DigestReply digests;
    while (context_.rings.digest_replies.try_pop(digests)) {
        any = true;
        const MachineId machine = digests.machine;
        const SessionId session = digests.session;
        bool heard = false;
        tell(machine, [&](ingest::Session& s) {
            heard = s.id() == session;
            s.on_digests(std::move(digests));
        });
        if (!heard) {
            context_.saw_stale_digests();
        }
    }
    return any;
}

bool Door::deliver(ingest::Session& session) {
    ingest::Session::Outbox& box = session.outbox();
    if (box.open && context_.rings.opens.try_push(*box.open)) {
        box.open.reset();
        by_machine_[session.machine()] = session.token();
        context_.wake_admission();
    }
    if (push_all(box.notices, context_.rings.notices)) {
        context_.wake_admission();
    }
    if (push_all(box.digests, context_.rings.digests)) {
        context_.wake_admission();
    }
    if (box.record && context_.rings.records.try_push(*box.record)) {
        box.record.reset();
        context_.wake_spool();
    }
    return !box.record;
}

ingest::Session& Door::listener_of(ingest::Session& session, ingest::InFrame& frame) {
    const auto newest = by_machine_.find(session.machine());
    if (!context_.trust_stale || newest == by_machine_.end() || newest->second == session.token()) {
        return session;
    }
    ingest::Session& heir = *connections_.at(newest->second).session;
    if (!heir.ready() || !heir.live() || !heir.check_header(frame.header)) {
        return session;
    }
    frame.header.session = heir.id();
    context_.took_stale();
    return heir;
}

// As Connection::read_frames and write_output.
bool Door::turn(Connection& connection) {
    ingest::Session& session = *connection.session;
    Wire& wire = *connection.wire;
    bool worked = false;
    std::size_t budget = turn_bytes;
    bool delivered = deliver(session), no_slab = false;
    while (delivered && session.ready() && budget > 0) {
        ingest::FrameReader& reader = *connection.reader;
        if (reader.complete()) {
            connection.header_checked = false;
            ingest::InFrame frame = reader.take();
            ingest::Session& listener = listener_of(session, frame);
            listener.on_frame(std::move(frame));
            delivered = deliver(listener);
            worked = true;
            continue;
        }
        const MutableBytes target = reader.target();
        if (target.empty()) {
            no_slab = true;
            break;
        }
        const std::size_t got =
            context_.network.receive(wire.up, target.first(std::min(target.size(), budget)));
        if (got == 0) {
            break;
        }
        worked = true;
        connection.last_byte = context_.clock.boot();
        budget -= got;
        Result<void> sound = reader.filled(got);
        if (sound && reader.header() && !connection.header_checked) {
            connection.header_checked = true;
            sound = session.check_header(*reader.header());
        }
        if (!sound) {
            session.on_error(sound.error());
        }
    }
    session.flush();
    if (!session.output().empty()) {
        context_.network.send(wire.down, session.output());
        session.output().clear();
        worked = true;
    }
    const ingest::Session::Outbox& box = session.outbox();
    connection.stuck = no_slab || box.record || box.open || !box.digests.empty();
    return worked;
}

void Door::close(std::uint64_t token) {
    Connection& connection = connections_.at(token);
    connection.session->on_lost();
    for (ingest::AgentNotice& notice : connection.session->outbox().notices) {
        notices_.push_back(std::move(notice));
    }
    const auto newest = by_machine_.find(connection.session->machine());
    if (newest != by_machine_.end() && newest->second == token) {
        by_machine_.erase(newest);
    }
    connection.wire->server_gone = true;
    connection.wire->agent_told |= !connection.wire->down.silent;
    connections_.erase(token);
}

bool Door::flush_notices() {
    if (!push_all(notices_, context_.rings.notices)) {
        return false;
    }
    context_.wake_admission();
    return true;
}

pipeline::Progress Door::step(std::size_t) {
    const Nanos now = context_.clock.boot();
    bool worked = drain_inbound();
    const bool ticks = now >= next_tick_;
    bool stuck = false;
    std::vector<std::uint64_t> tokens, ended;
    for (const auto& entry : connections_) {
        tokens.push_back(entry.first);
    }
    for (const std::uint64_t token : tokens) {
        Connection& connection = connections_.at(token);
        if (ticks) {
            connection.session->on_tick(connection.last_byte);
        }
        worked |= turn(connection);
        stuck |= connection.stuck;
        const Wire& wire = *connection.wire;
        const bool lost = wire.server_told && wire.up.in_flight() == 0;
        if (lost || connection.session->closing()) {
            ended.push_back(token);
        }
    }
    for (const std::uint64_t token : ended) {
        close(token);
        worked = true;
    }
    worked |= flush_notices();
    if (ticks || stuck || !notices_.empty()) {
        next_tick_ = now + (stuck || !notices_.empty() ? retry_ns : tick_ns);
    }
    return worked ? pipeline::Progress::worked : pipeline::Progress::starved;
}

std::uint64_t Door::unused_credit() const {
    std::uint64_t sum = 0;
    for (const auto& entry : connections_) {
        sum += entry.second.session->credit().available();
    }
    return sum;
}

bool Door::quiet() const {
    return std::ranges::all_of(connections_, [](const auto& entry) {
        return entry.second.session->credit().in_flight() == 0 &&
               entry.second.reader->between_frames();
    });
}

}  // namespace cw::sim
