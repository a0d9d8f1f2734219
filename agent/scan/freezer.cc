#include "agent/scan/freezer.h"

#include "agent/full_disk.h"
#include "base/crash_point.h"
#include "base/log.h"

#include <array>
#include <cerrno>
#include <csignal>
#include <utility>

#include <fcntl.h>
#include <linux/fs.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

namespace cw::agent {
namespace {

// The helper. Only async-signal-safe calls: it was forked from a process with threads.
[[noreturn]] void hold_frozen(int mount, int pipe, int limit_ms) {
    const int failed = ::ioctl(mount, FIFREEZE, 0) == 0 ? 0 : errno;
    if (::send(pipe, &failed, sizeof failed, MSG_NOSIGNAL) == sizeof failed && failed == 0) {
        pollfd told{pipe, POLLIN, 0};
        const int ready = ::poll(&told, 1, limit_ms);  // Told, abandoned, or time over.
        const bool held = ::ioctl(mount, FITHAW, 0) == 0;
        ::_exit(ready == 1 && held ? 0 : 1);
    }
    if (failed == 0) {
        ::ioctl(mount, FITHAW, 0);
    }
    ::_exit(2);
}

// Where nothing is mounted, what lies beneath would be frozen: perhaps that of the whole system.
Result<void> may_freeze(const std::string& mount, const std::vector<std::string>& needed) {
    struct stat at{}, above{};
    if (::stat(mount.c_str(), &at) != 0 || ::stat((mount + "/..").c_str(), &above) != 0) {
        return fail_errno(Errc::hook_failed, "look at " + mount, errno);
    }
    if (at.st_dev == above.st_dev && at.st_ino != above.st_ino) {
        return fail(Errc::hook_failed, "nothing is mounted at " + mount);
    }
    for (const std::string& path : needed) {
        struct stat own{};
        if (::stat(path.c_str(), &own) == 0 && own.st_dev == at.st_dev) {
            return fail(Errc::hook_failed, path + ", which the agent writes, lies on " + mount);
        }
    }
    return {};
}

}  // namespace

Result<FsFreeze> FsFreeze::start(const std::string& mount, std::int64_t limit_ns) {
    Fd target(::open(mount.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!target.valid()) {
        return fail_errno(Errc::hook_failed, "open " + mount, errno);
    }
    std::array<int, 2> ends{};
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) {
        return fail_errno(Errc::hook_failed, "socketpair", errno);
    }
    Fd ours(ends[0]), theirs(ends[1]);
    const pid_t pid = ::fork();
    if (pid < 0) {
        return fail_errno(Errc::hook_failed, "fork", errno);
    }
    if (pid == 0) {
        ::close(ours.get());  // Else its own copy would keep the pipe open.
        hold_frozen(target.get(), theirs.get(), static_cast<int>(limit_ns / ns_per_ms));
    }
    return FsFreeze(pid, std::move(ours), std::move(target));
}

FsFreeze::FsFreeze(FsFreeze&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)),
      pipe_(std::move(other.pipe_)),
      mount_(std::move(other.mount_)) {}

FsFreeze::~FsFreeze() {
    if (pid_ < 0) {
        return;
    }
    begin_thaw();
    int status = 0;
    ::waitpid(pid_, &status, 0);
    conclude(status);
}

std::optional<Result<void>> FsFreeze::poll() {
    int failed = 0;
    const ssize_t n = ::recv(pipe_.get(), &failed, sizeof failed, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return std::nullopt;
    }
    if (n != sizeof failed) {
        return fail(Errc::hook_failed, "the process that freezes the file system was killed");
    }
    if (failed != 0) {
        return fail_errno(Errc::hook_failed, "freeze the file system", failed);
    }
    return Result<void>{};
}

bool FsFreeze::holds() {
    pollfd closed{pipe_.get(), POLLIN, 0};
    return pipe_.valid() && ::poll(&closed, 1, 0) == 0;
}

std::optional<bool> FsFreeze::thawed() {
    if (pid_ < 0) {
        return true;
    }
    int status = 0;
    return ::waitpid(pid_, &status, WNOHANG) == 0 ? std::nullopt
                                                  : std::optional<bool>(conclude(status));
}

