// docs/fault-report.md out of the ledger.
#include "tests/sim/ledger.h"
#include "tests/sim/track_record.h"

#include <cstdio>
#include <utility>

namespace cw::sim {
namespace {

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
          {"fault.kill_at_work", "of them while the disk was at work"},
          {"fault.power_cut", "power cuts"},
          {"fault.power_cut_at_work", "of them while the disk was at work"},
          {"fault.torn_cut", "that found sectors not yet safe"},
          {"fault.struck_in_recovery", "kills and cuts in a recovery"},
          {"fault.second_cut", "second cuts"}}},
        {"G2 nothing COMMITTED is lost with a server",
         {{"fault.server_lost", "servers lost for good"},
          {"fault.takeover", "takeovers"},
          {"promise.committed_point_is_there", "committed points looked for"}}},
        {"G3, G4 every point is the disks at its place in the order",
         {{"promise.point_equals_disks", "points compared byte for byte"}}},
        {"G4 a point of a group is one moment of its machines",
         {{"promise.group_point_is_a_moment", "group points compared"},
          {"fault.barrier_late", "messages late"},
          {"fault.barrier_cut", "connections cut"},
          {"fault.barrier_silent", "connections silent"}}},
        {"G5 damage is never restored silently",
         {{"fault.tampered", "objects tampered with"}, {"seen.tampering_refused", "refusals"}}},
        {"G6 a damaged cache is repaired from the agent",
         {{"fault.bit_rot", "bits rotted"},
          {"fault.lost_write", "writes lost"},
          {"fault.misdirected_write", "misdirected"},
          {"fault.bad_sector", "bad sectors"},
          {"fault.astray_lost", "writes lost at work"},
          {"fault.astray_misdirected", "misdirected at work"},
          {"fault.astray_flipped", "with another bit"},
          {"fault.superblock_rot", "superblocks"},
          {"fault.checkpoint_rot", "and checkpoints of which one copy rotted"},
          {"condition.SPOOL_LOST_DURABLE", "reports"}}},
        {"G7 epochs never interleave",
         {{"promise.one_manifest_per_number", "manifests"},
          {"fault.takeover_in_schedule", "schedules with a takeover"},
          {"seen.fenced", "fencings"}}},
        {"G8 no key and nonce twice",
         {{"promise.one_content_per_key", "keys"},
          {"promise.one_content_per_name", "names"},
          {"fault.server_clone", "cloned servers"},
          {"fault.agent_clone", "cloned machines"}}},
        {"G9 everything converges without faults", {{"schedules", "schedules"}}},
        {"G10 errors of the store are survived", {{"fault.blob.", "faults of the store"}}},
        {"G12 memory and credit come back",
         {{"promise.memory_comes_back", "times"}, {"promise.credit_comes_back", "times (credit)"}}},
    };
    return rows;
}

// Promises of which a simulator with one thread and no network can tell nothing, or not all, and
// what does.
struct ElsewhereRow {
    const char* promise;
    const char* shown_by;
    // Scripts of tests/e2e and suites of unit tests. One that ends in '/' stands for all beneath.
    std::vector<const char*> claims;
};

const std::vector<ElsewhereRow>& elsewhere_rows() {
    static const std::vector<ElsewhereRow> rows{
        {"G11 a full cache never loses data", "", {"spool_full", "SpoolTest"}},
        {"G13 hostile bytes never crash or corrupt", "fuzzing, below", {"hostile"}},
        {"G14 no data races", "`tests/run --layer tsan`", {"tsan/"}},
        {"G15 only enrolled, authorised peers get one application byte",
         "",
         {"hostile", "enrol", "Certificates", "RevocationTest"}},
        {"G16 secrets never leak", "", {"secrets"}},
        {"G17 the vault survives theft of the server for the retention time",
         "WORM in one schedule of eight (`locked`, below)",
         {"Gc"}},
        {"G18 upgrades and mixed versions lose nothing", "`tests/vault/golden`", {"Golden"}},
        {"G19 SIGTERM drains within its limit", "", {"sigterm", "Assembly"}},
        {"G20 a restart with a large spool serves soon", "`cache_bench`, bench/RESULTS.md", {}},
        {"G21 every fault is visible", "fault-coverage.md; conditions, below", {"FaultCoverage"}},
    };
    return rows;
}

