// Recovery plans. Whatever is accepted can be run: bounded, each step with a name of its own and
// something to do.
#include "appliance/operator/plan.h"
#include "base/assert.h"

#include <set>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace cw::appliance;
    const std::string_view text = cw::as_text({reinterpret_cast<const std::byte*>(data), size});
    const auto plan = parse_plan(text, "fuzz.toml");
    if (!plan) {
        CW_ASSERT(plan.error().code == cw::Errc::config_invalid ||
                  plan.error().code == cw::Errc::usage);
        return 0;
    }
    CW_ASSERT(plan->steps.size() <= plan_steps_max);
    std::set<std::string> names;
    for (const PlanStep& step : plan->steps) {
        CW_ASSERT(names.insert(step.name).second && !step.name.empty());
        CW_ASSERT(step.timeout_ns >= 0);
        CW_ASSERT(step.kind == StepKind::manual || !step.command.empty());
    }
    return 0;
}
