#include "agent/child_process.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <mutex>
#include <utility>

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

namespace cw::agent {

Result<std::vector<std::string>> split_command(std::string_view line) {
    std::vector<std::string> words;
    bool in_word = false;
    char quote = 0;
    for (std::size_t i = 0; i < line.size(); ++i) {
        const char c = line[i];
        if (quote == 0 && (c == ' ' || c == '\t')) {
            in_word = false;
            continue;
        }
        if (!in_word) {
            words.emplace_back();
            in_word = true;
        }
        if (c == '\\' && quote != '\'' && i + 1 < line.size()) {
            words.back() += line[++i];
        } else if (quote == 0 && (c == '\'' || c == '"')) {
            quote = c;
        } else if (c == quote) {
            quote = 0;
        } else {
            words.back() += c;
        }
    }
    if (quote != 0 || words.empty() || words.front().empty()) {
        return fail(Errc::usage, "command '" + std::string(line) + "'");
    }
    return words;
}

namespace {

// As execve() takes it; it does not write to them.
std::vector<char*> pointers_to(const std::vector<std::string>& words) {
    std::vector<char*> pointers;
    pointers.reserve(words.size() + 1);
    for (const std::string& word : words) {
        pointers.push_back(const_cast<char*>(word.c_str()));
    }
    pointers.push_back(nullptr);
    return pointers;
}

// Of all agents of this process, one after the other.
struct GivenUp {
    std::mutex mutex;
    std::vector<pid_t> pids;
};

GivenUp& given_up() {
    static GivenUp* const instance = new GivenUp;  // Also for those that are destroyed at exit.
    return *instance;
}

void give_up(pid_t pid) {
    const std::lock_guard lock(given_up().mutex);
    given_up().pids.push_back(pid);
}

// The child of start_held(), which blocks all signals. Only async-signal-safe calls: it was forked
// from a process with threads.
[[noreturn]] void begin_when_told(char* const* argv, int gate, int complaint) {
    ::setpgid(0, 0);
    // Copies of our connections and locks, which must end with us also before it has begun.
    unsigned next = 3;
    for (const int kept : {std::min(gate, complaint), std::max(gate, complaint)}) {
        if (static_cast<unsigned>(kept) > next) {
            ::close_range(next, static_cast<unsigned>(kept) - 1, 0);
        }
        next = std::max(next, static_cast<unsigned>(kept) + 1);
    }
    ::close_range(next, ~0U, 0);
    char word = 0;
    ssize_t told = 0;
    do {
        told = ::read(gate, &word, 1);
    } while (told < 0 && errno == EINTR);
    if (told != 1) {
        ::_exit(1);  // Who started us is gone, or has thought better of it.
    }
    const int nothing = ::open("/dev/null", O_RDONLY);
    if (nothing >= 0 && ::dup2(nothing, 0) == 0 && ::dup2(2, 1) == 1) {
        if (nothing > 2) {
            ::close(nothing);
        }
        for (int signal = 1; signal < NSIG; ++signal) {  // Ours are not the program's.
            struct sigaction action{};
            if (::sigaction(signal, nullptr, &action) == 0 && action.sa_handler != SIG_IGN) {
                action = {};
                ::sigaction(signal, &action, nullptr);
            }
        }
        sigset_t none;
        sigemptyset(&none);
        ::pthread_sigmask(SIG_SETMASK, &none, nullptr);
        ::execvp(argv[0], argv);
    }
    const int error = errno;
    [[maybe_unused]] const ssize_t said = ::write(complaint, &error, sizeof error);
    ::_exit(127);
}

// A pipe that no program inherits, as its end to read and its end to write.
Result<std::pair<Fd, Fd>> make_pipe() {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
        return fail_errno(Errc::hook_failed, "pipe", errno);
    }
    return std::pair(Fd(ends[0]), Fd(ends[1]));
}

}  // namespace

Result<ChildProcess> ChildProcess::start(const std::vector<std::string>& command, Clock& clock,
                                         std::int64_t limit_ns, int output) {
    CW_TRY_ASSIGN(ChildProcess child, start(command, clock, {.output = output}));
    child.deadline_ = clock.boot() + limit_ns;
    return child;
}

