// Reactor: one thread that accepts connections, owns them for life and waits in its own poller.
//
// Everything that reaches its sessions from other threads comes through rings and a doorbell. A
// connection that cannot go on because a ring is full, no slab is free or an answer is awaited is
// simply not read: TCP then slows the peer. No connection gets more than a fixed share of a round.
//
// Thread-safety: start(), stop(), begin_drain() and the observers from any thread; doorbell() for
// ringing; the rest happens on the reactor's thread. Lifetime: Shared and the ports outlive it.
#pragma once

#include "base/metrics.h"
#include "base/net.h"
#include "base/tls.h"
#include "ingest/connection.h"
#include "ingest/poller.h"
#include "ingest/ports.h"
#include "ingest/window_watch.h"
#include "pipeline/slab.h"
#include "pipeline/stage.h"

#include <atomic>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <vector>

namespace cw::ingest {

// The certificate in use; replaced when it is renewed. Connections keep the one they began with.
class TlsSlot {
public:
    explicit TlsSlot(TlsContext context) : context_(std::move(context)) {}
    void replace(TlsContext context) {
        const std::scoped_lock lock(mutex_);
        context_ = std::move(context);
    }
    [[nodiscard]] TlsContext current() const {
        const std::scoped_lock lock(mutex_);
        return context_;
    }

private:
    mutable std::mutex mutex_;
    TlsContext context_;
};

class Reactor final : private SessionPorts {
public:
    struct Shared {
        Clock& clock;
        pipeline::SlabPool& pool;
        SessionTable& table;
        const PolicyTable& policies;
        CreditPolicy& credit;
        MetricRegistry& metrics;
        Conditions& conditions;
        TlsSlot& tls;
        const RevocationList* revoked;  // Null: none.
        const Authorise& authorise;
        const Limits& limits;
        bool keeps_resync_orders;
        bool use_uring = true;
    };
    Reactor(std::uint32_t index, Shared shared, ReactorPorts ports, Fd listener);
    ~Reactor() override;  // stop()s.
    Reactor(const Reactor&) = delete;
    Reactor& operator=(const Reactor&) = delete;

    void start();
    void stop();         // Closes what is left; joins. Idempotent.
    void begin_drain();  // Stops accepting; sessions end once what they received is durable.
    [[nodiscard]] bool drained() const noexcept { return draining_ && connection_count() == 0; }
    [[nodiscard]] std::size_t connection_count() const noexcept { return count_; }
    [[nodiscard]] pipeline::Doorbell& doorbell() noexcept { return doorbell_; }
    [[nodiscard]] double cpu_seconds() const noexcept {
        return static_cast<double>(cpu_ns_.load()) / static_cast<double>(ns_per_s);
    }
    // Boot time of the last completed round, for the watchdog.
    [[nodiscard]] Nanos last_round() const noexcept { return Nanos{last_round_.load()}; }

private:
    static constexpr std::uint64_t doorbell_token = 1, listener_token = 2, first_token = 3;

    struct Entry {
        std::unique_ptr<Connection> connection;
        bool queued = false;
    };

    bool deliver(Session& session) override;
    void run();
    bool work();
    void park(bool busy);
    bool drain_inbound();
    void on_session(const MachineId& machine, const auto& apply);
    void run_connection(std::uint64_t token);
    void enqueue(std::uint64_t token);
    void destroy(std::uint64_t token);
    void tick();
    void accept_some();
    void accept_one(Fd socket);
    bool refill_handshakes(Nanos now);
    void shed_one_connection();
    void apply_drain();
    void wake_consumers();

    const std::uint32_t index_;
    Shared shared_;
    ReactorPorts ports_;
    Fd listener_;
    pipeline::Doorbell doorbell_;
    Fd spare_;  // Given up for a moment when descriptors run out, to accept and refuse.
    std::unique_ptr<Poller> poller_;
    Gauge& connections_gauge_;
    Counter& accepted_;
    Hub hub_;
    std::unordered_map<std::uint64_t, Entry> connections_;
    std::unordered_map<MachineId, std::uint64_t> by_machine_;  // The newest session's connection.
    std::deque<std::uint64_t> ready_;       // To be run in this or the next rounds, in turn.
    std::vector<std::uint64_t> stuck_;      // Memory or a ring was short: tried again soon.
    std::vector<std::uint64_t> dirty_;      // Sessions that got news in this round.
    std::deque<AgentNotice> late_notices_;  // Of sessions that are gone; the ring was full.
    std::uint64_t last_token_;
    double handshakes_;  // Tokens left.
    Nanos handshakes_at_;
    bool accept_paused_ = false;
    Nanos next_tick_;
    WindowWatch windows_;
    bool wake_records_ = false, wake_opens_ = false, wake_digests_ = false, wake_notices_ = false;

    std::atomic<bool> stopping_{false}, draining_{false};
    std::atomic<std::size_t> count_{0};
    std::atomic<std::int64_t> cpu_ns_{0}, last_round_{0};
    std::thread thread_;
};

}  // namespace cw::ingest
