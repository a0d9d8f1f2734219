// The seeds that failed once: CI runs each of them for ever, wherever its other seeds end.
#pragma once

#include "tests/sim/campaign.h"

#include <set>

namespace cw::sim {

// Runs those of `seeds` that `done` has not: its range is left out, its mutant and processes are
// taken. Seconds and counts add up, findings are by seed.
CampaignResult run_kept_seeds(const std::set<std::uint64_t>& seeds, const CampaignOptions& done);

}  // namespace cw::sim
