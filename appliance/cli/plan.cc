// causeway plan run | check | show: recovery plans.
#include "appliance/cli/plan_places.h"
#include "appliance/cli/point.h"
#include "appliance/cli/stop_signal.h"
#include "appliance/operator/plan_run.h"
#include "appliance/operator/plan_states.h"
#include "appliance/operator/record_json.h"
#include "base/given_file.h"
#include "base/log.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

namespace cw::appliance {
namespace {

using nlohmann::json;

struct PlanArguments {
    std::string file;
    std::vector<std::string> confirmed;
    bool restart = false;
};

std::string_view name_of_kind(StepKind kind) {
    return kind == StepKind::failover ? "failover" : kind == StepKind::script ? "script" : "manual";
}

Result<Plan> read_plan(Cli& cli, const std::string& path) {
    CW_TRY_ASSIGN(const ByteVector bytes, read_given_file(*cli.seams.disk, path, plan_bytes_max));
    auto plan = parse_plan(as_text(bytes), path);
    if (!plan && plan.error().next.empty()) {
        plan.error().next = "mend the file, then: causeway plan check " + path;
    }
    return plan;
}

struct OpenedRuns {
    OpenedVault vault;
    std::unique_ptr<PlanRuns> runs;
    std::unique_ptr<MachineRecords> machines;  // Read only.
};

Result<OpenedRuns> open_runs(Cli& cli, bool write) {
    OpenedRuns opened;
    CW_TRY_ASSIGN(opened.vault, open_vault(cli));
    std::optional<vault::ServerSigner> signer;
    if (write) {
        CW_TRY_ASSIGN(signer, vault::make_server_signer(*opened.vault.store,
                                                        *opened.vault.access.kek, *cli.seams.random,
                                                        make_id<ServerId>(*cli.seams.random)));
    }
    opened.runs = std::make_unique<PlanRuns>(*opened.vault.store, opened.vault.access.identity,
                                             std::move(signer));
    opened.machines =
        std::make_unique<MachineRecords>(*opened.vault.store, opened.vault.access.identity);
    return opened;
}

// As `causeway jobs` has it: a run whose program is dead is interrupted, and so is its step.
// `unrun`: the state without a run.
json run_json(const Plan& plan, const std::optional<PlanRun>& run, WallMicros now,
              std::string_view unrun) {
    json out{{"plan", plan.name}, {"state", unrun}, {"steps", json::array()}};
    if (run) {
        const json job = plan_job_json(*run, now);
        out["job"] = job["id"];
        for (const char* key : {"state", "started", "updated", "next"}) {
            if (job.contains(key)) {
                out[key] = job[key];
            }
        }
    }
    const bool interrupted = out["state"] == name_of(JobState::interrupted);
    PlanRun copy = run.value_or(PlanRun{});
    for (const PlanStep& step : plan.steps) {
        json entry{{"name", step.name}, {"group", step.group}, {"kind", name_of_kind(step.kind)}};
        const StepRun* seen = copy.find(step.name);
        const StepState state = seen != nullptr ? seen->state : StepState::pending;
        entry["state"] = interrupted && state == StepState::running ? name_of(JobState::interrupted)
                                                                    : name_of(state);
        entry["detail"] = seen != nullptr ? seen->detail : "";
        out["steps"].push_back(std::move(entry));
    }
    return out;
}

void print_run(Cli& cli, const std::string& file, const Plan& plan,
               const std::optional<PlanRun>& run, std::string_view unrun = "never run") {
    json out = run_json(plan, run, cli.seams.clock->wall(), unrun);
    if (out.contains("next")) {
        out["next"] = "causeway plan run " + file;
    }
    if (cli.json) {
        print_json(out);
        return;
    }
    std::printf("plan %s: %s\n", escape_for_display(plan.name).c_str(),
                out["state"].get<std::string>().c_str());
    for (const json& step : out["steps"]) {
        std::printf("  %-11s %-9s %s: %s\n", step["state"].get<std::string>().c_str(),
                    step["kind"].get<std::string>().c_str(),
                    escape_for_display(step["group"].get<std::string>()).c_str(),
                    escape_for_display(step["name"].get<std::string>()).c_str());
    }
    if (out.contains("next")) {
        std::printf("next: %s\n", escape_for_display(out["next"].get<std::string>()).c_str());
    }
}

Result<void> run(Cli& cli, const PlanArguments& arguments) {
    CW_TRY_ASSIGN(const Plan plan, read_plan(cli, arguments.file));
    CW_TRY_ASSIGN(const OpenedRuns opened, open_runs(cli, true));
    CW_TRY_ASSIGN(const auto earlier, opened.runs->load(plan.name));
    CW_TRY(check_earlier_outputs(cli, arguments.file, plan, earlier, arguments.restart));
    std::error_code ignored;
    const PlanContext context{
        .clock = *cli.seams.clock,
        .random = *cli.seams.random,
        .machines = *opened.machines,
        .program = std::filesystem::read_symlink("/proc/self/exe", ignored).string(),
        .config_path = cli.config_path,
        .told =
            [](const PlanStep& step, StepState state, const std::string& detail) {
                std::fprintf(stderr, "%s: %s: %s%s%s\n", escape_for_display(step.group).c_str(),
                             escape_for_display(step.name).c_str(),
                             std::string(name_of(state)).c_str(), detail.empty() ? "" : ": ",
                             escape_for_display(detail).c_str());
            },
        .places = [&cli](const PlanStep& step) -> Result<std::vector<std::string>> {
            if (is_in_azure(step)) {
                return {};
            }
            CW_TRY_ASSIGN(const auto places, places_of(cli, step));
            return paths_of(places);
        },
        .cancelled = stop_requested};
    stop_on_signals();
    CW_TRY_ASSIGN(const PlanRun done,
                  run_plan(plan, *opened.runs, context, arguments.confirmed, arguments.restart));
    print_run(cli, arguments.file, plan, done);
    return {};
}

// Why the step would fail as things are; nullopt: nothing says so.
std::optional<std::string> trouble_of(Cli& cli, const PlanStep& step, MachineRecords& machines,
                                      const PlanRun* run) {
    if (step.kind == StepKind::failover) {
        const auto checked = check_places(cli, step, machines, run);
        return checked ? std::nullopt : std::optional(to_string(checked.error()));
    }
    if (step.kind == StepKind::script && step.command.front().starts_with('/') &&
        !std::filesystem::exists(step.command.front())) {
        return "there is no program " + step.command.front();
    }
    return std::nullopt;
}

// What can be known before the bad day: machines with points and in a state that allows the step,
// places to write to, programs. Of a run that is not finished, only what it has still to do.
Result<void> check(Cli& cli, const PlanArguments& arguments) {
    CW_TRY_ASSIGN(const Plan plan, read_plan(cli, arguments.file));
    CW_TRY_ASSIGN(const OpenedRuns opened, open_runs(cli, false));
    CW_TRY_ASSIGN(const auto earlier, opened.runs->load(plan.name));
    const bool unfinished = goes_on(plan, earlier);
    const auto steps = steps_to_do(plan, earlier);
    CW_TRY_ASSIGN(const auto refused, refused_steps(steps, *opened.machines, *cli.seams.random,
                                                    cli.seams.clock->wall()));
    Result<void> result;
    const auto complain = [&](const PlanStep& step, const std::string& what) {
        std::fprintf(stderr, "step %s: %s\n", escape_for_display(step.name).c_str(),
                     escape_for_display(what, job_text_max).c_str());
        result = fail(Errc::plan_failed, "the plan would fail as things are: see above");
    };
    for (const PlanStep* step : steps) {
        const auto found = std::ranges::find(refused, step, &RefusedStep::step);
        if (found != refused.end()) {
            complain(*step, to_string(found->why));
        }
        const PlanRun* const run = unfinished ? &*earlier : nullptr;
        if (const auto trouble = trouble_of(cli, *step, *opened.machines, run)) {
            complain(*step, *trouble);
        }
    }
    if (result) {
        print_run(cli, arguments.file, plan, unfinished ? earlier : std::nullopt,
                  earlier ? "begins anew" : "never run");
    }
    return result;
}

Result<void> show(Cli& cli, const PlanArguments& arguments) {
    CW_TRY_ASSIGN(const Plan plan, read_plan(cli, arguments.file));
    CW_TRY_ASSIGN(const OpenedRuns opened, open_runs(cli, false));
    CW_TRY_ASSIGN(const auto seen, opened.runs->load(plan.name));
    print_run(cli, arguments.file, plan, seen);
    return {};
}

}  // namespace

void add_plan_commands(CLI::App& app, Cli& cli) {
    CLI::App* plan = app.add_subcommand("plan", "Recovery plans: many machines, in order");
    plan->require_subcommand(1);
    plan->fallthrough();
    auto arguments = std::make_shared<PlanArguments>();

    CLI::App* run_command = plan->add_subcommand("run", "Run it, or go on where it stopped");
    run_command->add_option("FILE", arguments->file)->required();
    run_command->add_option("--confirm", arguments->confirmed, "This manual step has been done");
    run_command->add_flag("--restart", arguments->restart, "Give an unfinished run up: all anew");
    run_command->callback([&cli, arguments] { cli.run([&] { return run(cli, *arguments); }); });

    CLI::App* check_command = plan->add_subcommand("check", "Would it work as things are?");
    check_command->add_option("FILE", arguments->file)->required();
    check_command->callback([&cli, arguments] { cli.run([&] { return check(cli, *arguments); }); });

    CLI::App* show_command = plan->add_subcommand("show", "Its steps and how far they are");
    show_command->add_option("FILE", arguments->file)->required();
    show_command->callback([&cli, arguments] { cli.run([&] { return show(cli, *arguments); }); });
}

}  // namespace cw::appliance
