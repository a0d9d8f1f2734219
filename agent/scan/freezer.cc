#include "agent/scan/freezer.h"

#include "base/log.h"

#include <cerrno>
#include <csignal>
#include <utility>

#include <fcntl.h>
#include <linux/fs.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

namespace cw::agent {
namespace {

// The helper. Only async-signal-safe calls: it was forked from a process with threads.
[[noreturn]] void hold_frozen(int mount, int pipe, int limit_ms) {
    const int failed = ::ioctl(mount, FIFREEZE, 0) == 0 ? 0 : errno;
    if (::write(pipe, &failed, sizeof failed) == sizeof failed && failed == 0) {
        pollfd told{pipe, POLLIN, 0};
        const int ready = ::poll(&told, 1, limit_ms);  // Told, abandoned, or time over.
        ::ioctl(mount, FITHAW, 0);
        ::_exit(ready == 1 ? 0 : 1);
    }
    if (failed == 0) {
        ::ioctl(mount, FITHAW, 0);
    }
    ::_exit(2);
}

}  // namespace

Result<FsFreeze> FsFreeze::freeze(const std::string& mount, std::int64_t limit_ns) {
    const Fd target(::open(mount.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
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
    theirs.reset();
    FsFreeze frozen(pid, std::move(ours));
    int failed = EIO;
    CW_TRY_ASSIGN(const bool ready,
                  wait_fd(frozen.pipe_.get(), false, static_cast<int>(limit_ns / ns_per_ms)));
    if (!ready || ::read(frozen.pipe_.get(), &failed, sizeof failed) != sizeof failed ||
        failed != 0) {
        return fail_errno(Errc::hook_failed, "freeze " + mount, failed);
    }
    return frozen;
}

FsFreeze::FsFreeze(FsFreeze&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)), pipe_(std::move(other.pipe_)) {}

FsFreeze::~FsFreeze() {
    thaw();
}

bool FsFreeze::thaw() {
    if (pid_ < 0) {
        return true;
    }
    pipe_.reset();
    int status = 0;
    ::waitpid(std::exchange(pid_, -1), &status, 0);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

bool Freezer::owes_thaw() {
    return !options_.post.empty() && disk_.exists(options_.marker_path).value_or(false);
}

void Freezer::begin_freeze() {
    CW_ASSERT(state_ == State::idle);
    error_.reset();
    pre_done_ = post_begun_ = false;
    deadline_ = clock_.boot() + options_.limit_ns;
    state_ = State::freezing;
    if (options_.pre.empty()) {
        freeze_mount();
        return;
    }
    // Before the hook: a kill right after it must not forget the post-hook.
    if (auto noted = write_file_atomically(disk_, options_.marker_path, as_bytes("frozen\n"));
        !noted) {
        error_ = noted.error();
        begin_thaw();
        return;
    }
    run(options_.pre);
}

void Freezer::begin_thaw() {
    if (mount_ && !mount_->thaw() && !error_) {
        error_ = Error{Errc::source_unfrozen, "the file system was thawed by its time limit"};
    }
    mount_.reset();
    hook_.reset();  // A pre-hook that still runs is killed.
    state_ = State::thawing;
    post_begun_ = false;
}

Freezer::State Freezer::step() {
    if (state_ == State::freezing && hook_) {
        if (const auto ended = hook_->poll()) {
            hook_.reset();
            if (*ended) {
                pre_done_ = true;
                freeze_mount();
            } else {
                error_ = ended->error();
                begin_thaw();
            }
        }
    }
    if (state_ == State::thawing && !post_begun_) {
        post_begun_ = true;
        if (!options_.post.empty()) {
            run(options_.post);
        }
    }
    if (state_ == State::thawing) {
        const auto ended = hook_ ? hook_->poll() : std::optional<Result<void>>(Result<void>{});
        if (ended) {
            hook_.reset();
            if (!*ended) {
                log_warning("agent.post_hook", {{"error", ended->error()}});
                error_ = error_.value_or(ended->error());
            }
            (void)disk_.remove(options_.marker_path);  // Absent without hooks.
            state_ = State::idle;
        }
    }
    return state_;
}

std::string Freezer::summary() const {
    return std::string("pre-hook ") + (pre_done_ ? "ok" : "none") + ", fsfreeze " +
           (options_.mount.empty() ? "none" : "ok");
}

void Freezer::freeze_mount() {
    if (!options_.mount.empty()) {
        auto frozen = FsFreeze::freeze(options_.mount, options_.limit_ns);
        if (!frozen) {
            error_ = frozen.error();
            begin_thaw();
            return;
        }
        mount_.emplace(std::move(*frozen));
    }
    state_ = State::frozen;
}

void Freezer::run(const std::vector<std::string>& command) {
    auto started = ChildProcess::start(command, clock_, options_.limit_ns);
    if (started) {
        hook_.emplace(std::move(*started));
        return;
    }
    error_ = started.error();
    if (state_ == State::freezing) {
        begin_thaw();
    }
}

}  // namespace cw::agent
