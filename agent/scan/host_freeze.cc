#include "agent/scan/host_freeze.h"

namespace cw::agent {

HostFreeze::HostFreeze(Freezer& freezer) : freezer_(freezer) {
    if (freezer_.owes_thaw()) {
        freezer_.begin_thaw();
    }
}

SourceFreeze::State HostFreeze::state() const noexcept {
    switch (freezer_.state()) {
        case Freezer::State::idle:
            return State::idle;
        case Freezer::State::freezing:
            return State::freezing;
        case Freezer::State::frozen:
            return State::frozen;
        case Freezer::State::thawing:
            return State::thawing;
        case Freezer::State::finishing:
            return State::finishing;
    }
    return State::idle;
}

SourceFreeze::State HostFreeze::step() {
    freezer_.step();
    return state();
}

std::optional<Error> HostFreeze::hindrance() const {
    const std::int64_t thawing_ns = freezer_.thawing_ns();
    if (thawing_ns < proof_limit_ns) {
        return std::nullopt;
    }
    return Error{Errc::source_unfrozen,
                 "the thaw of the freeze before has not ended for " +
                     std::to_string(thawing_ns / ns_per_s) +
                     " s (a disk beneath the file system hangs?); the agent waits for it"};
}

}  // namespace cw::agent
