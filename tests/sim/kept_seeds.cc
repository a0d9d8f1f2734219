#include "tests/sim/kept_seeds.h"

namespace cw::sim {

CampaignResult run_kept_seeds(const std::set<std::uint64_t>& seeds, const CampaignOptions& done) {
    CampaignResult all;
    for (const std::uint64_t seed : seeds) {
        if (seed >= done.from && seed <= done.to) {
            continue;
        }
        // They lie far apart, so each is a campaign of its own.
        CampaignResult one =
            run_campaign({.from = seed, .to = seed, .mutant = done.mutant, .processes = 1});
        all.schedules += one.schedules;
        all.seconds += one.seconds;
        for (const auto& [name, n] : one.counts) {
            all.counts[name] += n;
        }
        for (Finding& finding : one.findings) {
            all.findings.push_back(std::move(finding));
        }
    }
    return all;
}

}  // namespace cw::sim
