#include "tests/fake_azure/fault_rules.h"

#include <array>
#include <utility>

#include <nlohmann/json.hpp>

namespace cw::fake_azure {
namespace {

constexpr std::array<std::pair<std::string_view, Action>, 18> action_names{{
    {"error", Action::error},
    {"throttle", Action::throttle},
    {"timeout", Action::timeout},
    {"timeout_applied", Action::timeout_applied},
    {"timeout_late", Action::timeout_late},
    {"drop", Action::drop},
    {"drop_applied", Action::drop_applied},
    {"hang", Action::hang},
    {"hang_applied", Action::hang_applied},
    {"reset_mid_body", Action::reset_mid_body},
    {"truncate", Action::truncate},
    {"garbage", Action::garbage},
    {"middlebox", Action::middlebox},
    {"expired_401", Action::expired_401},
    {"expired_403", Action::expired_403},
    {"corrupt", Action::corrupt},
    {"slow", Action::slow},
    {"list_also", Action::list_also},
}};

template <typename T>
void take(const nlohmann::json& object, const char* key, T& out) {
    if (object.contains(key)) {
        out = object[key].get<T>();
    }
}

}  // namespace

Result<std::vector<FaultRule>> parse_fault_rules(std::string_view text) {
    std::vector<FaultRule> rules;
    try {
        for (const nlohmann::json& object : nlohmann::json::parse(text)) {
            FaultRule rule;
            const auto action = object.at("action").get<std::string>();
            for (const auto& [name, value] : action_names) {
                rule.action = name == action ? value : rule.action;
            }
            if (rule.action == Action::none) {
                return fail(Errc::usage, "unknown fault action " + action);
            }
            take(object, "op", rule.op);
            take(object, "name", rule.name);
            take(object, "probability", rule.probability);
            take(object, "count", rule.count);
            take(object, "skip", rule.skip);
            take(object, "per_second", rule.per_second);
            take(object, "retry_after_s", rule.retry_after_s);
            take(object, "delay_ms", rule.delay_ms);
            take(object, "status", rule.status);
            take(object, "code", rule.code);
            take(object, "message", rule.message);
            take(object, "names", rule.names);
            take(object, "repeat", rule.repeat);
            take(object, "marker", rule.marker);
            rules.push_back(std::move(rule));
        }
    } catch (const nlohmann::json::exception& error) {
        return fail(Errc::usage, std::string("fault script: ") + error.what());
    }
    return rules;
}

void FaultPlan::replace(std::vector<FaultRule> rules) {
    const std::lock_guard guard(mutex_);
    states_.clear();
    for (FaultRule& rule : rules) {
        states_.push_back({std::move(rule), {}});
    }
}

void FaultPlan::add(FaultRule rule) {
    const std::lock_guard guard(mutex_);
    states_.push_back({std::move(rule), {}});
}

FaultRule FaultPlan::next(std::string_view op, std::string_view name, std::int64_t now_ns) {
    const std::lock_guard guard(mutex_);
    for (State& state : states_) {
        const FaultRule& rule = state.rule;
        const bool matches = (rule.op == "*" || rule.op == op) &&
                             (rule.name.empty() || name.find(rule.name) != std::string_view::npos);
        if (matches && fires(state, now_ns)) {
            return rule;
        }
    }
    return {};
}

bool FaultPlan::fires(State& state, std::int64_t now_ns) {
    FaultRule& rule = state.rule;
    if (rule.skip > 0) {
        --rule.skip;
        return false;
    }
    if (rule.count == 0) {
        return false;
    }
    if (rule.per_second > 0) {
        constexpr std::int64_t second_ns = 1'000'000'000;
        while (!state.recent_ns.empty() && state.recent_ns.front() <= now_ns - second_ns) {
            state.recent_ns.pop_front();
        }
        state.recent_ns.push_back(now_ns);
        if (static_cast<double>(state.recent_ns.size()) <= rule.per_second) {
            return false;
        }
    }
    if (!std::bernoulli_distribution(rule.probability)(random_)) {
        return false;
    }
    if (rule.count > 0) {
        --rule.count;
    }
    return true;
}

}  // namespace cw::fake_azure
