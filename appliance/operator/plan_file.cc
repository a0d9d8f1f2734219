// The TOML form of a recovery plan.
#include "appliance/operator/plan.h"
#include "base/clock.h"
#include "base/ids.h"
#include "base/log.h"
#include "config/settings.h"

#include <algorithm>
#include <set>

#include <toml++/toml.h>

namespace cw::appliance {
namespace {

constexpr const char* default_timeout = "4h";
constexpr std::uint64_t timeout_ms_max = 30ULL * 24 * 3600 * 1000;

std::unexpected<Error> wrong(const std::string& what) {
    return fail(Errc::config_invalid, what);
}

Result<std::string> text_of(const toml::table& table, const char* key, const std::string& where,
                            std::string fallback = {}) {
    const auto* node = table.get(key);
    if (node == nullptr) {
        return fallback;
    }
    if (!node->is_string()) {
        return wrong(where + ": " + key + " is a text");
    }
    return **node->as_string();
}

Result<void> check_keys(const toml::table& table, const std::set<std::string_view>& known,
                        const std::string& where) {
    for (const auto& [key, value] : table) {
        if (!known.contains(key.str())) {
            return wrong(where + ": unknown key " + escape_for_display(key.str()) + " in line " +
                         std::to_string(value.source().begin.line));
        }
    }
    return {};
}

// outputs = { DISK = "PATH", … }: every disk of a machine that has several.
Result<void> add_outputs(const toml::table& table, const std::string& where,
                         std::vector<std::string>& command) {
    const auto* outputs = table.get("outputs");
    if (outputs == nullptr) {
        return {};
    }
    if (!outputs->is_table() || outputs->as_table()->empty()) {
        return wrong(where + ": outputs names a path for each disk: { DISK = \"PATH\" }");
    }
    for (const auto& [disk, path] : *outputs->as_table()) {
        CW_TRY_ASSIGN(const std::string text,
                      text_of(*outputs->as_table(), std::string(disk.str()).c_str(), where));
        command.emplace_back("--output");
        command.push_back(std::string(disk.str()) + "=" + text);
    }
    return {};
}

Result<std::vector<std::string>> failover_command(const toml::table& table,
                                                  const std::string& where) {
    std::vector<std::string> command{"failover"};
    CW_TRY_ASSIGN(const std::string machine, text_of(table, "machine", where));
    CW_TRY_ASSIGN(const MachineId id, parse_id<MachineId>(machine));
    command.push_back(to_string(id));
    const int places = int{table.contains("output")} + int{table.contains("outputs")} +
                       int{table.contains("output_dir")};
    if (places != 1) {
        return wrong(where + ": a machine's step has one of output, outputs and output_dir");
    }
    for (const auto& [key, option] :
         {std::pair{"point", "--point"}, std::pair{"disk", "--disk"},
          std::pair{"output", "--output"}, std::pair{"output_dir", "--output-dir"},
          std::pair{"format", "--format"}}) {
        CW_TRY_ASSIGN(const std::string value, text_of(table, key, where));
        if (!value.empty()) {
            command.emplace_back(option);
            command.push_back(value);
        } else if (table.contains(key)) {
            return wrong(where + ": " + key + " is empty");
        }
    }
    CW_TRY(add_outputs(table, where, command));
    return command;
}

Result<bool> force_of(const toml::table& table, const std::string& where) {
    const auto* force = table.get("force");
    if (force != nullptr && !force->is_boolean()) {
        return wrong(where + ": force is true or false");
    }
    return force != nullptr && **force->as_boolean();
}

Result<std::vector<std::string>> script_command(const toml::table& table,
                                                const std::string& where) {
    std::vector<std::string> command;
    const auto* words = table["script"].as_array();
    for (std::size_t i = 0; words != nullptr && i < words->size(); ++i) {
        if (!(*words)[i].is_string()) {
            return wrong(where + ": script is a list of texts: program and arguments");
        }
        command.push_back(**(*words)[i].as_string());
    }
    if (command.empty()) {
        return wrong(where + ": script is a list of texts: program and arguments");
    }
    return command;
}

Result<PlanStep> parse_step(const toml::table& table, const std::string& group,
                            const std::string& timeout) {
    PlanStep step;
    step.group = group;
    CW_TRY_ASSIGN(step.name, text_of(table, "name", "a step of group " + group));
    if (step.name.empty() || step.name.size() > 200) {
        return wrong("a step of group " + group + " has no name, or one of more than 200 bytes");
    }
    const std::string where = "step " + escape_for_display(step.name);
    CW_TRY(check_keys(table,
                      {"name", "machine", "point", "disk", "output", "outputs", "output_dir",
                       "format", "force", "script", "manual", "timeout"},
                      where));
    CW_TRY_ASSIGN(const std::string limit, text_of(table, "timeout", where, timeout));
    CW_TRY_ASSIGN(const std::uint64_t limit_ms, config::parse_duration_ms(limit));
    if (limit_ms > timeout_ms_max) {
        return wrong(where + ": a timeout is at most 30d");
    }
    step.timeout_ns = static_cast<std::int64_t>(limit_ms) * ns_per_ms;
    const int kinds = int{table.contains("machine")} + int{table.contains("script")} +
                      int{table.contains("manual")};
    if (kinds != 1) {
        return wrong(where + ": has one of machine, script and manual");
    }
    if (table.contains("force") && !table.contains("machine")) {
        return wrong(where + ": force is for a machine's step");
    }
    if (table.contains("machine")) {
        step.kind = StepKind::failover;
        CW_TRY_ASSIGN(step.command, failover_command(table, where));
        CW_TRY_ASSIGN(step.force, force_of(table, where));
    } else if (table.contains("script")) {
        step.kind = StepKind::script;
        CW_TRY_ASSIGN(step.command, script_command(table, where));
    } else {
        step.kind = StepKind::manual;
        CW_TRY_ASSIGN(step.text, text_of(table, "manual", where));
    }
    return step;
}

Result<void> parse_group(const toml::table& table, const std::string& timeout, Plan& plan) {
    CW_TRY_ASSIGN(const std::string name, text_of(table, "name", "a group"));
    if (name.empty()) {
        return wrong("a group has no name");
    }
    CW_TRY(check_keys(table, {"name", "step"}, "group " + escape_for_display(name)));
    const auto* steps = table["step"].as_array();
    if (steps == nullptr || steps->empty()) {
        return wrong("group " + escape_for_display(name) + " has no [[group.step]]");
    }
    for (const auto& node : *steps) {
        if (!node.is_table()) {
            return wrong("group " + escape_for_display(name) + ": a step is a table");
        }
        CW_TRY_ASSIGN(PlanStep step, parse_step(*node.as_table(), name, timeout));
        if (std::ranges::any_of(plan.steps,
                                [&](const PlanStep& other) { return other.name == step.name; })) {
            return wrong("two steps are named " + escape_for_display(step.name));
        }
        if (step.kind == StepKind::failover &&
            std::ranges::any_of(plan.steps, [&](const PlanStep& other) {
                return other.kind == StepKind::failover &&
                       other.command.at(1) == step.command.at(1);
            })) {
            return wrong("step " + escape_for_display(step.name) +
                         ": the machine has a step already, and a failover brings all its disks "
                         "back: name them in outputs");
        }
        plan.steps.push_back(std::move(step));
    }
    return {};
}

Result<toml::table> parse_toml(std::string_view text, std::string_view file_name) {
    try {
        return toml::parse(text, file_name);
    } catch (const toml::parse_error& error) {
        return wrong(std::string(file_name) + ":" + std::to_string(error.source().begin.line) +
                     ": " + std::string(error.description()));
    }
}

}  // namespace

Result<Plan> parse_plan(std::string_view text, std::string_view file_name) {
    CW_TRY_ASSIGN(const toml::table table, parse_toml(text, file_name));
    Plan plan;
    plan.hash = sha256(as_bytes(text));
    CW_TRY(check_keys(table, {"name", "timeout", "group"}, "the plan"));
    CW_TRY_ASSIGN(plan.name, text_of(table, "name", "the plan"));
    CW_TRY_ASSIGN(const std::string timeout,
                  text_of(table, "timeout", "the plan", default_timeout));
    if (plan.name.empty() || plan.name.size() > 200) {
        return wrong("the plan has no name, or one of more than 200 bytes");
    }
    const auto* groups = table["group"].as_array();
    if (groups == nullptr || groups->empty()) {
        return wrong("the plan has no [[group]]");
    }
    for (const auto& node : *groups) {
        if (!node.is_table()) {
            return wrong("a group is a table");
        }
        CW_TRY(parse_group(*node.as_table(), timeout, plan));
    }
    if (plan.steps.size() > plan_steps_max) {
        return wrong("a plan has at most " + std::to_string(plan_steps_max) + " steps");
    }
    return plan;
}

}  // namespace cw::appliance
