#include "tests/sim/ledger.h"

#include "tests/sim/report.h"

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <sstream>

#include <nlohmann/json.hpp>

namespace cw::sim {
namespace {

using nlohmann::json;

void add_schedules(const json& entry, Ledger& ledger) {
    const auto schedules = entry.value("schedules", 0ULL);
    const auto violations = entry.value("violations", 0ULL);
    const std::string commit = entry.value("commit", "");
    ledger.schedules += schedules;
    ledger.violations += violations;
    ledger.last_seed = std::max<std::uint64_t>(ledger.last_seed, entry.value("to", 0ULL));
    if (commit != ledger.newest_commit) {
        ledger.newest_commit = commit;
        ledger.newest_schedules = ledger.newest_violations = 0;
    }
    ledger.newest_schedules += schedules;
    ledger.newest_violations += violations;
    const json counts = entry.value("counts", json::object());
    for (const auto& [name, n] : counts.items()) {
        ledger.counts[name] += n.get<std::uint64_t>();
    }
    std::ostringstream row;
    row << "| " << commit << " | " << entry.value("from", 0ULL) << "–" << entry.value("to", 0ULL)
        << " | " << violations;
    for (const json& finding : entry.value("findings", json::array())) {
        row << "; " << finding.get<std::string>();
    }
    row << " |";
    ledger.campaigns.push_back(row.str());
}

}  // namespace

Ledger read_ledger(const std::string& path) {
    Ledger ledger;
    std::ifstream in(path);
    for (std::string line; std::getline(in, line);) {
        const json entry = json::parse(line, nullptr, false);
        if (!entry.is_object()) {
            continue;
        }
        const std::string kind = entry.value("kind", "");
        if (kind == "fuzz") {
            FuzzTotal& total = ledger.fuzz[entry.value("target", "")];
            total.seconds += entry.value("seconds", 0.0);
            total.executions += entry.value("executions", 0ULL);
            total.found += entry.value("found", 0ULL);
        } else if (kind == "kills") {
            KillTotal& total = ledger.kills[entry.value("what", "")];
            total.kills += entry.value("kills", 0ULL);
            total.failed_claims += entry.value("failed_claims", 0ULL);
        } else if (kind == "mutants") {
            ledger.mutants = MutantRun{.commit = entry.value("commit", ""),
                                       .planted = entry.value("planted", 0ULL),
                                       .caught = entry.value("caught", 0ULL),
                                       .equivalent = entry.value("equivalent", 0ULL)};
        } else if (kind == "claims") {
            using Counts = std::map<std::string, std::uint64_t>;
            ledger.claims = ClaimRun{.commit = entry.value("commit", ""),
                                     .held = entry.value("held", Counts{}),
                                     .failed = entry.value("failed", Counts{})};
        } else {
            add_schedules(entry, ledger);
        }
    }
    return ledger;
}

bool report_to_ledger(const std::string& path, const std::string& commit,
                      const CampaignOptions& options) {
    bool good = true;
    if (options.from > 0) {
        const CampaignResult result = run_campaign(options);
        good = result.findings.empty();
        std::vector<std::string> findings;
        for (const Finding& finding : result.findings) {
            findings.push_back("seed " + std::to_string(finding.seed) + " (" + finding.oracle +
                               ")");
            std::fprintf(stderr, "%s: %s\n", findings.back().c_str(), finding.what.c_str());
        }
        const json entry{{"commit", commit},
                         {"findings", findings},
                         {"from", options.from},
                         {"to", options.to},
                         {"schedules", result.schedules},
                         {"violations", result.findings.size()},
                         {"seconds", result.seconds},
                         {"counts", result.counts}};
        std::ofstream(path, std::ios::app)
            << entry.dump(-1, ' ', false, json::error_handler_t::replace) << "\n";
    }
    print_fault_report(read_ledger(path));
    return good;
}

}  // namespace cw::sim
