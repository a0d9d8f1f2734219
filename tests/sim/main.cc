// causeway_sim: runs seeds, shows one, hunts planted bugs. See README.md.
#include "base/log.h"
#include "tests/sim/ledger.h"
#include "tests/sim/report.h"
#include "tests/sim/schedule.h"

#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

namespace {

using namespace cw::sim;

int usage() {
    std::fprintf(
        stderr,
        "causeway_sim --seeds A..B [--mutant NAME] [--trace] [--twice] [--json]\n"
        "                          [--hashes]\n"
        "             --ci | --ci-asan | --kept | --mutants [--mutant NAME] | --list-mutants\n"
        "             --report LEDGER [--commit ID]   (with --seeds: adds to the ledger;\n"
        "                                              +N: the next N that it lacks)\n"
        "             [--jobs N]\n"
        "ID: the digits of a commit, -dirty behind them if the tree was not it\n");
    return 2;
}

struct Arguments {
    std::uint64_t from = 0, to = 0;
    std::uint64_t next = 0;  // So many that the ledger lacks, instead of from..to.
    Mutant mutant = Mutant::none;
    bool trace = false, twice = false, json = false, hashes = false;
    unsigned jobs = 2;
    std::string mode, ledger, commit = "unknown";
};

bool parse_seeds(std::string_view text, Arguments& out) {
    unsigned long long from = 0, to = 0;
    if (text.starts_with('+')) {
        out.next = std::strtoull(text.data() + 1, nullptr, 10);
        return out.next > 0;
    }
    const int got = std::sscanf(std::string(text).c_str(), "%llu..%llu", &from, &to);
    out.from = from;
    out.to = got == 2 ? to : from;
    return got >= 1 && from >= 1 && out.to >= out.from;
}

// False: not understood.
bool parse(int argc, char** argv, Arguments& out) {
    for (int i = 1; i < argc; ++i) {
        const std::string_view word = argv[i];
        const auto value = [&]() -> const char* { return i + 1 < argc ? argv[++i] : ""; };
        if (word == "--seeds") {
            if (!parse_seeds(value(), out)) {
                return false;
            }
        } else if (word == "--mutant") {
            const auto found = find_mutant(value());
            if (!found) {
                return false;
            }
            out.mutant = *found;
        } else if (word == "--jobs") {
            out.jobs = static_cast<unsigned>(std::max(1L, std::strtol(value(), nullptr, 10)));
        } else if (word == "--report") {
            out.mode = word;
            out.ledger = value();
        } else if (word == "--commit") {
            out.commit = value();
            if (!may_name(out.commit)) {
                return false;
            }
        } else if (word == "--trace") {
            out.trace = true;
        } else if (word == "--twice") {
            out.twice = true;
        } else if (word == "--hashes") {
            out.hashes = true;
        } else if (word == "--json") {
            out.json = true;
        } else if (word == "--ci" || word == "--ci-asan" || word == "--kept" ||
                   word == "--mutants" || word == "--list-mutants") {
            out.mode = word;
        } else {
            return false;
        }
    }
    if (out.next > 0 && out.mode != "--report") {
        return false;
    }
    return !out.mode.empty() || out.from > 0;
}

// --seeds +N: those behind the last one of the ledger. False: it cannot be read, which was said.
bool take_next(Arguments& arguments) {
    const auto ledger = read_ledger(arguments.ledger, Missing::new_ledger);
    if (!ledger) {
        std::fprintf(stderr, "causeway_sim: %s\n", ledger.error().detail.c_str());
        return false;
    }
    arguments.from = ledger->last_seed + 1;
    arguments.to = arguments.from + arguments.next - 1;
    return true;
}

int show(const Arguments& arguments) {
    cw::set_log_level(cw::LogLevel::info);
    bool good = true;
    for (std::uint64_t seed = arguments.from; seed <= arguments.to; ++seed) {
        const Outcome outcome = run_schedule(seed, arguments.mutant, true);
        if (outcome.violation) {
            good = false;
            std::printf("seed %llu: %s: %s\n", static_cast<unsigned long long>(seed),
                        outcome.violation->oracle.c_str(), outcome.violation->what.c_str());
        }
    }
    return good ? 0 : 1;
}

// Whoever makes the simulator faster compares these before and after: the schedules must be the
// same.
int print_hashes(const Arguments& arguments) {
    for (std::uint64_t seed = arguments.from; seed <= arguments.to; ++seed) {
        const Outcome outcome = run_schedule(seed, arguments.mutant, false);
        std::printf("%llu %016llx %llu\n", static_cast<unsigned long long>(seed),
                    static_cast<unsigned long long>(outcome.trace_hash),
                    static_cast<unsigned long long>(outcome.events));
    }
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    Arguments arguments;
    if (!parse(argc, argv, arguments)) {
        return usage();
    }
    if (arguments.next > 0 && !take_next(arguments)) {
        return 1;
    }
    cw::set_log_level(cw::LogLevel::error);
    if (arguments.trace) {
        return show(arguments);
    }
    if (arguments.hashes) {
        return print_hashes(arguments);
    }
    if (arguments.mode == "--list-mutants") {
        list_mutants();
        return 0;
    }
    if (arguments.mode == "--mutants") {
        return run_mutants(arguments.jobs, arguments.mutant) ? 0 : 1;
    }
    if (arguments.mode == "--kept") {
        return run_kept() ? 0 : 1;
    }
    if (arguments.mode == "--ci" || arguments.mode == "--ci-asan") {
        return run_ci(arguments.mode == "--ci-asan", arguments.jobs) ? 0 : 1;
    }
    const CampaignOptions options{.from = arguments.from,
                                  .to = arguments.to,
                                  .mutant = arguments.mutant,
                                  .processes = arguments.jobs,
                                  .twice = arguments.twice};
    if (arguments.mode == "--report") {
        return report_to_ledger(arguments.ledger, arguments.commit, options) ? 0 : 1;
    }
    const CampaignResult result = run_campaign(options);
    if (arguments.json) {
        print_json(result, options);
    } else {
        print_summary("schedules", result, options);
    }
    return result.findings.empty() ? 0 : 1;
}
