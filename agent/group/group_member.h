// GroupMember: one machine's part in a group point. It holds its writers when asked to, cuts, lets
// go when told to or when its own time is over, and then waits to hear what became of the point.
//
// A barrier is good if there is a moment at which every member held: each one held from its cut
// until RELEASE reached it, and RELEASE is sent when the last one has cut. So what a machine wrote
// after its cut nobody can have seen before his own. Silence, in any state, ends in a plain point
// of this machine alone. Passive: step() never waits. Thread-safety: none; the agent's loop.
#pragma once

#include "agent/group/barrier_message.h"
#include "base/clock.h"

#include <optional>
#include <string>

namespace cw::agent {

// What a member does to its machine.
class GroupSource {
public:
    virtual ~GroupSource() = default;
    // Writers wait from before the cut on, until let_go(), or until `until` whatever happens. The
    // point is made, provisional, as of `barrier`. After an error nobody waits. Errors: why this
    // machine cannot have a point now.
    virtual Result<PointId> hold(const GroupId& barrier, const std::string& tag, Nanos until) = 0;
    // True: writers were held up to this moment.
    virtual bool let_go() = 0;
    // The point's group: it belongs to it, or is an ordinary point.
    virtual void decide(const PointId& point, const GroupId& barrier, bool committed) = 0;
};

class GroupMember {
public:
    // How long a point waits for its outcome. Servers give up after 30 s (PROTOCOL.md).
    static constexpr std::int64_t verdict_ns = 10 * ns_per_s;

    // Writers are never held longer than `hold_max_ns`, whatever a coordinator asks for.
    GroupMember(GroupSource& source, Clock& clock, std::int64_t hold_max_ns)
        : source_(source), clock_(clock), hold_max_ns_(hold_max_ns) {}
    ~GroupMember() { revoke("the agent ends"); }

    // What a coordinator says, and the answer to it. `peer` tells coordinators from each other; one
    // barrier stands at a time.
    std::optional<BarrierMessage> take(std::uint64_t peer, const BarrierMessage& message);
    // The connection with that coordinator is over.
    void lost(std::uint64_t peer);
    // Ends what has waited too long.
    void step();
    [[nodiscard]] Nanos deadline() const noexcept {
        return state_ == State::idle ? Nanos{INT64_MAX} : deadline_;
    }
    [[nodiscard]] bool idle() const noexcept { return state_ == State::idle; }
    // The point of the last barrier that was prepared here.
    [[nodiscard]] const std::optional<PointId>& point() const noexcept { return point_; }

private:
    enum class State : std::uint8_t { idle, holding, awaiting };
    BarrierMessage prepare(std::uint64_t peer, const BarrierMessage& asked);
    [[nodiscard]] bool stands(std::uint64_t peer, const GroupId& barrier) const noexcept {
        return state_ != State::idle && peer_ == peer && barrier_ == barrier;
    }
    void revoke(std::string_view why);

    GroupSource& source_;
    Clock& clock_;
    const std::int64_t hold_max_ns_;
    State state_ = State::idle;
    std::uint64_t peer_ = 0;
    GroupId barrier_;
    std::optional<PointId> point_;
    Nanos deadline_{};
};

}  // namespace cw::agent
