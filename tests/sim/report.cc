#include "tests/sim/report.h"

#include "tests/sim/kept_seeds.h"
#include "tests/sim/must_happen.h"
#include "tests/sim/track_record.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <optional>

namespace cw::sim {
namespace {

using Number = unsigned long long;

std::string classes_of(const CampaignResult& result, const std::string& prefix) {
    std::string out;
    for (const auto& [name, n] : result.counts) {
        if (name.starts_with(prefix) && n > 0) {
            out += " " + name.substr(prefix.size()) + "=" + std::to_string(n);
        }
    }
    return out.empty() ? " none" : out;
}

std::uint64_t total_of(const CampaignResult& result, const std::string& prefix) {
    std::uint64_t sum = 0;
    for (const auto& [name, n] : result.counts) {
        sum += name.starts_with(prefix) ? n : 0;
    }
    return sum;
}

std::uint64_t count_of(const CampaignResult& result, const std::string& name) {
    const auto found = result.counts.find(name);
    return found == result.counts.end() ? 0 : found->second;
}

double rate(std::uint64_t n, double seconds) {
    return seconds > 0 ? static_cast<double>(n) / seconds : 0.0;
}

}  // namespace

void print_findings(const CampaignResult& result, const CampaignOptions& options) {
    std::size_t shown = 0;
    for (const Finding& finding : result.findings) {
        if (++shown > 20) {
            std::printf("  ... and %zu more\n", result.findings.size() - 20);
            break;
        }
        std::printf("seed %llu: %s: %s\n", static_cast<Number>(finding.seed),
                    finding.oracle.c_str(), finding.what.c_str());
        if (shown <= 3) {
            for (const std::string& event : finding.events) {
                std::printf("    %s\n", event.c_str());
            }
        }
        std::string mutant;
        for (const MutantRow& row : mutant_rows()) {
            if (row.mutant == options.mutant) {
                mutant = " --mutant " + std::string(row.name);
            }
        }
        std::printf("  again: causeway_sim --seeds %llu..%llu --trace%s\n",
                    static_cast<Number>(finding.seed), static_cast<Number>(finding.seed),
                    mutant.c_str());
    }
}

void print_summary(const char* claim, const CampaignResult& result,
                   const CampaignOptions& options) {
    print_findings(result, options);
    std::printf("%s sim: %llu %s, %zu violations, %.1f per second, %.1f per second of a core\n",
                result.findings.empty() ? "ok  " : "FAIL", static_cast<Number>(result.schedules),
                claim, result.findings.size(), rate(result.schedules, result.seconds),
                rate(result.schedules, result.cpu_seconds));
    std::printf("     faults %llu:%s\n", static_cast<Number>(total_of(result, "fault.")),
                classes_of(result, "fault.").c_str());
    std::printf("     seen:%s\n", classes_of(result, "seen.").c_str());
    std::printf("     conditions:%s\n", classes_of(result, "condition.").c_str());
    std::printf("     promises looked at:%s\n", classes_of(result, "promise.").c_str());
    std::printf("     group:%s\n", classes_of(result, "group.").c_str());
    std::printf("     points made %llu; gc:%s; simulated %.1f days\n",
                static_cast<Number>(count_of(result, "points.made")),
                classes_of(result, "gc.").c_str(),
                static_cast<double>(count_of(result, "simulated_s")) / 86400);
    std::fflush(stdout);
}

void print_json(const CampaignResult& result, const CampaignOptions& options) {
    std::printf("{\"from\":%llu,\"to\":%llu,\"schedules\":%llu,\"seconds\":%.3f,\"counts\":{",
                static_cast<Number>(options.from), static_cast<Number>(options.to),
                static_cast<Number>(result.schedules), result.seconds);
    const char* comma = "";
    for (const auto& [name, n] : result.counts) {
        std::printf("%s\"%s\":%llu", comma, name.c_str(), static_cast<Number>(n));
        comma = ",";
    }
    std::printf("},\"violations\":[");
    comma = "";
    for (const Finding& finding : result.findings) {
        std::printf("%s{\"seed\":%llu,\"oracle\":\"%s\"}", comma, static_cast<Number>(finding.seed),
                    finding.oracle.c_str());
        comma = ",";
    }
    std::printf("]}\n");
}

void list_mutants() {
    for (const MutantRow& row : mutant_rows()) {
        std::printf("%-26s %5llu seeds by %s: %s%s%s\n", std::string(row.name).c_str(),
                    static_cast<Number>(row.seeds_max), std::string(row.oracles).c_str(),
                    std::string(row.what).c_str(), row.equivalent.empty() ? "" : "; equivalent: ",
                    std::string(row.equivalent).c_str());
    }
}

namespace {

// Without any planted bug. A seed that fails all the same has caught nothing.
bool is_clean(std::uint64_t seed) {
    return run_campaign({.from = seed, .to = seed, .processes = 1}).findings.empty();
}

}  // namespace

bool run_mutants(unsigned processes, Mutant only) {
    std::size_t all = 0, caught = 0, equivalent = 0;
    for (const MutantRow& row : mutant_rows()) {
        if (only != Mutant::none && row.mutant != only) {
            continue;
        }
        ++all;
        if (!row.equivalent.empty()) {
            ++equivalent;
            continue;
        }
        const CampaignResult result = run_campaign({.from = 1,
                                                    .to = row.seeds_max,
                                                    .mutant = row.mutant,
                                                    .processes = processes,
                                                    .stop_at_first = true,
                                                    .oracles = row.oracles});
        const auto finding = std::ranges::find_if(result.findings, [&row](const Finding& one) {
            return CampaignOptions{.oracles = row.oracles}.counts(one);
        });
        const bool noticed = finding != result.findings.end();
        const bool caught_it = noticed && is_clean(finding->seed);
        caught += caught_it ? 1 : 0;
        std::string verdict = "survives";
        if (noticed) {
            verdict =
                (caught_it ? "caught by seed " : "not told from what fails without it: seed ") +
                std::to_string(finding->seed) + " (" + finding->oracle + ")";
        } else if (!result.findings.empty()) {
            verdict = "is seen by none of its oracles (" + std::string(row.oracles) + "), but by " +
                      result.findings[0].oracle + " in seed " +
                      std::to_string(result.findings[0].seed);
        }
        std::printf("%s mutant %-26s %s\n", caught_it ? "ok  " : "FAIL",
                    std::string(row.name).c_str(), verdict.c_str());
        std::fflush(stdout);
    }
    const bool good = caught + equivalent == all;
    std::printf("%s sim: %zu of %zu planted bugs caught, %zu equivalent\n", good ? "ok  " : "FAIL",
                caught, all, equivalent);
    return good;
}

namespace {

// Which seeds CI takes is fixed, so that a commit is judged alike by everybody. CAUSEWAY_SEED_BASE
// asks for those after another number.
std::uint64_t seed_base() {
    const char* const text = std::getenv("CAUSEWAY_SEED_BASE");
    return text == nullptr ? 0 : std::strtoull(text, nullptr, 10);
}

// Cases for whoever counts: a schedule is one, and so is each further claim.
bool end_ci(std::uint64_t passed, std::uint64_t failed) {
    std::printf("%llu passed, %llu failed\n", static_cast<Number>(passed),
                static_cast<Number>(failed));
    std::fflush(stdout);
    return failed == 0;
}

void run_kept(const TrackRecord& record, const CampaignOptions& done, std::uint64_t& passed,
              std::uint64_t& failed) {
    const CampaignResult kept = run_kept_seeds(record.seeds(), done);
    print_findings(kept, done);
    std::printf("%s sim: %llu kept seeds beyond those, %zu violations\n",
                kept.findings.empty() ? "ok  " : "FAIL", static_cast<Number>(kept.schedules),
                kept.findings.size());
    failed += kept.findings.size();
    passed += kept.schedules - std::min<std::uint64_t>(kept.schedules, kept.findings.size());
}

// nullopt: it was said what is wrong with it.
std::optional<TrackRecord> track_record() {
    auto record = TrackRecord::read(track_record_path());
    if (!record) {
        std::printf("FAIL sim: %s\n", record.error().detail.c_str());
        return std::nullopt;
    }
    return std::move(*record);
}

// What is promised is 50 a second of a core. Half of that fails: processor time, too, is more on a
// machine that others are busy on, and only what has become much slower is to be noticed here.
bool fast_enough(const CampaignResult& result) {
    constexpr double least_per_cpu_s = 25;
    const double now = rate(result.schedules, result.cpu_seconds);
    if (now < least_per_cpu_s) {
        std::printf("FAIL sim: %.1f schedules per second of a core, fewer than %.0f\n", now,
                    least_per_cpu_s);
    }
    return now >= least_per_cpu_s;
}

}  // namespace

bool run_kept() {
    const auto record = track_record();
    std::uint64_t passed = 0, failed = record ? 0 : 1;
    if (record) {
        run_kept(*record, {.from = 1, .to = 0}, passed, failed);
    }
    return end_ci(passed, failed);
}

bool run_ci(bool sanitized, unsigned processes) {
    const auto record = track_record();
    if (!record) {
        return end_ci(0, 1);
    }
    const std::uint64_t base = seed_base();
    CampaignOptions options{.from = base + 1,
                            .to = base + (sanitized ? ci_schedules_asan : ci_schedules),
                            .processes = processes,
                            .hashes = !sanitized};
    const CampaignResult result = run_campaign(options);
    print_summary("schedules", result, options);
    std::uint64_t failed = result.findings.size();
    std::uint64_t passed = result.schedules - std::min(result.schedules, failed);
    run_kept(*record, options, passed, failed);
    if (sanitized) {
        return end_ci(passed, failed);
    }
    (everything_happened(result) ? passed : failed) += 1;
    (shares_are_large(result) ? passed : failed) += 1;
    (fast_enough(result) ? passed : failed) += 1;
    options.to = base + ci_twice;
    // Each twice in a process of its own history, and as it was in the run above.
    options.twice = true;
    options.expected = &result.hashes;
    const CampaignResult again = run_campaign(options);
    print_findings(again, options);
    std::printf("%s sim: %llu seeds run twice, %zu with another trace\n",
                again.findings.empty() ? "ok  " : "FAIL", static_cast<Number>(again.schedules),
                again.findings.size());
    failed += again.findings.size();
    passed += again.schedules - std::min<std::uint64_t>(again.schedules, again.findings.size());
    return end_ci(passed, failed);
}

}  // namespace cw::sim
