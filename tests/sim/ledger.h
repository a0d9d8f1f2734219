// The ledger: what campaigns did, one JSON line each, appended for ever. Lines are of five kinds:
// schedules of the simulator (no "kind"), "kills" of real processes, "fuzz" of one target,
// "mutants" of one run over the planted bugs, "claims" of one run of the scripts and unit tests.
// All but the first are written by tests/soak/ledger.py. docs/fault-report.md is made of all of
// them.
//
// Each line names the commit that was run: its digits and nothing else, "-dirty" behind them when
// the tree was not that commit (tests/lib/lanes.sh), or "unknown". What else was so is a "note".
//
// Thread-safety: values and free functions without state.
#pragma once

#include "base/error.h"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace cw::sim {

class TrackRecord;

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

// Schedules of one line.
struct CampaignRun {
    std::string commit, note;
    std::uint64_t from = 0, to = 0;  // Seeds, inclusive.
    std::uint64_t schedules = 0, violations = 0;
    std::vector<std::string> findings;  // "seed 17 (points)".
};

// Of all campaigns at one commit, whatever ran between them.
struct CommitTotal {
    std::uint64_t schedules = 0, violations = 0;
};

struct Ledger {
    std::uint64_t schedules = 0, violations = 0;
    std::uint64_t since_violation = 0;           // Schedules behind the last line with one.
    std::uint64_t last_seed = 0;                 // The highest of all campaigns; 0: none.
    std::map<std::string, CommitTotal> commits;  // By what the lines say.
    // Of the last campaign that ran a commit as it is: never one that is "-dirty" or "unknown".
    std::string newest_commit;
    std::uint64_t broken_off = 0;  // Lines whose writer was killed: they count for nothing.
    std::map<std::string, std::uint64_t> counts;
    std::map<std::string, FuzzTotal> fuzz;   // By target.
    std::map<std::string, KillTotal> kills;  // By what was killed.
    std::optional<MutantRun> mutants;        // The newest.
    std::optional<ClaimRun> claims;          // The newest.
    std::vector<CampaignRun> campaigns;      // In the order of the file.
};

// Whether a line may name this commit: digits, digits and "-dirty", "unknown".
bool may_name(std::string_view commit);

enum class Missing { error, new_ledger };

// The whole file. A line that ends before its JSON does was being written when its writer died: it
// is told on standard error, counted in broken_off and left out. Nothing else is left out: a line
// that says what no line may say fails the whole.
// Errors: io_error (not readable; not there, unless it may be new and its directory is there),
// record_corrupt (file and line, and what is wrong with it).
Result<Ledger> read_ledger(const std::string& path, Missing missing = Missing::error);

// Adds one line, durably; on a line of its own, also behind one that was broken off. Makes the
// file if it is not there. `line` has no line break. Errors: io_error; the line may be there in
// part then, as one that was broken off.
Result<void> append_to_ledger(const std::string& path, const std::string& line);

// Whether a line could be added now. Makes the file if it is not there. Errors: io_error.
Result<void> probe_ledger(const std::string& path);

// The whole report, as Markdown, on standard output. `record` says what mended each violation.
void print_fault_report(const Ledger& ledger, const TrackRecord& record);

}  // namespace cw::sim
