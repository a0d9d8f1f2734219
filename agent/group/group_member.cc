#include "agent/group/group_member.h"

#include "base/log.h"

#include <algorithm>

namespace cw::agent {

std::optional<BarrierMessage> GroupMember::take(std::uint64_t peer, const BarrierMessage& message) {
    step();
    const bool ours = stands(peer, message.barrier);
    BarrierMessage answer{.barrier = message.barrier};
    switch (message.type) {
        case BarrierType::prepare:
            return prepare(peer, message);
        case BarrierType::release:
            answer.type = BarrierType::released;
            if (!ours || state_ != State::holding) {
                return answer;  // No.
            }
            answer.yes = source_.let_go();
            state_ = State::awaiting;
            deadline_ = clock_.boot() + verdict_ns;
            if (!answer.yes) {
                revoke("writers were let go before everybody held");
            }
            return answer;
        case BarrierType::commit:
            answer.type = BarrierType::done;
            if (ours && state_ == State::awaiting) {
                answer.yes = true;
                state_ = State::idle;
                source_.decide(*point_, barrier_, true);
            } else if (ours) {
                revoke("the coordinator commits what it has not released");
            }
            return answer;
        case BarrierType::revoke:
            if (ours) {
                revoke(message.text);
            }
            return std::nullopt;
        case BarrierType::ready:
        case BarrierType::released:
        case BarrierType::done:
            break;  // Not for a member.
    }
    return std::nullopt;
}

BarrierMessage GroupMember::prepare(std::uint64_t peer, const BarrierMessage& asked) {
    BarrierMessage answer{.type = BarrierType::ready, .barrier = asked.barrier};
    if (state_ != State::idle) {
        answer.text = "another barrier stands";
        return answer;
    }
    const std::int64_t hold_ns = std::min<std::int64_t>(asked.hold_ms * ns_per_ms, hold_max_ns_);
    const Nanos until = clock_.boot() + hold_ns;
    const auto made = source_.hold(asked.barrier, asked.text, until);
    if (!made) {
        answer.text = to_string(made.error());
        return answer;
    }
    state_ = State::holding;
    peer_ = peer;
    barrier_ = asked.barrier;
    point_ = *made;
    deadline_ = until;
    answer.yes = true;
    return answer;
}

void GroupMember::lost(std::uint64_t peer) {
    if (peer_ == peer) {
        revoke("the coordinator is gone");
    }
}

void GroupMember::step() {
    if (state_ != State::idle && clock_.boot() - deadline_ >= 0) {
        revoke(state_ == State::holding ? "not released in time" : "no verdict in time");
    }
}

void GroupMember::revoke(std::string_view why) {
    if (state_ == State::idle) {
        return;
    }
    if (state_ == State::holding) {
        (void)source_.let_go();
    }
    state_ = State::idle;
    log_info("agent.group.revoked", {{"barrier", barrier_}, {"reason", why}});
    source_.decide(*point_, barrier_, false);
}

}  // namespace cw::agent
