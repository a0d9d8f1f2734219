// Other people's programs (qemu-img, fsck, nbdkit, scripts of a recovery plan) as children of an
// operator's command: in a process group of their own, bounded in time and in output. However the
// command ends, its children end with it, and what they have started (child_guard.h).
#pragma once

#include "appliance/operator/child_guard.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/net.h"

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include <sys/types.h>

namespace cw::appliance {

inline constexpr std::size_t output_bytes_max = 256 * 1024;  // The newest are kept.

// What a program said, on one line: messages have no others.
std::string one_line(std::string_view output);
// The end of that, for an error.
std::string last_words(std::string_view output, std::size_t max = 400);

// One running child. Destroying it ends its whole group: SIGTERM, and SIGKILL after ten seconds.
class Subprocess {
public:
    // argv[0] is searched on the PATH; standard input is empty. With `capture`, what it writes to
    // stdout and stderr is kept for output(); else it goes where ours goes.
    // Errors: not_found (no such program), io_error.
    static Result<Subprocess> start(const std::vector<std::string>& argv, bool capture);
    Subprocess(Subprocess&& other) noexcept;
    Subprocess(const Subprocess&) = delete;
    Subprocess& operator=(const Subprocess&) = delete;
    ~Subprocess();

    // Takes what it wrote and whether it has ended; waits at most `timeout_ns` for either.
    // True: it has ended.
    bool poll(std::int64_t timeout_ns);
    [[nodiscard]] const std::string& output() const noexcept { return output_; }
    // After it has ended: its exit code, or 128 + the signal that killed it.
    [[nodiscard]] int exit_code() const noexcept { return exit_code_; }
    void signal(int number) const noexcept;  // To the whole group.
    void end();                              // As the destructor does.

private:
    Subprocess(GuardedChild child, Fd output)
        : pid_(child.pid), life_(std::move(child.life)), fd_(std::move(output)) {}
    bool read_some();
    bool reap(bool block);

    pid_t pid_ = -1;  // The guard's, and the group's.
    Fd life_;
    Fd fd_;
    bool ended_ = false;
    int exit_code_ = -1;
    std::string output_;
};

struct CommandResult {
    int exit_code = 0;
    std::string output;  // Of stdout and stderr together.
};
struct CommandLimits {
    std::int64_t timeout_ns = 3600 * ns_per_s;
    // Sees the output so far after each change; false ends the child.
    std::function<bool(std::string_view)> watch = {};
    std::function<bool()> cancelled = {};  // Asked often.
};
// Runs it to its end. Errors: those of start; io_error (out of time), cancelled.
Result<CommandResult> run_command(const std::vector<std::string>& argv, Clock& clock,
                                  const CommandLimits& limits);

}  // namespace cw::appliance
