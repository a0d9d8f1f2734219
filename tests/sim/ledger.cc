#include "tests/sim/ledger.h"

#include "tests/sim/track_record.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <fstream>

#include <nlohmann/json.hpp>

namespace cw::sim {
namespace {

using nlohmann::json;
using Counts = std::map<std::string, std::uint64_t>;

constexpr std::string_view dirty = "-dirty", unknown = "unknown";

bool is_exact(const std::string& commit) {
    return !commit.ends_with(dirty) && commit != unknown;
}

// Throws what nlohmann throws.
std::string commit_of(const json& entry) {
    std::string commit = entry.at("commit");
    if (!may_name(commit)) {
        throw std::runtime_error("\"" + commit + "\" is no commit; words belong into \"note\"");
    }
    return commit;
}

void add_schedules(const json& entry, Ledger& ledger) {
    CampaignRun run{.commit = commit_of(entry),
                    .note = entry.value("note", ""),
                    .from = entry.at("from"),
                    .to = entry.at("to"),
                    .schedules = entry.at("schedules"),
                    .violations = entry.at("violations"),
                    .findings = entry.at("findings")};
    const Counts counts = entry.at("counts");
    ledger.schedules += run.schedules;
    ledger.violations += run.violations;
    ledger.since_violation = run.violations > 0 ? 0 : ledger.since_violation + run.schedules;
    ledger.last_seed = std::max(ledger.last_seed, run.to);
    ledger.commits[run.commit].schedules += run.schedules;
    ledger.commits[run.commit].violations += run.violations;
    if (is_exact(run.commit)) {
        ledger.newest_commit = run.commit;
    }
    for (const auto& [name, n] : counts) {
        ledger.counts[name] += n;
    }
    ledger.campaigns.push_back(std::move(run));
}

void add_fuzzing(const json& entry, Ledger& ledger) {
    FuzzTotal& total = ledger.fuzz[entry.at("target")];
    total.seconds += entry.at("seconds").get<double>();
    total.executions += entry.at("executions").get<std::uint64_t>();
    total.found += entry.at("found").get<std::uint64_t>();
}

void add_kills(const json& entry, Ledger& ledger) {
    KillTotal& total = ledger.kills[entry.at("what")];
    total.kills += entry.at("kills").get<std::uint64_t>();
    total.failed_claims += entry.at("failed_claims").get<std::uint64_t>();
}

// Throws for a line that no one may have written.
void add_entry(const json& entry, Ledger& ledger) {
    if (!entry.is_object()) {
        throw std::runtime_error("no object");
    }
    const std::string commit = commit_of(entry);
    if (!entry.contains("kind")) {
        add_schedules(entry, ledger);
        return;
    }
    const std::string kind = entry.at("kind");
    if (kind == "fuzz") {
        add_fuzzing(entry, ledger);
    } else if (kind == "kills") {
        add_kills(entry, ledger);
    } else if (kind == "mutants") {
        ledger.mutants = MutantRun{.commit = commit,
                                   .planted = entry.at("planted"),
                                   .caught = entry.at("caught"),
                                   .equivalent = entry.at("equivalent")};
    } else if (kind == "claims") {
        ledger.claims = ClaimRun{.commit = commit,
                                 .held = entry.at("held").get<Counts>(),
                                 .failed = entry.at("failed").get<Counts>()};
    } else {
        throw std::runtime_error("nothing is known of the kind \"" + kind + "\"");
    }
}

// nullopt: the line ends before its JSON does. Throws for what never becomes JSON.
std::optional<json> parsed(const std::string& line) {
    try {
        return json::parse(line);
    } catch (const json::parse_error& error) {
        if (error.byte > line.size()) {
            return std::nullopt;
        }
        throw;
    }
}

}  // namespace

bool may_name(std::string_view commit) {
    if (commit.ends_with(dirty)) {
        commit.remove_suffix(dirty.size());
    }
    return commit == unknown || is_commit(commit);
}

Result<Ledger> read_ledger(const std::string& path, Missing missing) {
    Ledger ledger;
    errno = 0;
    std::ifstream in(path);
    if (!in) {
        const int why = errno;
        const auto directory = std::filesystem::path(path).parent_path();
        std::error_code ignored;
        if (why == ENOENT && missing == Missing::new_ledger &&
            std::filesystem::is_directory(directory.empty() ? "." : directory, ignored)) {
            return ledger;
        }
        return fail_errno(Errc::io_error, "the ledger " + path + " cannot be read", why);
    }
    std::uint64_t number = 0;
    for (std::string line; std::getline(in, line);) {
        const std::string place = path + ":" + std::to_string(++number);
        try {
            if (const auto entry = parsed(line)) {
                add_entry(*entry, ledger);
                continue;
            }
        } catch (const std::exception& error) {
            return fail(Errc::record_corrupt, place + ": " + error.what());
        }
        ++ledger.broken_off;
        std::fprintf(stderr, "%s: broken off after %zu bytes; left out\n", place.c_str(),
                     line.size());
    }
    if (in.bad()) {
        return fail(Errc::io_error, "the ledger " + path + " cannot be read to its end");
    }
    return ledger;
}

}  // namespace cw::sim
