// A program that dies with its runner, however the runner ends.
//
// Between the two stands a guard: a fork of the runner that does nothing but wait for the program
// and for the end of a pipe that only the runner holds. When the runner is gone, killed too, the
// guard kills the program and what it has started, in whichever process group, but not in a session
// of its own. (The kernel's own death signal reaches one process, not what it has started, and
// comes when a thread ends.)
#pragma once

#include "base/error.h"
#include "base/net.h"

#include <string>
#include <vector>

#include <sys/types.h>

namespace cw::appliance {

struct GuardedChild {
    // The guard: it leads the process group, ends when the program does, and its exit code is the
    // program's, or 128 + the signal that killed it. After a SIGTERM to the group it ends only when
    // nothing is left of what the program has started, in whichever process group.
    pid_t pid = -1;
    Fd life;  // Closing it kills the program and what it has started.
};

// argv[0] is searched on the PATH. Standard input is empty; what the program writes goes to
// `output`, or where ours goes if that is -1. No other descriptor of ours is left open in it.
// Errors: not_found (no such program), io_error.
Result<GuardedChild> start_guarded(const std::vector<std::string>& argv, int output);

}  // namespace cw::appliance
