// The ledger: what campaigns did, one JSON line each, appended for ever. Lines are of five kinds:
// schedules of the simulator (no "kind"), "kills" of real processes, "fuzz" of one target,
// "mutants" of one run over the planted bugs, "claims" of one run of the scripts and unit tests.
// All but the first are written by tests/soak/ledger.py. docs/fault-report.md is made of all of
// them.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace cw::sim {

struct FuzzTotal {
    double seconds = 0;
    std::uint64_t executions = 0, found = 0;
};

struct KillTotal {
    std::uint64_t kills = 0, failed_claims = 0;
};

// One run over all planted bugs.
struct MutantRun {
    std::string commit;
    std::uint64_t planted = 0, caught = 0, equivalent = 0;
};

// One run of the scripts and unit tests: how many claims of each held and failed.
struct ClaimRun {
    std::string commit;
    std::map<std::string, std::uint64_t> held, failed;  // By script, suite, "tsan/suite".
};

struct Ledger {
    std::uint64_t schedules = 0, violations = 0;
    std::uint64_t last_seed = 0;  // The highest of all campaigns; 0: none.
    std::string newest_commit;    // Of the last campaign, and what ran at it:
    std::uint64_t newest_schedules = 0, newest_violations = 0;
    std::map<std::string, std::uint64_t> counts;
    std::map<std::string, FuzzTotal> fuzz;   // By target.
    std::map<std::string, KillTotal> kills;  // By what was killed.
    std::optional<MutantRun> mutants;        // The newest.
    std::optional<ClaimRun> claims;          // The newest.
    std::vector<std::string> campaigns;      // Rows of a Markdown table.
};

// A file that does not exist is an empty ledger. A line that is no JSON object was being written
// when its writer died, and does not count.
Ledger read_ledger(const std::string& path);

// The whole report, as Markdown, on standard output.
void print_fault_report(const Ledger& ledger);

}  // namespace cw::sim
