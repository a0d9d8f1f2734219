// Door: a server's side of its connections, as ingest::Reactor and Connection drive real sessions,
// over simulated wires instead of TLS. One reactor.
// Thread-safety: none.
#pragma once

#include "appliance/reactor_rings.h"
#include "ingest/frame_reader.h"
#include "pipeline/stage.h"
#include "tests/sim/network.h"

#include <map>

namespace cw::sim {

class Door final : public pipeline::Stage {
public:
    struct Context {
        Clock& clock;
        Random& random;
        Network& network;
        pipeline::SlabPool& pool;
        ingest::SessionTable& table;
        ingest::CreditPolicy& credit;
        MetricRegistry& metrics;
        appliance::ReactorRings& rings;
        bool has_digests = false;
        std::function<void()> wake_spool, wake_admission;
        bool trust_stale =
            false;  // A planted bug: a displaced connection speaks for its successor.
        std::function<void()> took_stale;   // A frame of a displaced connection, by that bug.
        bool spooled_is_committed = false;  // Another: to the agent the cache is the vault.
        // Told before the sessions are.
        std::function<void(const pipeline::Spooled&)> saw_spooled;
        std::function<void(const pipeline::MachineOpened&)> saw_opened;
        std::function<void()> saw_stale_digests;  // For a session that is over.
    };
    explicit Door(Context context);
    ~Door() override;

    void accept(std::shared_ptr<Wire> wire, const MachineId& machine);
    pipeline::Progress step(std::size_t budget) override;
    [[nodiscard]] Nanos next_deadline() const override {
        return connections_.empty() && notices_.empty() ? Nanos{INT64_MAX} : next_tick_;
    }
    [[nodiscard]] std::string_view name() const noexcept override { return "door"; }
    // When a wire has bytes for us.
    [[nodiscard]] Nanos bytes_due() const;

    // Credit that the living sessions hold and have not used, for the oracle.
    [[nodiscard]] std::uint64_t unused_credit() const;
    [[nodiscard]] bool quiet() const;
    [[nodiscard]] std::size_t connections() const noexcept { return connections_.size(); }

private:
    struct Connection {
        std::shared_ptr<Wire> wire;  // Shared with the agent's end.
        std::unique_ptr<ingest::Session> session;
        std::unique_ptr<ingest::FrameReader> reader;
        Nanos last_byte{};
        bool header_checked = false;
        bool stuck = false;  // Takes no bytes before a ring or a slab is free, of which none tells.
    };
    bool drain_inbound();
    template <typename Notice>
    void tell(const MachineId& machine, const Notice& apply);
    bool turn(Connection& connection);
    bool deliver(ingest::Session& session);
    // The session that takes the frames of `session`, and the frame as it likes it.
    ingest::Session& listener_of(ingest::Session& session, ingest::InFrame& frame);
    void close(std::uint64_t token);
    bool flush_notices();

    Context context_;
    ingest::Limits limits_;
    ingest::Authorise anybody_;
    std::map<std::uint64_t, Connection> connections_;
    std::map<MachineId, std::uint64_t> by_machine_;
    std::deque<ingest::AgentNotice> notices_;
    std::uint64_t next_token_ = 1;
    Nanos next_tick_{};
};

}  // namespace cw::sim
