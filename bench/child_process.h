// Programs and forked functions as children that are always stopped and waited for.
#pragma once

#include "base/error.h"

#include <functional>
#include <string>
#include <vector>

#include <sys/types.h>

namespace cw::bench {

class ChildProcess {
public:
    // Runs argv[0] with its output in `log_file`. Errors: io_error (fork), usage (no such program).
    static Result<ChildProcess> run(const std::vector<std::string>& argv,
                                    const std::string& log_file);
    // Runs `work` in a fork of this process, which must be single-threaded; exits with its result.
    static Result<ChildProcess> fork_and(const std::function<int()>& work);

    ChildProcess(ChildProcess&& other) noexcept : pid_(std::exchange(other.pid_, -1)) {}
    ChildProcess& operator=(ChildProcess&&) = delete;
    ~ChildProcess();  // SIGKILL if it still runs.

    [[nodiscard]] pid_t pid() const noexcept { return pid_; }
    // The exit status, 128 + signal if it was killed.
    int wait();
    // SIGTERM, and waits.
    int stop();
    // True once it has ended by itself.
    bool ended();

private:
    explicit ChildProcess(pid_t pid) : pid_(pid) {}
    pid_t pid_;
    int status_ = 0;
};

}  // namespace cw::bench
