// What the simulator says to people and to CI: one line per claim, findings with the command that
// repeats them, and the cumulative ledger behind docs/fault-report.md.
#pragma once

#include "tests/sim/campaign.h"

namespace cw::sim {

inline constexpr std::uint64_t ci_schedules = 10'000, ci_schedules_asan = 1'000, ci_twice = 500;

void print_findings(const CampaignResult& result, const CampaignOptions& options);
void print_summary(const char* claim, const CampaignResult& result, const CampaignOptions& options);
void print_json(const CampaignResult& result, const CampaignOptions& options);
void list_mutants();
// True: each was caught within its number of seeds, or is written down as equivalent.
bool run_mutants(unsigned processes, Mutant only = Mutant::none);
// The fixed seeds, and all of track_record.md that are not among them.
bool run_ci(bool sanitized, unsigned processes);
// Only those of track_record.md.
bool run_kept();
// Runs the seeds (if any) and adds them to the ledger as one line; then prints the report made of
// all its lines, as Markdown. False: violations, or a ledger or track record that cannot be read or
// written, of which nothing is printed but what is wrong. Nothing runs that could not be added.
bool report_to_ledger(const std::string& path, const std::string& commit,
                      const CampaignOptions& options);

}  // namespace cw::sim
