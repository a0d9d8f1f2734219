// Recovery plans: what to do on the bad day, in which order, written down while there is time. A
// plan is a TOML file (docs/operations.md).
#pragma once

#include "base/bytes.h"
#include "base/crypto.h"
#include "base/error.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace cw::appliance {

enum class StepKind : std::uint8_t { failover, script, manual };

struct PlanStep {
    std::string group, name;  // The name is unique in the plan.
    StepKind kind{};
    std::vector<std::string> command;  // failover: arguments of `causeway`; script: the program's.
    bool force = false;                // failover: it replaces what is there.
    std::string text;                  // manual: what a person is to do.
    std::int64_t timeout_ns = 0;
};

struct Plan {
    std::string name;
    std::vector<PlanStep> steps;  // In order.
    Sha256 hash{};                // Of the file.
};
inline constexpr std::size_t plan_steps_max = 256, plan_bytes_max = 256 * 1024;

// Errors: config_invalid, naming line or step.
Result<Plan> parse_plan(std::string_view toml, std::string_view file_name);

}  // namespace cw::appliance
