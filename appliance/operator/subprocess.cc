#include "appliance/operator/subprocess.h"

#include <cerrno>
#include <csignal>
#include <utility>

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

namespace cw::appliance {
namespace {

constexpr int term_wait_ms = 10'000, kill_wait_ms = 5'000, slice_ms = 20;

std::string limit_text(std::int64_t ns) {
    return ns % ns_per_s == 0 ? std::to_string(ns / ns_per_s) + " s"
                              : std::to_string(ns / ns_per_ms) + " ms";
}

}  // namespace

Result<Subprocess> Subprocess::start(const std::vector<std::string>& argv, bool capture) {
    Fd ours, theirs;
    if (capture) {
        int ends[2] = {-1, -1};
        if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) {
            return fail_errno(Errc::io_error, "pipe", errno);
        }
        ours = Fd(ends[0]);
        theirs = Fd(ends[1]);
        ::fcntl(ends[1], F_SETFL, 0);  // Ours is read without blocking, the child's is plain.
    }
    CW_TRY_ASSIGN(GuardedChild child, start_guarded(argv, theirs.get()));
    return Subprocess(std::move(child), std::move(ours));
}

Subprocess::Subprocess(Subprocess&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)),
      life_(std::move(other.life_)),
      fd_(std::move(other.fd_)),
      ended_(other.ended_),
      exit_code_(other.exit_code_),
      output_(std::move(other.output_)) {}

Subprocess::~Subprocess() {
    end();
}

bool Subprocess::read_some() {
    bool any = false;
    char buffer[8192];
    while (fd_.valid()) {
        const ssize_t n = ::read(fd_.get(), buffer, sizeof buffer);
        if (n > 0) {
            output_.append(buffer, static_cast<std::size_t>(n));
            any = true;
            continue;
        }
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n == 0) {
            fd_.reset();
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
        pollfd wanted{.fd = fd_.get(), .events = POLLIN, .revents = 0};
        ::poll(&wanted, fd_.valid() ? 1 : 0, slice_ms);
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
        life_.reset();  // As if we were gone: the guard kills what has left its group, too.
        for (int waited = 0; waited < kill_wait_ms && !reap(false); waited += slice_ms) {
            ::poll(nullptr, 0, slice_ms);
        }
    }
    if (!ended_) {
        signal(SIGKILL);
        reap(true);
    }
}

std::string one_line(std::string_view output) {
    std::string out;
    for (const char c : output) {
        if (c == '\n' || c == '\r') {
            out += out.empty() || out.ends_with("; ") ? "" : "; ";
        } else {
            out += c;
        }
    }
    while (out.ends_with("; ")) {
        out.resize(out.size() - 2);
    }
    return out;
}

std::string last_words(std::string_view output, std::size_t max) {
    const std::string line = one_line(output);
    return line.size() > max ? line.substr(line.size() - max) : line;
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
            return fail(Errc::io_error, argv.front() + " did not end within " +
                                            limit_text(limits.timeout_ns) +
                                            "; its last words: " + last_words(child.output()));
        }
    }
    child.end();
    return CommandResult{child.exit_code(), child.output()};
}

}  // namespace cw::appliance
