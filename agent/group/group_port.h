// GroupPort: where machines of a group meet. Listens on port 20004 for the coordinators that may
// hold this machine, and keeps connections to the members that this one coordinates.
//
// Connections are made beforehand and kept, so that a barrier costs two round trips. Who may do
// what is decided by the identity in the certificate alone. Passive except for a thread per attempt
// to connect. Thread-safety: none; the agent's loop.
#pragma once

#include "agent/group/barrier_stream.h"
#include "agent/group/group_coordinator.h"

#include <functional>
#include <list>
#include <memory>
#include <string>
#include <vector>

#include <poll.h>

namespace cw::agent {

class Dialer;

struct GroupOptions {
    struct Member {
        MachineId machine;
        HostPort address;
    };
    MachineId machine{};  // This one.
    std::optional<HostPort> listen{};
    std::vector<MachineId> coordinators{};  // Who may hold this machine's writers.
    std::vector<Member> members{};          // Whom this machine coordinates.
    std::int64_t hold_ns = 300 * ns_per_ms;
    [[nodiscard]] bool any() const noexcept { return listen.has_value() || !members.empty(); }
};

class GroupPort final : public GroupCoordinator::Lines {
public:
    static constexpr std::size_t incoming_max = 16;
    static constexpr std::int64_t handshake_ns = 10 * ns_per_s, retry_ns = 2 * ns_per_s;

    struct Context {
        GroupSource& source;
        Clock& clock;
        Random& random;
        std::function<void()> wake;  // From any thread: step() has something to do.
    };
    // `files`: this machine's own, read at each connection. Errors: io_error (address in use),
    // usage (somebody may listen but nobody is allowed in, a member twice,
    // this machine as one, more than an id can name).
    static Result<std::unique_ptr<GroupPort>> open(GroupOptions options, TlsFiles files,
                                                   Context context);
    ~GroupPort() override;

    // True if it did something.
    bool step();
    void watch(std::vector<pollfd>& waiting) const;
    [[nodiscard]] Nanos deadline() const noexcept;
    [[nodiscard]] std::uint16_t port() const noexcept { return port_; }  // 0: not listening
    // Null: this machine coordinates nobody.
    [[nodiscard]] GroupCoordinator* coordinator() noexcept { return coordinator_.get(); }
    [[nodiscard]] std::size_t connected() const noexcept;
    // Why the last connection to a member ended or was not made.
    [[nodiscard]] const std::optional<Error>& trouble() const noexcept { return trouble_; }

private:
    struct Incoming {
        std::uint64_t number = 0;  // GroupMember's name for it.
        std::unique_ptr<BarrierStream> stream;
        Nanos since{};
        bool admitted = false;
    };
    struct Outgoing {
        GroupOptions::Member member;
        std::unique_ptr<Dialer> dialer;  // While an attempt runs.
        std::unique_ptr<BarrierStream> stream;
        Nanos since{}, retry_at{};
        [[nodiscard]] bool live() const noexcept { return stream && stream->peer(); }
    };
    GroupPort(GroupOptions options, TlsFiles files, Context context);
    bool send(std::size_t member, const BarrierMessage& message) override;
    void accept_some();
    Result<bool> serve(Incoming& incoming);
    bool tend(std::size_t member);
    Result<bool> listen_to(std::size_t member);

    const GroupOptions options_;
    const TlsFiles files_;
    Context context_;
    Fd listener_;
    std::uint16_t port_ = 0;
    std::uint64_t last_number_ = GroupCoordinator::own_peer;
    std::list<Incoming> incoming_;
    std::vector<Outgoing> outgoing_;
    GroupMember self_;
    std::unique_ptr<GroupCoordinator> coordinator_;
    std::optional<Error> trouble_;
};

}  // namespace cw::agent
