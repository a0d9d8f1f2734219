#include "appliance/operator/subprocess.h"

#include "base/assert.h"

#include <cerrno>
#include <csignal>
#include <utility>

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

namespace cw::appliance {
namespace {

constexpr int term_wait_ms = 10'000, slice_ms = 20;

struct SpawnSettings {
    SpawnSettings() {
        posix_spawn_file_actions_init(&actions);
        posix_spawnattr_init(&attributes);
        posix_spawnattr_setflags(
            &attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
        posix_spawnattr_setpgroup(&attributes, 0);
        sigset_t none, defaults;
        ::sigemptyset(&none);
        ::sigemptyset(&defaults);
        for (const int number : {SIGINT, SIGTERM, SIGPIPE, SIGHUP}) {
            ::sigaddset(&defaults, number);
        }
        posix_spawnattr_setsigmask(&attributes, &none);
        posix_spawnattr_setsigdefault(&attributes, &defaults);
        posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    }
    ~SpawnSettings() {
        posix_spawnattr_destroy(&attributes);
        posix_spawn_file_actions_destroy(&actions);
    }
    SpawnSettings(const SpawnSettings&) = delete;
    SpawnSettings& operator=(const SpawnSettings&) = delete;

    posix_spawn_file_actions_t actions{};
    posix_spawnattr_t attributes{};
};

}  // namespace

Result<Subprocess> Subprocess::start(const std::vector<std::string>& argv, bool capture) {
    CW_ASSERT(!argv.empty());
    int ends[2] = {-1, -1};
    SpawnSettings settings;
    if (capture) {
        if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) {
            return fail_errno(Errc::io_error, "pipe", errno);
        }
        ::fcntl(ends[1], F_SETFL, 0);  // Ours is read without blocking, the child's is plain.
        posix_spawn_file_actions_adddup2(&settings.actions, ends[1], STDOUT_FILENO);
        posix_spawn_file_actions_adddup2(&settings.actions, ends[1], STDERR_FILENO);
    }
    std::vector<char*> arguments;
    arguments.reserve(argv.size() + 1);
    for (const std::string& argument : argv) {
        arguments.push_back(const_cast<char*>(argument.c_str()));
    }
    arguments.push_back(nullptr);
    pid_t pid = -1;
    const int error = ::posix_spawnp(&pid, arguments.front(), &settings.actions,
                                     &settings.attributes, arguments.data(), environ);
    if (ends[1] >= 0) {
        ::close(ends[1]);
    }
    if (error != 0) {
        if (ends[0] >= 0) {
            ::close(ends[0]);
        }
        return error == ENOENT ? fail(Errc::not_found, "program " + argv.front())
                               : fail_errno(Errc::io_error, "start " + argv.front(), error);
    }
    return Subprocess(pid, ends[0]);
}

Subprocess::Subprocess(Subprocess&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)),
      fd_(std::exchange(other.fd_, -1)),
      ended_(other.ended_),
      exit_code_(other.exit_code_),
      output_(std::move(other.output_)) {}

Subprocess::~Subprocess() {
    end();
    if (fd_ >= 0) {
        ::close(fd_);
    }
}

bool Subprocess::read_some() {
    bool any = false;
    char buffer[8192];
    while (fd_ >= 0) {
        const ssize_t n = ::read(fd_, buffer, sizeof buffer);
        if (n > 0) {
            output_.append(buffer, static_cast<std::size_t>(n));
            any = true;
            continue;
        }
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n == 0) {
            ::close(std::exchange(fd_, -1));
        }
        break;
    }
    if (output_.size() > output_bytes_max) {
        output_.erase(0, output_.size() - output_bytes_max);
    }
    return any;
}

bool Subprocess::reap(bool block) {
    if (ended_) {
        return true;
    }
    int status = 0;
    pid_t got = 0;
    do {
        got = ::waitpid(pid_, &status, block ? 0 : WNOHANG);
    } while (got < 0 && errno == EINTR);
    if (got != pid_) {
        return false;
    }
    ended_ = true;
    exit_code_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return true;
}

bool Subprocess::poll(std::int64_t timeout_ns) {
    // A pipe that a grandchild holds open does not keep a dead child alive, so time is sliced.
    for (std::int64_t left_ms = timeout_ns / ns_per_ms;; left_ms -= slice_ms) {
        const bool any = read_some();
        if (reap(false)) {
            read_some();
            return true;
        }
        if (any || left_ms <= 0) {
            return false;
        }
        pollfd wanted{.fd = fd_, .events = POLLIN, .revents = 0};
        ::poll(&wanted, fd_ >= 0 ? 1 : 0, slice_ms);
    }
}

void Subprocess::signal(int number) const noexcept {
    if (pid_ > 0 && !ended_) {
        ::kill(-pid_, number);
    }
}

void Subprocess::end() {
    if (pid_ <= 0 || ended_) {
        return;
    }
    signal(SIGTERM);
    for (int waited = 0; waited < term_wait_ms && !reap(false); waited += slice_ms) {
        ::poll(nullptr, 0, slice_ms);
    }
    if (!ended_) {
        signal(SIGKILL);
        reap(true);
    }
}

Result<CommandResult> run_command(const std::vector<std::string>& argv, Clock& clock,
                                  const CommandLimits& limits) {
    CW_TRY_ASSIGN(Subprocess child, Subprocess::start(argv, true));
    const Nanos deadline = clock.boot() + limits.timeout_ns;
    constexpr std::int64_t wait_ns = 200 * ns_per_ms;
    std::size_t seen = 0;
    while (!child.poll(wait_ns)) {
        if (limits.watch && child.output().size() != seen) {
            seen = child.output().size();
            if (!limits.watch(child.output())) {
                break;
            }
        }
        if (limits.cancelled && limits.cancelled()) {
            return fail(Errc::cancelled, argv.front());
        }
        if (clock.boot() - deadline >= 0) {
            return fail(Errc::io_error,
                        argv.front() + " did not end within " +
                            std::to_string(limits.timeout_ns / ns_per_s) + " s; its last words: " +
                            child.output().substr(
                                child.output().size() > 300 ? child.output().size() - 300 : 0));
        }
    }
    child.end();
    return CommandResult{child.exit_code(), child.output()};
}

}  // namespace cw::appliance