// A helper that was killed has left it frozen.
bool FsFreeze::conclude(int status) {
    pid_ = -1;
    return WIFSIGNALED(status) ? ::ioctl(mount_.get(), FITHAW, 0) == 0
                               : WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

bool FsFreeze::thaw_mount(const std::string& mount) {
    const Fd target(::open(mount.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    return target.valid() && ::ioctl(target.get(), FITHAW, 0) == 0;
}

Freezer::~Freezer() {
    if (state_ != State::idle && state_ != State::finishing) {
        hook_.reset();  // The pre-hook, if it runs still.
        mount_.reset();
        if (!earlier_) {
            begin_post();
        }
    }
    if (hook_) {
        hook_->disown();
    }
}

bool Freezer::owes_thaw() {
    return disk_.exists(options_.marker_path).value_or(false);
}

void Freezer::begin_freeze(bool with_mount) {
    CW_ASSERT(state_ == State::idle);
    with_mount_ = with_mount && !options_.mount.empty();
    error_.reset();
    pre_done_ = false;
    deadline_ = clock_.boot() + options_.limit_ns;
    state_ = State::freezing;
    marker_ = {.mount = with_mount_ ? options_.mount : std::string{}};
    if (const auto begun = begin_pre(); !begun) {
        fail_freeze(begun.error());
    } else if (options_.pre.empty()) {
        freeze_mount();
    }
}

// The marker first: a kill right after anything was done must not forget what is to be undone.
Result<void> Freezer::begin_pre() {
    if (options_.pre.empty()) {
        return write_marker();
    }
    CW_TRY(prepare(options_.pre, HookKind::pre));
    CW_CRASH_POINT("agent.hook.pre_held");
    if (auto written = write_marker(); !written) {
        hook_.reset();
        return written;
    }
    CW_CRASH_POINT("agent.hook.pre_marked");
    hook_->release();
    CW_CRASH_POINT("agent.hook.pre_begun");
    return {};
}

// A hook that waits for its release(), with its name in the marker.
Result<void> Freezer::prepare(const std::vector<std::string>& command, HookKind kind) {
    CW_TRY_ASSIGN(ChildProcess held, ChildProcess::start_held(command, clock_, options_.limit_ns));
    hook_.emplace(std::move(held));
    marker_.hook.reset();
    if (const auto mark = mark_of(hook_->pid())) {
        marker_.hook = {kind, *mark};
    }
    return {};
}

Result<void> Freezer::write_marker() {
    auto written = write_file_atomically(disk_, options_.marker_path, as_bytes(to_text(marker_)));
    return written ? Result<void>{}
                   : std::unexpected(name_full_disk(written.error(), options_.marker_path));
}

void Freezer::begin_thaw() {
    if (state_ == State::thawing || state_ == State::finishing) {
        return;
    }
    if (mount_) {
        mount_->begin_thaw();
    } else if (state_ == State::idle) {
        thaw_forgotten();
    }
    hook_.reset();  // A pre-hook that still runs is killed.
    thaw_begun_ = clock_.boot();
    state_ = State::thawing;
}

// What was frozen by a process before this one, which was killed together with its helper; and a
// hook of it that runs still.
void Freezer::thaw_forgotten() {
    const auto note = read_file(disk_, options_.marker_path, 4096);
    marker_ = note ? parse_marker(as_text(*note)) : HookMarker{};
    if (!marker_.mount.empty() && FsFreeze::thaw_mount(marker_.mount)) {
        log_warning("agent.freeze.forgotten", {{"mount", marker_.mount}});
    }
    if (marker_.hook && still_runs(marker_.hook->process)) {
        earlier_.emplace(*marker_.hook, clock_, options_.limit_ns);
    }
}

void Freezer::fail_freeze(const Error& why) {
    error_ = error_.value_or(why);
    begin_thaw();
}

Freezer::State Freezer::step() {
    if (state_ == State::freezing) {
        step_freezing();
    }
    if (state_ == State::frozen && mount_ && !mount_->holds()) {
        fail_freeze({Errc::source_unfrozen, "the process that holds the file system is gone"});
    }
    if (state_ == State::thawing) {
        step_thawing();
    }
    if (state_ == State::finishing) {
        step_post();
    }
    return state_;
}

void Freezer::step_freezing() {
    if (hook_) {
        const auto ended = hook_->poll();
        if (!ended) {
            return;
        }
        hook_.reset();
        if (!*ended) {
            return fail_freeze(ended->error());
        }
        pre_done_ = true;
        return freeze_mount();
    }
    const auto ended = mount_->poll();
    if (ended && *ended) {
        state_ = State::frozen;
    } else if (ended) {
        fail_freeze({ended->error().code, options_.mount + ": " + ended->error().detail});
    } else if (expired()) {
        fail_freeze({Errc::hook_failed, options_.mount + " could not be frozen in time"});
    }
}

void Freezer::step_thawing() {
    if (mount_) {
        const auto held = mount_->thawed();
        if (!held) {
            return;
        }
        mount_.reset();
        if (!*held && !error_) {
            error_ = Error{Errc::source_unfrozen,
                           "the file system was thawed by its time limit or somebody else"};
        }
    }
    state_ = State::finishing;
    if (!earlier_) {
        begin_post();
    }
}

void Freezer::begin_post() {
    post_error_.reset();
    if (options_.post.empty()) {
        return;
    }
    if (const auto begun = prepare(options_.post, HookKind::post); !begun) {
        post_error_ = begun.error();
        return;
    }
    CW_CRASH_POINT("agent.hook.post_held");
    // It is owed, also where nobody could recognise it later.
    if (const auto written = write_marker(); !written) {
        log_warning("agent.hook.unmarked", {{"error", written.error()}});
    }
    CW_CRASH_POINT("agent.hook.post_marked");
    hook_->release();
    CW_CRASH_POINT("agent.hook.post_begun");
}

void Freezer::step_post() {
    if (earlier_) {
        if (!earlier_->ended()) {
            return;
        }
        earlier_.reset();
        begin_post();
    }
    if (hook_) {
        const auto ended = hook_->poll();
        if (!ended) {
            return;
        }
        hook_.reset();
        if (!*ended) {
            post_error_ = ended->error();
        }
    }
    if (post_error_) {
        log_warning("agent.post_hook", {{"error", *post_error_}});
    }
    CW_CRASH_POINT("agent.hook.post_ended");
    (void)disk_.remove(options_.marker_path);
    state_ = State::idle;
}

std::string Freezer::summary() const {
    return std::string("pre-hook ") + (pre_done_ ? "ok" : "none") + ", fsfreeze " +
           (with_mount_ ? "ok" : "none");
}

void Freezer::freeze_mount() {
    if (!with_mount_) {
        state_ = State::frozen;
        return;
    }
    if (const auto able = may_freeze(options_.mount, options_.needed); !able) {
        return fail_freeze(able.error());
    }
    auto begun = FsFreeze::start(options_.mount, options_.limit_ns);
    if (!begun) {
        return fail_freeze(begun.error());
    }
    mount_.emplace(std::move(*begun));
}

}  // namespace cw::agent
