// GroupCoordinator: makes group points. PREPARE to all; when all are READY, RELEASE; when all were
// still holding, COMMIT; any miss or silence, REVOKE.
//
// The coordinator's own machine is a member like the others, and is told COMMIT last: its point
// belongs to the group only if every other member has confirmed that its own does. A group point is
// what carries one barrier's id at every member. Passive. Thread-safety: none; the agent's loop.
#pragma once

#include "agent/group/group_member.h"
#include "base/random.h"

#include <string>
#include <vector>

namespace cw::agent {

class GroupCoordinator {
public:
    // Sends to the other members by their index.
    class Lines {
    public:
        virtual ~Lines() = default;
        // False: there is no connection.
        virtual bool send(std::size_t member, const BarrierMessage& message) = 0;
    };
    struct Options {
        std::vector<std::string> members;        // Names of the others, for people.
        std::vector<MachineId> machines;         // Every member's, this machine's too.
        std::int64_t hold_ns = 300 * ns_per_ms;  // From PREPARE to the last RELEASED.
        std::int64_t confirm_ns = 5 * ns_per_s;  // For the confirmations of COMMIT.
    };
    GroupCoordinator(Options options, GroupMember& self, Lines& lines, Clock& clock,
                     Random& random);

    // False: a barrier stands already. outcome() says what becomes of it.
    bool begin(std::string tag);
    void take(std::size_t member, const BarrierMessage& message);
    void lost(std::size_t member);
    void step();
    [[nodiscard]] bool running() const noexcept { return phase_ != Phase::idle; }
    [[nodiscard]] Nanos deadline() const noexcept {
        return running() ? deadline_ : Nanos{INT64_MAX};
    }
    struct Made {
        GroupId barrier;
        PointId point;  // This machine's own.
    };
    // Of the last barrier. Errors: group_incomplete, with the member and its reason.
    [[nodiscard]] const std::optional<Result<Made>>& outcome() const noexcept { return outcome_; }

    // As a peer of its own GroupMember.
    static constexpr std::uint64_t own_peer = 0;

private:
    enum class Phase : std::uint8_t { idle, preparing, releasing, committing };
    void tell_all(BarrierType type);
    void advance();
    void fail_with(const std::string& who, const std::string& why);
    [[nodiscard]] BarrierMessage message(BarrierType type) const;
    [[nodiscard]] BarrierType awaited() const noexcept;

    const Options options_;
    GroupMember& self_;
    Lines& lines_;
    Clock& clock_;
    Random& random_;
    Phase phase_ = Phase::idle;
    GroupId barrier_;
    std::string tag_;
    std::vector<bool> answered_;  // By member, in this phase.
    Nanos deadline_{};
    std::optional<Result<Made>> outcome_;
};

}  // namespace cw::agent
