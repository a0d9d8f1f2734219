#include "ingest/reactor.h"

#include "base/assert.h"
#include "base/log.h"
#include "pipeline/thread_cpu.h"

#include <algorithm>
#include <array>
#include <csignal>

#include <pthread.h>
#include <unistd.h>

namespace cw::ingest {
namespace {

constexpr std::size_t turn_bytes = 1 * mib, turns_per_round = 64, notices_per_round = 1024;
constexpr std::int64_t tick_ns = 250 * ns_per_ms, retry_ns = 2 * ns_per_ms;

template <typename T>
std::size_t take_all(pipeline::Ring<T>* ring, const auto& apply) {
    T item;
    std::size_t count = 0;
    while (ring != nullptr && count < notices_per_round && ring->try_pop(item)) {
        apply(std::move(item));
        ++count;
    }
    return count;
}

template <typename T>
bool has_items(const pipeline::Ring<T>* ring) {
    return ring != nullptr && !ring->empty();
}

// Moves the front items out while the ring takes them; without a ring they are dropped.
template <typename T>
bool push_all(std::deque<T>& items, pipeline::Ring<T>* ring) {
    bool pushed = false;
    while (!items.empty() && (ring == nullptr || ring->try_push(items.front()))) {
        items.pop_front();
        pushed = true;
    }
    return pushed;
}

}  // namespace

Reactor::Reactor(std::uint32_t index, Shared shared, ReactorPorts ports, Fd listener)
    : index_(index),
      shared_(shared),
      ports_(std::move(ports)),
      listener_(std::move(listener)),
      spare_(::dup(doorbell_.fd())),
      poller_(make_poller(shared.use_uring)),
      connections_gauge_(shared.metrics.gauge("causeway_ingest_connections",
                                              {{"reactor", std::to_string(index)}})),
      accepted_(shared.metrics.counter("causeway_ingest_accepted_total")),
      hub_{.session = {.clock = shared.clock,
                       .table = shared.table,
                       .credit = shared.credit,
                       .metrics = shared.metrics,
                       .authorise = shared.authorise,
                       .limits = shared.limits,
                       .reactor = index,
                       .has_digests = ports_.digest_requests != nullptr,
                       .policies = &shared.policies,
                       .keeps_resync_orders = shared.keeps_resync_orders},
           .pool = shared.pool,
           .ports = *this,
           .conditions = shared.conditions,
           .revoked = shared.revoked,
           .refusals = shared.metrics.counter("causeway_ingest_refusals_total")},
      last_token_(first_token),
      handshakes_(shared.limits.handshakes_per_s),
      handshakes_at_(shared.clock.boot()),
      next_tick_(shared.clock.boot()),
      windows_(shared.credit, shared.conditions) {
    CW_ASSERT(ports_.records != nullptr && ports_.opens != nullptr && ports_.opened != nullptr &&
              ports_.spooled != nullptr && ports_.committed != nullptr);
}

Reactor::~Reactor() {
    stop();
}

void Reactor::start() {
    CW_ASSERT(!thread_.joinable() && !stopping_);
    last_round_ = raw(shared_.clock.boot());
    thread_ = std::thread([this] { run(); });
}

void Reactor::stop() {
    stopping_ = true;
    doorbell_.ring();
    if (thread_.joinable()) {
        thread_.join();
    }
}

void Reactor::begin_drain() {
    draining_ = true;
    doorbell_.ring();
}

void Reactor::run() {
    sigset_t all;  // Signals belong to the main thread.
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, nullptr);
    const std::string name = "cw-reactor-" + std::to_string(index_);
    pthread_setname_np(pthread_self(), name.substr(0, 15).c_str());
    poller_->arm(doorbell_.fd(), doorbell_token, false);
    poller_->arm(listener_.get(), listener_token, false);
    while (!stopping_) {
        const bool busy = work();
        wake_consumers();
        cpu_ns_ = pipeline::thread_cpu_ns();
        last_round_ = raw(shared_.clock.boot());
        park(busy);
    }
    while (!connections_.empty()) {
        destroy(connections_.begin()->first);
    }
    wake_consumers();
}

// One round; true if there is more to do at once.
bool Reactor::work() {
    const bool inbound = drain_inbound();
    if (draining_ && !hub_.draining) {
        apply_drain();
    }
    for (std::size_t turns = 0; turns < turns_per_round && !ready_.empty(); ++turns) {
        const std::uint64_t token = ready_.front();
        ready_.pop_front();
        run_connection(token);
    }
    if (shared_.clock.boot() >= next_tick_) {
        tick();
        wake_notices_ |= push_all(late_notices_, ports_.notices);
    }
    return inbound || !ready_.empty();
}

void Reactor::park(bool busy) {
    std::array<PollEvent, 256> events;
    std::int64_t timeout = 0;
    if (!busy) {
        doorbell_.prepare();
        const bool news = has_items(ports_.opened) || has_items(ports_.spooled) ||
                          has_items(ports_.committed) || has_items(ports_.digest_replies) ||
                          stopping_ || (draining_ && !hub_.draining);
        const std::int64_t until_tick =
            std::clamp<std::int64_t>(next_tick_ - shared_.clock.boot(), 0, ns_per_s);
        const std::int64_t wait = connections_.empty() && !accept_paused_ ? ns_per_s : until_tick;
        timeout = news ? 0 : stuck_.empty() ? wait : std::min(wait, retry_ns);
    }
    const std::size_t count = poller_->wait(events, timeout);
    bool rung = false;
    for (const PollEvent& event : std::span(events).first(count)) {
        if (event.token == doorbell_token) {
            rung = true;
            poller_->arm(doorbell_.fd(), doorbell_token, false);
        } else if (event.token == listener_token) {
            accept_some();
        } else {
            enqueue(event.token);
        }
    }
    if (rung) {
        doorbell_.consume();
    } else if (!busy) {
        doorbell_.cancel();
    }
    for (const std::uint64_t token : std::exchange(stuck_, {})) {
        enqueue(token);
    }
}

