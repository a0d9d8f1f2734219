// Campaign: many seeds in a few processes, so that an assertion that fails in one of them is a
// finding like any other and not the end.
#pragma once

#include "tests/sim/mutants.h"

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace cw::sim {

struct Finding {
    std::uint64_t seed = 0;
    std::string oracle, what;
    std::vector<std::string> events;  // The last ones.
};

struct CampaignResult {
    std::uint64_t schedules = 0;
    double seconds = 0, cpu_seconds = 0;  // Of the clock; of processors, in all processes.
    std::vector<Finding> findings;        // By seed.
    std::map<std::string, std::uint64_t> counts;
    std::map<std::uint64_t, std::uint64_t> hashes;  // By seed, if asked for.
};

struct CampaignOptions {
    std::uint64_t from = 1, to = 1;  // Inclusive.
    Mutant mutant = Mutant::none;
    unsigned processes = 2;
    bool twice = false;             // Each seed again; another trace is a finding.
    bool stop_at_first = false;     // As soon as anything was found, by one of `oracles` if any.
    std::string_view oracles = {};  // With a blank between them.
    bool hashes = false;            // Keep them.
    // Of an earlier run: another one is a finding.
    const std::map<std::uint64_t, std::uint64_t>* expected = nullptr;
    // Whether it is by one of `oracles`.
    [[nodiscard]] bool counts(const Finding& finding) const;
    std::function<void(std::uint64_t done)> progress = {};
};

CampaignResult run_campaign(const CampaignOptions& options);

}  // namespace cw::sim
