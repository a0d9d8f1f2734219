// Freezer: keeps a source still while it is scanned, and always lets it go again.
//
// A pre-hook, then FIFREEZE of a mounted file system, in this order; thaw is the reverse. The file
// system is frozen by a helper process that thaws when told, when its time is over, or when the
// agent dies: a killed agent never leaves a machine frozen. If the helper is killed the agent
// thaws. If both are, the next start does: a marker file says so, and makes a post-hook run that is
// owed. A hook that outlived its agent is named there: before it has ended, or was killed at the
// end of its time, no other one begins (hook_marker.h).
//
// Whether it was still is known when it goes on again. A pre-hook that ended well vouches for it
// until the post-hook is begun; what becomes of that one is told (post_error()) and changes nothing
// of what was read before. Thread-safety: none; passive: step() never waits.
#pragma once

#include "agent/child_process.h"
#include "agent/scan/hook_marker.h"
#include "base/disk.h"
#include "base/net.h"

#include <optional>
#include <string>
#include <vector>

namespace cw::agent {

class FsFreeze {
public:
    // Begins to freeze the file system mounted at `mount`, which writes out what it holds first.
    // Errors: hook_failed.
    static Result<FsFreeze> start(const std::string& mount, std::int64_t limit_ns);
    FsFreeze(FsFreeze&& other) noexcept;
    FsFreeze& operator=(FsFreeze&&) = delete;
    ~FsFreeze();  // Thaws, and waits for that.
    // Whether it is frozen, once that is known. Errors: hook_failed.
    std::optional<Result<void>> poll();
    // Frozen, and the helper lives.
    [[nodiscard]] bool holds();
    void begin_thaw() { pipe_.reset(); }
    // Once it is thawed: false if that came too early (the helper's time was over, or somebody else
    // thawed it): what was read since may be of different moments.
    std::optional<bool> thawed();
    // For whoever was frozen by a process that is gone. True: it was frozen still.
    static bool thaw_mount(const std::string& mount);
    [[nodiscard]] int helper() const noexcept { return pid_; }  // -1: none, or reaped.

private:
    FsFreeze(int pid, Fd pipe, Fd mount)
        : pid_(pid), pipe_(std::move(pipe)), mount_(std::move(mount)) {}
    bool conclude(int status);

    int pid_;
    Fd pipe_;
    Fd mount_;  // So that we can thaw it ourselves.
};

class Freezer {
public:
    struct Options {
        std::vector<std::string> pre = {}, post = {};  // Empty: none.
        std::string mount = {};                        // Empty: none.
        std::int64_t limit_ns = 60 * ns_per_s;
        std::string marker_path = {};  // In the state directory.
        // Files and directories whose file systems we need ourselves: never frozen.
        std::vector<std::string> needed = {};
    };
    Freezer(Options options, cw::Disk& disk, Clock& clock)
        : options_(std::move(options)), disk_(disk), clock_(clock) {}
    // Whoever is held is let go. The post-hook runs then, or goes on, without us; the marker stays,
    // so that the next agent runs it once more.
    ~Freezer();

    // Anything configured that keeps the source still?
    [[nodiscard]] bool can_freeze() const noexcept {
        return !options_.pre.empty() || !options_.mount.empty();
    }
    [[nodiscard]] bool has_hooks() const noexcept { return !options_.pre.empty(); }
    // At start: begin_thaw() does then what a killed agent owes.
    [[nodiscard]] bool owes_thaw();

    // Without the mount: hooks only; somebody else freezes the file system.
    void begin_freeze(bool with_mount = true);
    void begin_thaw();
    enum class State { idle, freezing, frozen, thawing, finishing };  // See SourceFreeze.
    // Leaves frozen by itself, with an error, only if the file system cannot be held any more.
    State step();
    [[nodiscard]] State state() const noexcept { return state_; }
    // Nobody is held any more, and error() is the last word.
    [[nodiscard]] bool let_go() const noexcept {
        return state_ == State::idle || state_ == State::finishing;
    }
    // For how long it has been thawing; 0: it is not.
    [[nodiscard]] std::int64_t thawing_ns() const {
        return state_ == State::thawing ? clock_.boot() - thaw_begun_ : 0;
    }
    // Why the last freeze failed, or the thaw found that it had not held.
    [[nodiscard]] const std::optional<Error>& error() const noexcept { return error_; }
    // A hook of an agent before this one that is waited for.
    [[nodiscard]] const std::optional<EarlierHook>& earlier_hook() const noexcept {
        return earlier_;
    }
    // Why the last post-hook failed. Errors: hook_failed.
    [[nodiscard]] const std::optional<Error>& post_error() const noexcept { return post_error_; }
    // The time limit is over: begin_thaw() now.
    [[nodiscard]] bool expired() const { return clock_.boot() - deadline_ >= 0; }
    [[nodiscard]] std::string summary() const;  // For the point: what ran and how it went.

private:
    void step_freezing();
    void step_thawing();
    void begin_post();
    void step_post();
    void freeze_mount();
    void thaw_forgotten();
    void fail_freeze(const Error& why);
    Result<void> begin_pre();
    Result<void> prepare(const std::vector<std::string>& command, HookKind kind);
    Result<void> write_marker();

    const Options options_;
    cw::Disk& disk_;
    Clock& clock_;
    State state_ = State::idle;
    Nanos deadline_{}, thaw_begun_{};
    HookMarker marker_;  // As its file has it, or should have.
    std::optional<ChildProcess> hook_;
    std::optional<EarlierHook> earlier_;
    std::optional<FsFreeze> mount_;
    std::optional<Error> error_, post_error_;
    bool pre_done_ = false, with_mount_ = true;
};

}  // namespace cw::agent
