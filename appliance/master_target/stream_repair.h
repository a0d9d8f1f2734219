// StreamRepair: when what arrives does not continue what a target took, the disk is *damaged*:
// nothing more is taken until a fence repairs it. Stands as a condition.
//
// Thread-safety: none; the volume stage's thread.
#pragma once

#include "base/conditions.h"
#include "base/ids.h"

#include <algorithm>
#include <deque>
#include <optional>
#include <string>

namespace cw::appliance {

class StreamRepair {
public:
    // `subject`: of the condition. `conditions` outlives it.
    StreamRepair(Conditions& conditions, std::string subject)
        : conditions_(conditions), subject_(std::move(subject)) {}

    // A newer reason replaces an older one. False, for the caller to hand on.
    bool damage(Error why);
    void repaired();
    [[nodiscard]] const std::optional<Error>& damaged() const noexcept { return damaged_; }

    // The session was told in its WELCOME to open a fence that repairs.
    void ask(SessionId session);
    [[nodiscard]] bool asked(SessionId session) const {
        return std::ranges::find(asked_, session) != asked_.end();
    }

private:
    Conditions& conditions_;
    const std::string subject_;
    std::optional<Error> damaged_;
    std::deque<SessionId> asked_;  // The newest few.
};

}  // namespace cw::appliance
