// The command line of causeway-agent as values.
#pragma once

#include "agent/agent.h"
#include "agent/hrl/hrl_diff.h"
#include "agent/program/enrolment.h"
#include "agent/program/seed_command.h"

#include <optional>
#include <string>

namespace cw::agent {

struct ProtectCommand {
    AgentOptions options;
    std::string log_level = "info";
    bool progress = false, json = false;
    bool enrolled = false;             // Its certificate is renewed while it runs:
    std::int64_t renew_before_ns = 0;  // when it is valid for less; 0: a third of its time.
};

struct AskCommand {  // status, point, stop, resize
    std::string name, socket, request;
    int timeout_ms = 0;
    bool json = false;
};

struct CommandLine {
    std::optional<int> exit;  // Help, or a usage error that was printed.
    std::optional<ProtectCommand> protect;
    std::optional<AskCommand> ask;
    bool guard = false;  // Started by an agent; see nbd_guard.h.
    std::optional<HrlDiffRequest> hrl_diff;
    std::optional<EnrolCommand> enrol;
    std::optional<SeedCommand> seed;
};

// May throw what CLI11 throws from its own bugs; main catches.
CommandLine parse_command_line(int argc, char** argv);

// Prints the agent's answer for people or as JSON; returns the exit code.
int print_answer(const AskCommand& command, const std::string& answer);

}  // namespace cw::agent