void Reactor::on_session(const MachineId& machine, const auto& apply) {
    const auto at = by_machine_.find(machine);
    if (at == by_machine_.end()) {
        return;  // Its connection has gone; the next WELCOME tells.
    }
    apply(*connections_.at(at->second).connection->session());
    dirty_.push_back(at->second);
}

bool Reactor::drain_inbound() {
    std::size_t count = 0;
    count += take_all(ports_.opened, [&](pipeline::MachineOpened&& opened) {
        const auto at = connections_.find(opened.token);
        if (at != connections_.end() && at->second.connection->session() != nullptr) {
            at->second.connection->session()->on_opened(std::move(opened));
            dirty_.push_back(at->first);
        }
    });
    // Durable before committed: the order in which they happened.
    count += take_all(ports_.spooled, [&](const pipeline::Spooled& notice) {
        on_session(notice.key.machine, [&](Session& session) { session.on_spooled(notice); });
    });
    count += take_all(ports_.committed, [&](const pipeline::Committed& notice) {
        on_session(notice.machine, [&](Session& session) { session.on_committed(notice); });
    });
    count += take_all(ports_.digest_replies, [&](DigestReply&& reply) {
        const MachineId machine = reply.machine;
        on_session(machine, [&](Session& session) { session.on_digests(std::move(reply)); });
    });
    for (const std::uint64_t token : dirty_) {  // Many notices, one acknowledgement.
        enqueue(token);
    }
    dirty_.clear();
    return count > 0;
}

bool Reactor::deliver(Session& session) {
    Session::Outbox& box = session.outbox();
    if (box.open && ports_.opens->try_push(*box.open)) {
        box.open.reset();
        wake_opens_ = true;
        by_machine_[session.machine()] = session.token();
    }
    wake_notices_ |= push_all(box.notices, ports_.notices);
    wake_digests_ |= push_all(box.digests, ports_.digest_requests);
    if (box.record && ports_.records->try_push(*box.record)) {
        box.record.reset();
        wake_records_ = true;
    }
    const bool held = box.record || box.open || !box.digests.empty();
    if (held) {
        stuck_.push_back(session.token());
    }
    return !box.record;
}

void Reactor::wake_consumers() {
    const auto wake = [](bool& flag, const std::function<void()>& ring) {
        if (std::exchange(flag, false) && ring) {
            ring();
        }
    };
    wake(wake_records_, ports_.wake_records);
    wake(wake_opens_, ports_.wake_opens);
    wake(wake_digests_, ports_.wake_digests);
    wake(wake_notices_, ports_.wake_notices);
}

void Reactor::enqueue(std::uint64_t token) {
    const auto at = connections_.find(token);
    if (at != connections_.end() && !std::exchange(at->second.queued, true)) {
        ready_.push_back(token);
    }
}

void Reactor::run_connection(std::uint64_t token) {
    const auto at = connections_.find(token);
    if (at == connections_.end()) {
        return;
    }
    at->second.queued = false;
    Connection& connection = *at->second.connection;
    const Connection::Turn turn = connection.turn(turn_bytes);
    if (turn.closed) {
        destroy(token);
        return;
    }
    if (turn.want_read) {
        poller_->arm(connection.fd(), token, false);
    }
    if (turn.want_write) {
        poller_->arm(connection.fd(), token, true);
    }
    if (turn.again) {
        enqueue(token);
    }
    if (turn.memory) {
        stuck_.push_back(token);
    }
}

void Reactor::destroy(std::uint64_t token) {
    const auto at = connections_.find(token);
    CW_ASSERT(at != connections_.end());
    if (Session* session = at->second.connection->session(); session != nullptr) {
        session->on_lost();
        for (AgentNotice& notice : session->outbox().notices) {
            late_notices_.push_back(std::move(notice));
        }
        wake_notices_ |= push_all(late_notices_, ports_.notices);
        const auto newest = by_machine_.find(session->machine());
        if (newest != by_machine_.end() && newest->second == token) {
            by_machine_.erase(newest);
        }
    }
    poller_->disarm(token);
    connections_.erase(at);
    count_ = connections_.size();
    connections_gauge_.set(static_cast<double>(connections_.size()));
}

void Reactor::tick() {
    const Nanos now = shared_.clock.boot();
    next_tick_ = now + tick_ns;
    hub_.log_lines = Hub::log_lines_per_tick;
    if (index_ == 0) {  // One speaks for all: the cache is theirs together.
        windows_.tick(now);
    }
    for (auto& [token, entry] : connections_) {
        if (entry.connection->tick(now) && !std::exchange(entry.queued, true)) {
            ready_.push_back(token);
        }
    }
    if (accept_paused_ && listener_.valid()) {
        accept_paused_ = false;
        accept_some();
    }
}

void Reactor::apply_drain() {
    hub_.draining = true;
    poller_->disarm(listener_token);
    listener_.reset();
    for (auto& [token, entry] : connections_) {
        entry.connection->drain();
        if (!std::exchange(entry.queued, true)) {
            ready_.push_back(token);
        }
    }
}

}  // namespace cw::ingest
