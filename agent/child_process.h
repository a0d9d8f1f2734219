// ChildProcess: a program started from an argument list, without a shell, and never waited for:
// poll() asks. Past its time limit it and everything it started (its process group) is killed.
// Thread-safety: none; reap_given_up() from any thread.
#pragma once

#include "base/clock.h"
#include "base/error.h"
#include "base/net.h"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace cw::agent {

// Who was killed and has not ended by then waits for a disk that hangs, and is given up.
inline constexpr std::int64_t stubborn_ns = 5 * ns_per_s;

// Words separated by blanks; '…' and "…" keep blanks, \ takes the next character as it is. Nothing
// is expanded. Errors: usage (unbalanced quote, no words).
Result<std::vector<std::string>> split_command(std::string_view line);

class ChildProcess {
public:
    // Errors: hook_failed. Standard input is /dev/null, standard output goes to `output`: if
    // nothing else is said to our standard error.
    static Result<ChildProcess> start(const std::vector<std::string>& command, Clock& clock,
                                      std::int64_t limit_ns, int output = 2);
    struct Setting {
        int output = 2, errors = 2;
        const std::vector<std::string>* environment = nullptr;  // Ours.
    };
    // The same without a time limit.
    static Result<ChildProcess> start(const std::vector<std::string>& command, Clock& clock,
                                      const Setting& setting);
    // The same with a time limit, and it stands still until release(): so that who it is can be
    // written down before it does anything. Without release() it never begins, whatever becomes of
    // us. That it cannot be started is told by poll(). Errors: hook_failed.
    static Result<ChildProcess> start_held(const std::vector<std::string>& command, Clock& clock,
                                           std::int64_t limit_ns);
    void release();

    ChildProcess(ChildProcess&& other) noexcept;
    ChildProcess& operator=(ChildProcess&&) = delete;
    ~ChildProcess();  // Kills it if it runs, and waits a second for its end at most.
    void disown();    // It goes on without us.
    [[nodiscard]] int pid() const noexcept { return pid_; }  // -1: ended.

    // Those that were given up or disowned die all the same, some day: whoever of them has leaves
    // the list of processes. Cheap; to be called now and then.
    static void reap_given_up();

    // The outcome, once it has ended: fine only with exit status 0. One that cannot be killed (it
    // waits for a disk that hangs) is given up five seconds after its limit. Errors: hook_failed.
    std::optional<Result<void>> poll();

private:
    ChildProcess(int pid, std::string name, Clock& clock, Nanos deadline)
        : pid_(pid), name_(std::move(name)), clock_(clock), deadline_(deadline) {}
    int pid_;  // -1: ended and reaped.
    std::string name_;
    Clock& clock_;
    Nanos deadline_;
    bool killed_ = false;
    Fd gate_;       // Of one that is held.
    Fd complaint_;  // It has an errno if the program could not be started.
};

}  // namespace cw::agent
