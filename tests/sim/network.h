// Network: connections between agents and servers as two byte pipes each, with a delay, and the
// ways in which they fail: cut at a byte, one side that hears nothing any more, bytes of a lost
// connection that arrive long after a new one was made.
//
// TLS is left out: what reaches a session is what its peer sent, in order, up to some byte.
// Thread-safety: none.
#pragma once

#include "agent/session/link.h"
#include "base/clock.h"
#include "base/random.h"

#include <deque>
#include <list>
#include <memory>

namespace cw::sim {

// One direction.
class Pipe {
public:
    void send(Bytes bytes, Nanos due);
    // At most out.size() bytes that are due; 0: none.
    std::size_t receive(MutableBytes out, Nanos now);
    [[nodiscard]] bool ready(Nanos now) const {
        return !chunks_.empty() && chunks_.front().due <= now;
    }
    [[nodiscard]] std::size_t in_flight() const noexcept { return bytes_; }
    [[nodiscard]] Nanos next_due() const {
        return chunks_.empty() ? Nanos{INT64_MAX} : chunks_.front().due;
    }
    void truncate(std::size_t bytes);  // What is behind the first `bytes` is lost.
    void hold_back(std::int64_t ns);   // Everything arrives that much later.
    bool silent = false;               // Takes bytes and loses them.

private:
    struct Chunk {
        Nanos due;
        ByteVector bytes;
        std::size_t at = 0;
    };
    std::deque<Chunk> chunks_;
    std::size_t bytes_ = 0;
    Nanos last_{};
};

struct Wire {
    std::size_t machine = 0, server = 0;
    Pipe up, down;             // To the server, to the agent.
    bool agent_gone = false;   // The agent's end is closed or broken.
    bool server_gone = false;  // The server's end.
    bool server_told = false;  // The server will hear that the agent's end is closed.
    bool agent_told = false;
};

class Network {
public:
    struct Options {
        std::int64_t latency_ns_max = 0;
        std::size_t dribble_bytes = 0;
    };
    Network(ManualClock& clock, Random& random, Options options)
        : clock_(clock), random_(random), options_(options) {}

    std::shared_ptr<Wire> connect(std::size_t machine, std::size_t server);
    void send(Pipe& pipe, Bytes bytes);
    std::size_t receive(Pipe& pipe, MutableBytes out);
    // Both ends see it broken; of what is in flight some bytes still arrive.
    void cut(Wire& wire);
    // The agent sees it broken now; the server neither hears of it nor misses what is in flight,
    // which arrives late.
    void leave_stale(Wire& wire);
    // One direction loses everything from now on; nobody is told.
    void half_open(Wire& wire);
    [[nodiscard]] const std::list<std::shared_ptr<Wire>>& wires() const noexcept { return wires_; }
    void forget_dead();
    [[nodiscard]] Nanos next_due() const;
    // Reads that got less than there was, and sends that took time.
    std::uint64_t dribbled = 0, delayed = 0;
    void calm() { options_ = {.latency_ns_max = ns_per_ms, .dribble_bytes = 0}; }

private:
    [[nodiscard]] Nanos arrival();
    ManualClock& clock_;
    Random& random_;
    Options options_;
    // Shared by the two ends.
    std::list<std::shared_ptr<Wire>> wires_;
};

// The agent's end as the agent knows it.
class SimLink final : public agent::Link {
public:
    SimLink(Network& network, std::shared_ptr<Wire> wire)
        : network_(network), wire_(std::move(wire)) {}
    ~SimLink() override;
    SimLink(const SimLink&) = delete;
    SimLink& operator=(const SimLink&) = delete;
    [[nodiscard]] bool writable() const noexcept override;
    Result<void> write(Bytes bytes) override;
    Result<void> flush() override;
    Result<std::size_t> read(MutableBytes out) override;
    [[nodiscard]] int fd() const noexcept override { return -1; }
    [[nodiscard]] bool wants_write() const noexcept override { return false; }
    // An agent knows by it who holds its points.
    [[nodiscard]] std::string peer() const override {
        return "server " + std::to_string(wire_->server);
    }

private:
    Network& network_;
    std::shared_ptr<Wire> wire_;  // Shared with the server's end and the network.
    ByteVector unsent_;
};

}  // namespace cw::sim
