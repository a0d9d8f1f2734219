#include "agent/group/group_coordinator.h"

#include "base/log.h"
#include "pipeline/group_id.h"

#include <algorithm>
#include <utility>

namespace cw::agent {
namespace {

constexpr std::string_view own_name = "this machine";

}  // namespace

GroupCoordinator::GroupCoordinator(Options options, GroupMember& self, Lines& lines, Clock& clock,
                                   Random& random)
    : options_(std::move(options)), self_(self), lines_(lines), clock_(clock), random_(random) {
    CW_ASSERT(!options_.members.empty() && options_.hold_ns > 0 &&
              options_.hold_ns <= barrier_hold_ms_max * ns_per_ms &&
              options_.machines.size() == options_.members.size() + 1);
}

bool GroupCoordinator::begin(std::string tag) {
    if (running()) {
        return false;
    }
    outcome_.reset();
    tag_ = std::move(tag);
    barrier_ = pipeline::make_group_id(options_.machines, random_);
    phase_ = Phase::preparing;
    deadline_ = clock_.boot() + options_.hold_ns;
    answered_.assign(options_.members.size(), false);
    // The others first: theirs is the longer way, and writers here are held for less.
    tell_all(BarrierType::prepare);
    if (!running()) {
        return true;  // Somebody could not even be told.
    }
    const auto own = self_.take(own_peer, message(BarrierType::prepare));
    CW_ASSERT(own && own->type == BarrierType::ready);
    if (!own->yes) {
        fail_with(std::string(own_name), own->text);
    }
    return true;
}

BarrierMessage GroupCoordinator::message(BarrierType type) const {
    BarrierMessage out{.type = type, .barrier = barrier_};
    if (type == BarrierType::prepare) {
        out.hold_ms = static_cast<std::uint32_t>(options_.hold_ns / ns_per_ms);
        out.text = tag_;
    }
    return out;
}

BarrierType GroupCoordinator::awaited() const noexcept {
    return phase_ == Phase::preparing   ? BarrierType::ready
           : phase_ == Phase::releasing ? BarrierType::released
                                        : BarrierType::done;
}

void GroupCoordinator::tell_all(BarrierType type) {
    for (std::size_t member = 0; member < options_.members.size(); ++member) {
        if (!lines_.send(member, message(type)) && type != BarrierType::revoke) {
            return fail_with(options_.members[member], "there is no connection");
        }
    }
}

void GroupCoordinator::take(std::size_t member, const BarrierMessage& message) {
    step();
    if (!running() || message.barrier != barrier_ || message.type != awaited()) {
        return;  // Late: of a barrier or phase that is over.
    }
    if (!message.yes) {
        return fail_with(options_.members.at(member), !message.text.empty() ? message.text
                                                      : phase_ == Phase::releasing
                                                          ? "it could not hold long enough"
                                                          : "it has given up");
    }
    answered_.at(member) = true;
    if (std::ranges::all_of(answered_, [](bool yes) { return yes; })) {
        advance();
    }
}

void GroupCoordinator::advance() {
    answered_.assign(options_.members.size(), false);
    if (phase_ == Phase::preparing) {
        phase_ = Phase::releasing;
        tell_all(BarrierType::release);
        if (!running()) {
            return;
        }
        const auto own = self_.take(own_peer, message(BarrierType::release));
        if (!own->yes) {
            fail_with(std::string(own_name), "it could not hold long enough");
        }
        return;
    }
    if (phase_ == Phase::releasing) {
        phase_ = Phase::committing;
        deadline_ = clock_.boot() + options_.confirm_ns;
        return tell_all(BarrierType::commit);
    }
    const auto own = self_.take(own_peer, message(BarrierType::commit));
    if (!own->yes) {
        return fail_with(std::string(own_name), "it has given up");
    }
    phase_ = Phase::idle;
    outcome_ = Made{barrier_, *self_.point()};
    log_info("agent.group.point", {{"barrier", barrier_}, {"point", *self_.point()}});
}

void GroupCoordinator::lost(std::size_t member) {
    if (running() && !answered_.at(member)) {
        fail_with(options_.members.at(member), "the connection was lost");
    }
}

void GroupCoordinator::step() {
    if (!running() || clock_.boot() - deadline_ < 0) {
        return;
    }
    const auto silent = std::ranges::find(answered_, false);
    CW_ASSERT(silent != answered_.end());
    fail_with(options_.members[static_cast<std::size_t>(silent - answered_.begin())],
              "no " + std::string(name_of(awaited())) + " in time");
}

void GroupCoordinator::fail_with(const std::string& who, const std::string& why) {
    phase_ = Phase::idle;
    log_warning("agent.group.incomplete",
                {{"barrier", barrier_}, {"member", who}, {"reason", why}});
    tell_all(BarrierType::revoke);
    (void)self_.take(own_peer, message(BarrierType::revoke));
    outcome_ = fail(Errc::group_incomplete, who + ": " + why);
}

}  // namespace cw::agent
