// The ledger: one JSON line per campaign, and the report made of all of them.
#include "tests/sim/report.h"

#include <cstdio>
#include <fstream>
#include <sstream>

#include <nlohmann/json.hpp>

namespace cw::sim {
namespace {

using nlohmann::json;

struct Totals {
    std::uint64_t schedules = 0, violations = 0;
    double seconds = 0;
    std::map<std::string, std::uint64_t> counts;
    std::vector<std::string> campaigns;
};

Totals read_ledger(const std::string& path) {
    Totals totals;
    std::ifstream in(path);
    for (std::string line; std::getline(in, line);) {
        const json entry = json::parse(line, nullptr, false);
        if (entry.is_discarded()) {
            continue;  // A campaign that was interrupted while it wrote.
        }
        totals.schedules += entry.value("schedules", 0ULL);
        totals.violations += entry.value("violations", 0ULL);
        totals.seconds += entry.value("seconds", 0.0);
        for (const auto& [name, n] : entry.at("counts").items()) {
            totals.counts[name] += n.get<std::uint64_t>();
        }
        std::ostringstream row;
        row << "| " << entry.value("commit", "") << " | " << entry.value("from", 0ULL) << "–"
            << entry.value("to", 0ULL) << " | " << entry.value("violations", 0ULL);
        for (const json& finding : entry.value("findings", json::array())) {
            row << "; " << finding.get<std::string>();
        }
        row << " |";
        totals.campaigns.push_back(row.str());
    }
    return totals;
}

using Number = unsigned long long;

// Which counts speak for which promise of the product. A name that ends in '.' stands for all that
// begin with it.
struct PromiseRow {
    const char* promise;
    std::vector<std::pair<const char*, const char*>> counts;  // Name and people's word.
};

const std::vector<PromiseRow>& promise_rows() {
    static const std::vector<PromiseRow> rows{
        {"G1 nothing SPOOLED is lost by kill or power cut",
         {{"promise.spooled_survives", "recoveries compared"},
          {"fault.kill", "kills"},
          {"fault.power_cut", "power cuts"},
          {"fault.second_cut", "second cuts"}}},
        {"G2 nothing COMMITTED is lost with a server",
         {{"fault.takeover", "takeovers"},
          {"promise.committed_point_is_there", "committed points looked for"}}},
        {"G3, G4 every point is the disks at its place in the order",
         {{"promise.point_equals_disks", "points compared byte for byte"}}},
        {"G5 damage is never restored silently",
         {{"fault.tampered", "objects tampered with"}, {"seen.tampering_refused", "refusals"}}},
        {"G6 a damaged cache is repaired from the agent",
         {{"fault.bit_rot", "bits rotted"}, {"condition.SPOOL_LOST_DURABLE", "reports"}}},
        {"G7 epochs never interleave",
         {{"promise.one_manifest_per_number", "manifests"}, {"seen.fenced", "fencings"}}},
        {"G8 no key and nonce twice",
         {{"promise.one_content_per_key", "keys"},
          {"promise.one_content_per_name", "names"},
          {"fault.server_clone", "cloned servers"}}},
        {"G9 everything converges without faults", {{"schedules", "schedules"}}},
        {"G10 errors of the store are survived", {{"fault.blob.", "faults of the store"}}},
        {"G12 memory and credit come back",
         {{"promise.memory_comes_back", "times"}, {"promise.credit_comes_back", "times (credit)"}}},
    };
    return rows;
}

std::uint64_t sum_of(const Totals& totals, const std::string& name) {
    if (name == "schedules") {
        return totals.schedules;
    }
    const bool all = name.ends_with('.');
    std::uint64_t sum = 0;
    for (const auto& [key, n] : totals.counts) {
        sum += (all ? key.starts_with(name) : key == name) ? n : 0;
    }
    return sum;
}

void print_promises(const Totals& totals) {
    std::printf("\n## Promises\n\n| promise | how often it was put to the test |\n|---|---|\n");
    for (const PromiseRow& row : promise_rows()) {
        std::string cell;
        for (const auto& [name, word] : row.counts) {
            cell += (cell.empty() ? "" : ", ") + std::to_string(sum_of(totals, name)) + " " + word;
        }
        std::printf("| %s | %s |\n", row.promise, cell.c_str());
    }
    std::printf(
        "\nG11 and G13 to G21 are no matter of the simulator: see fault-coverage.md. G22: ");
    std::size_t caught = 0, equivalent = 0;
    for (const MutantRow& row : mutant_rows()) {
        (row.equivalent.empty() ? caught : equivalent) += 1;
    }
    std::printf(
        "%zu planted bugs\nmust each be caught by `causeway_sim --mutants`, %zu "
        "cannot be seen and says why.\n",
        caught, equivalent);
}

void print_events(const char* title, const Totals& totals, const std::string& prefix) {
    std::printf("\n## %s\n\n| event | times |\n|---|---:|\n", title);
    for (const auto& [name, n] : totals.counts) {
        if (name.starts_with(prefix)) {
            std::printf("| %s | %llu |\n", name.substr(prefix.size()).c_str(),
                        static_cast<Number>(n));
        }
    }
}

void print_report(const Totals& totals) {
    std::printf(
        "# Fault report of the simulator\n\nGenerated by `causeway_sim --report "
        "tests/sim/ledger.jsonl`; do not edit.\n\nEvery schedule drives the real rooms "
        "from one seed: first under faults, then until everything\nhas converged. A "
        "violation is anything an oracle of tests/sim/oracles objects to.\n\n");
    std::printf("| | |\n|---|---:|\n| schedules | %llu |\n| violations | %llu |\n",
                static_cast<Number>(totals.schedules), static_cast<Number>(totals.violations));
    if (totals.violations == 0 && totals.schedules > 0) {
        std::printf("| violations per schedule, at most (95 %%) | %.1e |\n",
                    3.0 / static_cast<double>(totals.schedules));
    }
    print_promises(totals);
    print_events("Faults", totals, "fault.");
    print_events("What they led to", totals, "seen.");
    print_events("Conditions shown", totals, "condition.");
    print_events("Garbage collection and retention", totals, "gc.");
    std::printf("\n## Campaigns\n\n| commit | seeds | violations |\n|---|---|---|\n");
    for (const std::string& row : totals.campaigns) {
        std::printf("%s\n", row.c_str());
    }
}

}  // namespace

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
        std::ofstream(path, std::ios::app) << entry.dump() << "\n";
    }
    print_report(read_ledger(path));
    return good;
}

}  // namespace cw::sim
