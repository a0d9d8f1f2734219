// What the schedules of CI must have met, or they prove less than they say.
#pragma once

#include "tests/sim/campaign.h"

namespace cw::sim {

// Every class of fault, every condition and every look at a promise, each as often as 10,000
// schedules do by far. Prints what is missing. False: something is.
bool everything_happened(const CampaignResult& result);
// What happens, but mostly where it can do no harm, proves little as well.
bool shares_are_large(const CampaignResult& result);

}  // namespace cw::sim
