// The command line of causeway-agent as values.
#pragma once

#include "agent/hrl/hrl_diff.h"
#include "agent/program/ask_command.h"
#include "agent/program/enrolment.h"
#include "agent/program/protect_command.h"
#include "agent/program/seed_command.h"

#include <optional>

namespace cw::agent {

struct CommandLine {
    std::optional<int> exit;  // Help, or a usage error that was printed.
    std::optional<ProtectCommand> protect;
    std::optional<AskCommand> ask;
    bool guard = false;  // Started by an agent; see nbd_guard.h.
    std::optional<HrlDiffRequest> hrl_diff;
    std::optional<EnrolCommand> enrol;
    std::optional<SeedCommand> seed;
    bool list_crash_points = false;
};

// May throw what CLI11 throws from its own bugs; main catches.
CommandLine parse_command_line(int argc, char** argv);

}  // namespace cw::agent