std::uint64_t claims_of(const std::map<std::string, std::uint64_t>& counts, std::string_view name) {
    std::uint64_t sum = 0;
    for (const auto& [key, n] : counts) {
        sum += (name.ends_with('/') ? key.starts_with(name) : key == name) ? n : 0;
    }
    return sum;
}

// "`spool_full` 12; `SpoolTest` 38 claims held at 1a2b3c4, 0 failed".
std::string shown_by(const ElsewhereRow& row, const Ledger& ledger) {
    std::string text = row.shown_by;
    std::uint64_t held = 0, failed = 0;
    for (const char* name : row.claims) {
        const std::uint64_t n = ledger.claims ? claims_of(ledger.claims->held, name) : 0;
        text += std::string(text.empty() ? "" : "; ") + "`" + name + "` " +
                (n > 0 ? std::to_string(n) : "not run");
        held += n;
        failed += ledger.claims ? claims_of(ledger.claims->failed, name) : 0;
    }
    if (held + failed > 0) {
        text +=
            " claims held at " + ledger.claims->commit + ", " + std::to_string(failed) + " failed";
    }
    return text;
}

std::string mutants_of(const Ledger& ledger) {
    if (!ledger.mutants) {
        return "no run over the planted bugs is in the ledger";
    }
    const MutantRun& run = *ledger.mutants;
    return std::to_string(run.caught) + " of " + std::to_string(run.planted) +
           " planted bugs caught at " + run.commit + ", " + std::to_string(run.equivalent) +
           " cannot be seen and say why";
}

std::uint64_t sum_of(const Ledger& ledger, const std::string& name) {
    if (name == "schedules") {
        return ledger.schedules;
    }
    const bool all = name.ends_with('.');
    std::uint64_t sum = 0;
    for (const auto& [key, n] : ledger.counts) {
        sum += (all ? key.starts_with(name) : key == name) ? n : 0;
    }
    return sum;
}

void print_promises(const Ledger& ledger) {
    std::printf(
        "\n## Promises\n\n| promise | how often it was put to the test, or by what |\n|---|---|\n");
    for (const PromiseRow& row : promise_rows()) {
        std::string cell;
        for (const auto& [name, word] : row.counts) {
            cell += (cell.empty() ? "" : ", ") + std::to_string(sum_of(ledger, name)) + " " + word;
        }
        std::printf("| %s | %s |\n", row.promise, cell.c_str());
    }
    for (const ElsewhereRow& row : elsewhere_rows()) {
        std::printf("| %s | %s |\n", row.promise, shown_by(row, ledger).c_str());
    }
    std::printf("| G22 the tests themselves work | %s |\n", mutants_of(ledger).c_str());
}

void print_events(const char* title, const Ledger& ledger, const std::string& prefix) {
    std::printf("\n## %s\n\n| event | times |\n|---|---:|\n", title);
    for (const auto& [name, n] : ledger.counts) {
        if (name.starts_with(prefix)) {
            std::printf("| %s | %llu |\n", name.substr(prefix.size()).c_str(),
                        static_cast<Number>(n));
        }
    }
}

void print_schedules(const Ledger& ledger) {
    std::printf(
        "| | |\n|---|---:|\n| schedules | %llu |\n| violations, each in tests/sim/track_record.md "
        "| "
        "%llu |\n| schedules since the last of them | %llu |\n",
        static_cast<Number>(ledger.schedules), static_cast<Number>(ledger.violations),
        static_cast<Number>(ledger.since_violation));
    if (!ledger.newest_commit.empty()) {
        const CommitTotal& newest = ledger.commits.at(ledger.newest_commit);
        std::printf(
            "| schedules at the newest commit that was run, %s | %llu |\n| violations at it | %llu "
            "|\n",
            ledger.newest_commit.c_str(), static_cast<Number>(newest.schedules),
            static_cast<Number>(newest.violations));
        if (newest.violations == 0 && newest.schedules > 0) {
            std::printf("| violations per schedule at it, at most (95 %%) | %.1e |\n",
                        3.0 / static_cast<double>(newest.schedules));
        }
    }
    if (ledger.broken_off > 0) {
        std::printf("| lines of the ledger that were broken off, and are left out here | %llu |\n",
                    static_cast<Number>(ledger.broken_off));
    }
}

