#include "appliance/cli/plan_places.h"

#include "appliance/cli/formats.h"
#include "appliance/cli/point.h"
#include "appliance/operator/plan_run.h"
#include "egress/volume/target_probe.h"

#include <algorithm>
#include <filesystem>

namespace cw::appliance {
namespace {

// Of these, what is there already.
std::string there_already(const std::vector<DiskOutput>& places) {
    std::string out;
    for (const DiskOutput& place : places) {
        std::error_code ignored;
        if (std::filesystem::exists(place.path, ignored)) {
            out += (out.empty() ? "" : " ") + place.path;
        }
    }
    return out;
}

// Whether a failover would write to this file or device. Errors: file_exists, target_unsafe.
Result<void> check_place(Cli& cli, const DiskOutput& output, bool force) {
    CW_TRY_ASSIGN(const bool exists, cli.seams.disk->exists(output.path));
    if (exists && !force) {
        return fail(Errc::file_exists,
                    output.path + "; what is there is written over by a step with force = true");
    }
    std::error_code ignored;
    return std::filesystem::is_block_file(output.path, ignored)
               ? volume::make_system_probe()->check_unused(output.path)
               : Result<void>{};
}

}  // namespace

bool is_in_azure(const PlanStep& step) {
    const auto format = std::ranges::find(step.command, "--format");
    return format != step.command.end() && is_in_azure(format[1]);
}

Result<std::vector<DiskOutput>> places_of(Cli& cli, const PlanStep& step) {
    OutputRequest request;
    std::string point = "latest", format = "raw";
    const std::vector<std::string>& words = step.command;  // failover MACHINE, then pairs.
    for (std::size_t i = 2; i + 1 < words.size(); i += 2) {
        if (words[i] == "--output") {
            request.outputs.push_back(words[i + 1]);
        } else if (words[i] == "--output-dir") {
            request.directory = words[i + 1];
        } else if (words[i] == "--disk") {
            request.disk = words[i + 1];
        } else if (words[i] == "--point") {
            point = words[i + 1];
        } else if (words[i] == "--format") {
            format = words[i + 1];
        }
    }
    request.extension = extension_of(format);
    CW_TRY_ASSIGN(const OpenedCatalog opened, open_catalog(cli, words.at(1), false));
    CW_TRY_ASSIGN(const auto* found, find_point(opened, point));
    return place_outputs(*opened.catalog, *found, request);
}

Result<void> check_places(Cli& cli, const PlanStep& step, MachineRecords& machines,
                          const PlanRun* run) {
    CW_TRY_ASSIGN(const auto places, places_of(cli, step));
    if (is_in_azure(step)) {
        return {};
    }
    bool replaces = step.force;
    const StepRun* const before = run == nullptr ? nullptr : run->find(step.name);
    if (!replaces && before != nullptr && before->state != StepState::pending) {
        CW_TRY_ASSIGN(const MachineId machine, parse_id<MachineId>(step.command.at(1)));
        CW_TRY_ASSIGN(const MachineRecord stored, machines.load(machine));
        const MachineRecord record = as_it_stands(stored, cli.seams.clock->wall());
        CW_TRY(check_replaceable(*run, *before, record, paths_of(places)));
        replaces = true;
    }
    for (const DiskOutput& place : places) {
        CW_TRY(check_place(cli, place, replaces));
    }
    return {};
}

Result<void> check_earlier_outputs(Cli& cli, const std::string& file, const Plan& plan,
                                   const std::optional<PlanRun>& earlier, bool restart) {
    if (!earlier || (earlier->state != JobState::succeeded && !restart)) {
        return {};
    }
    std::string files;
    for (const PlanStep& step : plan.steps) {
        if (step.kind == StepKind::failover && !is_in_azure(step) && !step.force) {
            if (const auto places = places_of(cli, step)) {  // Else the step says why.
                const std::string found = there_already(*places);
                files += (files.empty() || found.empty() ? "" : " ") + found;
            }
        }
    }
    if (files.empty()) {
        return {};
    }
    return fail(Errc::file_exists,
                files +
                    ": an earlier run of this plan brought it back, and it is not written "
                    "over. Nothing was begun: for a run from the beginning move that away, "
                    "name another output in the plan or say force = true there; what the earlier "
                    "run did: causeway "
                    "plan show " +
                    file);
}

}  // namespace cw::appliance
