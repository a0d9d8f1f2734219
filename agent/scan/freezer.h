// Freezer: keeps a source still while it is scanned, and always lets it go again.
//
// A pre-hook, then FIFREEZE of a mounted file system, in this order; thaw is the reverse. The file
// system is frozen by a helper process that thaws when told, when its time is over, or when the
// agent dies: a killed agent never leaves a machine frozen. A marker file makes a post-hook run at
// the next start if the agent was killed between pre and post. Thread-safety: none; passive: step()
// never waits.
#pragma once

#include "agent/child_process.h"
#include "base/disk.h"
#include "base/net.h"

#include <optional>
#include <string>
#include <vector>

namespace cw::agent {

class FsFreeze {
public:
    // Freezes the file system mounted at `mount`. Errors: hook_failed.
    static Result<FsFreeze> freeze(const std::string& mount, std::int64_t limit_ns);
    FsFreeze(FsFreeze&& other) noexcept;
    FsFreeze& operator=(FsFreeze&&) = delete;
    ~FsFreeze();  // Thaws.
    // False if the helper had to thaw by itself meanwhile (time over): what was read since may be
    // of different moments.
    bool thaw();

private:
    FsFreeze(int pid, Fd pipe) : pid_(pid), pipe_(std::move(pipe)) {}
    int pid_;
    Fd pipe_;
};

class Freezer {
public:
    struct Options {
        std::vector<std::string> pre = {}, post = {};  // Empty: none.
        std::string mount = {};                        // Empty: none.
        std::int64_t limit_ns = 60 * ns_per_s;
        std::string marker_path = {};  // In the state directory.
    };
    Freezer(Options options, cw::Disk& disk, Clock& clock)
        : options_(std::move(options)), disk_(disk), clock_(clock) {}

    // Anything configured that keeps the source still?
    [[nodiscard]] bool can_freeze() const noexcept {
        return !options_.pre.empty() || !options_.mount.empty();
    }
    // At start: runs the post-hook a killed agent owes, through begin_thaw().
    [[nodiscard]] bool owes_thaw();

    void begin_freeze();
    void begin_thaw();
    enum class State { idle, freezing, frozen, thawing };
    State step();
    // Why the last freeze failed, or the thaw found that it had not held.
    [[nodiscard]] const std::optional<Error>& error() const noexcept { return error_; }
    // The time limit is over: begin_thaw() now.
    [[nodiscard]] bool expired() const { return clock_.boot() - deadline_ >= 0; }
    [[nodiscard]] std::string summary() const;  // For the point: what ran and how it went.

private:
    void freeze_mount();
    void run(const std::vector<std::string>& command);

    const Options options_;
    cw::Disk& disk_;
    Clock& clock_;
    State state_ = State::idle;
    Nanos deadline_{};
    std::optional<ChildProcess> hook_;
    std::optional<FsFreeze> mount_;
    std::optional<Error> error_;
    bool pre_done_ = false, post_begun_ = false;
};

}  // namespace cw::agent
