// From settings to what the upload engine wants to know.
#pragma once

#include "base/clock.h"
#include "config/settings.h"
#include "egress/upload/options.h"
#include "pipeline/budget.h"

namespace cw::appliance {

// pipeline.compute_threads, or one per core.
std::uint32_t compute_workers(const config::Settings& settings);
// Event loops for uploads: TLS and CRC-64 of one fill about a quarter of what one worker produces.
std::size_t upload_loops(const config::Settings& settings);

// Adds what transforms, uploads and keeps house to the needs of what receives.
pipeline::BudgetNeeds with_engine_needs(pipeline::BudgetNeeds needs,
                                        const config::Settings& settings);

// Local time minus UTC at this moment: it differs between summer and winter.
std::int32_t utc_offset_minutes(Clock& clock);

// The two that may change while the engine runs.
upload::LaneOptions lane_options(const config::Settings& settings);
upload::BandwidthOptions bandwidth_options(const config::Settings& settings, Clock& clock);

// All of them but `pace`.
upload::EngineOptions engine_options(const config::Settings& settings, Clock& clock,
                                     const pipeline::SlabSplit& slabs);

}  // namespace cw::appliance