void print_kills(const Ledger& ledger) {
    std::printf(
        "\n## Kills of real processes\n\n| kill -9 of | times | claims that did not hold |\n"
        "|---|---:|---:|\n");
    for (const auto& [what, total] : ledger.kills) {
        std::printf("| %s | %llu | %llu |\n", what.c_str(), static_cast<Number>(total.kills),
                    static_cast<Number>(total.failed_claims));
    }
}

void print_fuzzing(const Ledger& ledger) {
    std::printf(
        "\n## Fuzzing\n\n| target | minutes | executions | found |\n|---|---:|---:|---:|\n");
    for (const auto& [target, total] : ledger.fuzz) {
        std::printf("| %s | %.0f | %llu | %llu |\n", target.c_str(), total.seconds / 60,
                    static_cast<Number>(total.executions), static_cast<Number>(total.found));
    }
}

// "seed 17 (points, mended in 1a2b3c4)".
std::string finding_of(const CampaignRun& run, const std::string& finding,
                       const TrackRecord& record) {
    unsigned long long seed = 0;
    if (std::sscanf(finding.c_str(), "seed %llu", &seed) != 1 || !finding.ends_with(')')) {
        return finding;
    }
    const std::string by = record.mended_in(seed, run.commit);
    return finding.substr(0, finding.size() - 1) +
           (by.empty() ? ", **not in the track record**)" : ", mended in " + by + ")");
}

void print_campaigns(const Ledger& ledger, const TrackRecord& record) {
    std::printf("\n## Campaigns\n\n| commit | seeds | violations |\n|---|---|---|\n");
    for (const CampaignRun& run : ledger.campaigns) {
        std::string findings;
        for (const std::string& finding : run.findings) {
            findings += "; " + finding_of(run, finding, record);
        }
        std::printf("| %s%s | %llu–%llu | %llu%s |\n", run.commit.c_str(),
                    run.note.empty() ? "" : (" (" + run.note + ")").c_str(),
                    static_cast<Number>(run.from), static_cast<Number>(run.to),
                    static_cast<Number>(run.violations), findings.c_str());
    }
}

std::string listed(const std::vector<std::string>& commits) {
    std::string text;
    for (const std::string& commit : commits) {
        text += (text.empty() ? "" : ", ") + commit;
    }
    return text;
}

void print_finds(const TrackRecord& record) {
    std::printf(
        "\n## Track record\n\nThe newest first; tests/sim/track_record.md names the tests that "
        "keep "
        "them, too.\n\n| seed | found at | mended in | what it was |\n|---|---|---|---|\n");
    for (auto find = record.finds().rbegin(); find != record.finds().rend(); ++find) {
        std::string what;
        for (const char c : find->what) {
            what += c == '|' ? "\\|" : std::string(1, c);
        }
        std::printf("| %s | %s | %s | %s |\n", find->by.c_str(), listed(find->found_at).c_str(),
                    listed(find->mended_in).c_str(), what.c_str());
    }
}

}  // namespace

void print_fault_report(const Ledger& ledger, const TrackRecord& record) {
    std::printf(
        "# Fault report\n\nGenerated by `causeway_sim --report tests/sim/ledger.jsonl`; do not "
        "edit. It is cumulative:\n`tests/run --soak HOURS` adds to the ledger.\n\nEvery "
        "schedule of the simulator drives the real rooms from one seed: first under faults, then "
        "until\neverything has converged. A violation is anything an oracle of tests/sim/oracles "
        "objects to.\n\n");
    print_schedules(ledger);
    print_promises(ledger);
    print_kills(ledger);
    print_fuzzing(ledger);
    print_events("Faults", ledger, "fault.");
    print_events("What they led to", ledger, "seen.");
    print_events("Conditions shown", ledger, "condition.");
    print_events("Garbage collection and retention", ledger, "gc.");
    print_finds(record);
    print_campaigns(ledger, record);
}

}  // namespace cw::sim
