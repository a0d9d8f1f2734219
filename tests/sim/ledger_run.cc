// One campaign into the ledger, and the report out of it.
#include "tests/sim/ledger.h"
#include "tests/sim/report.h"
#include "tests/sim/track_record.h"

#include <cstdio>

#include <nlohmann/json.hpp>

namespace cw::sim {
namespace {

using nlohmann::json;

bool told(const Error& error) {
    std::fprintf(stderr, "causeway_sim: %s\n", error.detail.c_str());
    return false;
}

std::string line_of(const CampaignResult& result, const CampaignOptions& options,
                    const std::string& commit) {
    std::vector<std::string> findings;
    for (const Finding& finding : result.findings) {
        findings.push_back("seed " + std::to_string(finding.seed) + " (" + finding.oracle + ")");
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
    return entry.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace

bool report_to_ledger(const std::string& path, const std::string& commit,
                      const CampaignOptions& options) {
    const auto record = TrackRecord::read(track_record_path());
    if (!record) {
        return told(record.error());
    }
    bool good = true;
    if (options.from > 0) {
        // What is wrong with the file is told before hours are spent, not behind them.
        if (const auto before = read_ledger(path, Missing::new_ledger); !before) {
            return told(before.error());
        }
        if (const auto probed = probe_ledger(path); !probed) {
            return told(probed.error());
        }
        const CampaignResult result = run_campaign(options);
        good = result.findings.empty();
        const std::string line = line_of(result, options, commit);
        if (const auto added = append_to_ledger(path, line); !added) {
            std::fprintf(stderr, "what is not in it: %s\n", line.c_str());
            return told(added.error());
        }
    }
    const auto ledger = read_ledger(path);
    if (!ledger) {
        return told(ledger.error());
    }
    print_fault_report(*ledger, *record);
    return good;
}

}  // namespace cw::sim
