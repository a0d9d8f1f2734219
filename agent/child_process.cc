#include "agent/child_process.h"

#include <cerrno>
#include <csignal>
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

constexpr std::int64_t stubborn_ns = 5 * ns_per_s;

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

ChildProcess::ChildProcess(ChildProcess&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)),
      name_(std::move(other.name_)),
      clock_(other.clock_),
      deadline_(other.deadline_),
      killed_(other.killed_) {}

ChildProcess::~ChildProcess() {
    if (pid_ <= 0) {
        return;
    }
    ::kill(-pid_, SIGKILL);
    for (int tries = 0; tries < 1000 && ::waitpid(pid_, nullptr, WNOHANG) == 0; ++tries) {
        ::poll(nullptr, 0, 1);
    }
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
        pid_ = -1;
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
    return fail(
        Errc::hook_failed,
        name_ + (WIFEXITED(status) ? " ended with status " + std::to_string(WEXITSTATUS(status))
                                   : " died of signal " + std::to_string(WTERMSIG(status))));
}

}  // namespace cw::agent
