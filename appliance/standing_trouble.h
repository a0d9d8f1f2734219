// StandingTrouble: the condition of something that is tried again and again, a file to be written
// for example: it stands from a failure to the next success.
//
// Thread-safety: none; its owner's.
#pragma once

#include "base/conditions.h"

#include <string>
#include <utility>

namespace cw::appliance {

class StandingTrouble {
public:
    // `conditions` outlives it.
    StandingTrouble(Conditions& conditions, std::string subject)
        : conditions_(conditions), subject_(std::move(subject)) {}
    // What became of the last try.
    void show(const Result<void>& outcome);

private:
    Conditions& conditions_;
    const std::string subject_;
    std::optional<Errc> standing_;
};

}  // namespace cw::appliance