Result<ChildProcess> ChildProcess::start(const std::vector<std::string>& command, Clock& clock,
                                         const Setting& setting) {
    std::vector<char*> argv = pointers_to(command);
    std::vector<char*> own =
        setting.environment != nullptr ? pointers_to(*setting.environment) : std::vector<char*>{};
    char** const environment = setting.environment != nullptr ? own.data() : environ;
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_init(&files);
    posix_spawnattr_init(&attributes);
    posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&files, setting.output, 1);
    posix_spawn_file_actions_adddup2(&files, setting.errors, 2);
    sigset_t none;
    sigemptyset(&none);
    posix_spawnattr_setsigmask(&attributes, &none);  // The agent blocks signals; a hook must not.
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK);
    pid_t pid = -1;
    const int error =
        posix_spawnp(&pid, argv.front(), &files, &attributes, argv.data(), environment);
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&attributes);
    if (error != 0) {
        return fail_errno(Errc::hook_failed, "start " + command.front(), error);
    }
    return ChildProcess(pid, command.front(), clock, Nanos{INT64_MAX});
}

Result<ChildProcess> ChildProcess::start_held(const std::vector<std::string>& command, Clock& clock,
                                              std::int64_t limit_ns) {
    const std::vector<char*> argv = pointers_to(command);
    CW_TRY_ASSIGN(auto gate, make_pipe());
    CW_TRY_ASSIGN(auto complaint, make_pipe());
    sigset_t all, before;
    sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before);  // No handler of ours runs in the child.
    const pid_t pid = ::fork();
    if (pid == 0) {
        ::close(gate.second.get());  // Else its own copy would keep the pipe open.
        begin_when_told(argv.data(), gate.first.get(), complaint.second.get());
    }
    const int error = errno;
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    if (pid < 0) {
        return fail_errno(Errc::hook_failed, "start " + command.front(), error);
    }
    ::setpgid(pid, pid);  // Whoever comes first.
    ChildProcess child(pid, command.front(), clock, clock.boot() + limit_ns);
    child.gate_ = std::move(gate.second);
    child.complaint_ = std::move(complaint.first);
    return child;
}

void ChildProcess::release() {
    const char word = 1;
    // It may have been killed: poll() tells. SIGPIPE is ignored by the agent.
    [[maybe_unused]] const ssize_t told = ::write(gate_.get(), &word, 1);
    gate_.reset();
}

ChildProcess::ChildProcess(ChildProcess&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)),
      name_(std::move(other.name_)),
      clock_(other.clock_),
      deadline_(other.deadline_),
      killed_(other.killed_),
      gate_(std::move(other.gate_)),
      complaint_(std::move(other.complaint_)) {}

ChildProcess::~ChildProcess() {
    if (pid_ <= 0) {
        return;
    }
    ::kill(-pid_, SIGKILL);
    for (int tries = 0; tries < 1000; ++tries) {
        if (::waitpid(pid_, nullptr, WNOHANG) != 0) {
            return;
        }
        ::poll(nullptr, 0, 1);
    }
    give_up(pid_);
}

void ChildProcess::disown() {
    if (pid_ > 0) {
        give_up(std::exchange(pid_, -1));
    }
}

void ChildProcess::reap_given_up() {
    const std::lock_guard lock(given_up().mutex);
    std::erase_if(given_up().pids, [](pid_t pid) { return ::waitpid(pid, nullptr, WNOHANG) != 0; });
}

std::optional<Result<void>> ChildProcess::poll() {
    int status = 0;
    const pid_t ended = ::waitpid(pid_, &status, WNOHANG);
    if (ended == 0) {
        const std::int64_t late_ns = clock_.boot() - deadline_;
        if (late_ns < 0) {
            return std::nullopt;
        }
        if (!std::exchange(killed_, true)) {
            ::kill(-pid_, SIGKILL);
        }
        if (late_ns < stubborn_ns) {
            return std::nullopt;
        }
        give_up(std::exchange(pid_, -1));
        return fail(Errc::hook_failed, name_ + " did not end in time and cannot be killed");
    }
    pid_ = -1;
    if (ended < 0) {
        return fail_errno(Errc::hook_failed, name_, errno);
    }
    if (killed_) {
        return fail(Errc::hook_failed, name_ + " did not end in time and was killed");
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
        return Result<void>{};
    }
    int reason = 0;
    if (complaint_.valid() && ::read(complaint_.get(), &reason, sizeof reason) == sizeof reason) {
        return fail_errno(Errc::hook_failed, "start " + name_, reason);
    }
    return fail(
        Errc::hook_failed,
        name_ + (WIFEXITED(status) ? " ended with status " + std::to_string(WEXITSTATUS(status))
                                   : " died of signal " + std::to_string(WTERMSIG(status))));
}

}  // namespace cw::agent
