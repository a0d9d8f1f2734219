#include "appliance/operator/child_guard.h"

#include "base/assert.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <optional>
#include <utility>

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

namespace cw::appliance {
namespace {

constexpr int first_of_ours = STDERR_FILENO + 1;

struct Start {
    char* const* argv;
    int output;     // -1: ours.
    int life;       // Ends with the runner.
    int complaint;  // Takes an errno if the program cannot be started.
};

// From here to start_guarded() only async-signal-safe calls: the runner may have threads.

void nothing_to_do(int /*signal*/) {}

volatile std::sig_atomic_t told_to_end = 0;
void tell_to_end(int /*signal*/) {
    told_to_end = 1;
}

void keep_descriptors(const Start& start) {
    // A runner whose own standard streams are closed got one of their numbers for it.
    const int output =
        start.output >= 0 ? ::fcntl(start.output, F_DUPFD, first_of_ours) : start.output;
    const int nothing = ::open("/dev/null", O_RDONLY);
    if (nothing >= 0) {
        ::dup2(nothing, STDIN_FILENO);
    }
    if (output >= 0) {
        ::dup2(output, STDOUT_FILENO);
        ::dup2(output, STDERR_FILENO);
    }
    // Copies of the runner's locks and connections, and of its ends of other children's pipes, must
    // end with the runner.
    unsigned next = first_of_ours;
    for (const int kept :
         {std::min(start.life, start.complaint), std::max(start.life, start.complaint)}) {
        if (static_cast<unsigned>(kept) > next) {
            ::close_range(next, static_cast<unsigned>(kept) - 1, 0);
        }
        next = std::max(next, static_cast<unsigned>(kept) + 1);
    }
    ::close_range(next, ~0U, 0);
}

[[noreturn]] void be_program(const Start& start, pid_t guard) {
    // Should somebody kill the guard alone. It has one thread, so the signal means what it says.
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != guard) {
        ::_exit(127);
    }
    for (const int number : {SIGINT, SIGTERM, SIGPIPE, SIGHUP}) {
        ::signal(number, SIG_DFL);  // Also if the runner ignores it.
    }
    sigset_t none;
    ::sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    ::execvp(start.argv[0], start.argv);
    const int error = errno;
    [[maybe_unused]] const ssize_t said = ::write(start.complaint, &error, sizeof error);
    ::_exit(127);
}

// The next number in `text`, which is digits and spaces; 0: none.
pid_t take_number(const char*& text, const char* end) {
    pid_t number = 0;
    while (text != end && (*text < '0' || *text > '9')) {
        ++text;
    }
    for (; text != end && *text >= '0' && *text <= '9'; ++text) {
        number = number * 10 + (*text - '0');
    }
    return number;
}

// Calls `act` with each of our children in our session: a bool, whether it did something. A longer
// list than fits is taken up by the next call.
template <typename Act>
bool for_each_child(Act act) {
    char list[4096];
    const int fd = ::open("/proc/thread-self/children", O_RDONLY | O_CLOEXEC);
    const ssize_t n = fd < 0 ? 0 : ::read(fd, list, sizeof list);
    ::close(fd);
    const char* at = list;
    // A number that is cut off at the end would be somebody else's.
    const char* end = list + std::max<ssize_t>(n, 0);
    while (end != list && end[-1] != ' ') {
        --end;
    }
    bool any = false;
    while (const pid_t child = take_number(at, end)) {
        if (::getsid(child) == ::getsid(0)) {
            any = act(child) || any;
        }
    }
    return any;
}

// Whatever the program has started, in process groups of its own too (timeout(1) makes one, and a
// shell with job control), ends with the runner. Who has made a session has left for good: daemons
// that a script of a plan started.
[[noreturn]] void end_all() {
    while (for_each_child([](pid_t child) { return ::kill(child, SIGKILL) == 0; })) {
        ::waitpid(-1, nullptr, 0);  // Its children are ours now.
    }
    ::kill(0, SIGKILL);  // Ourselves too; and all of it where /proc says nothing.
    ::_exit(127);
}

// The runner's SIGTERM to the group has not reached a program that has left it.
void pass_on_term() {
    for_each_child(
        [](pid_t child) { return ::getpgid(child) != ::getpgrp() && ::kill(child, SIGTERM) == 0; });
}

bool any_child(pid_t /*child*/) {
    return true;
}

bool term_is_pending() {
    sigset_t pending;
    return ::sigpending(&pending) == 0 && ::sigismember(&pending, SIGTERM) == 1;
}

// All signals are blocked: those to the group are the program's, and what the program makes of them
// is its own business.
[[noreturn]] void be_guard(const Start& start) {
    ::setpgid(0, 0);
    ::prctl(PR_SET_NAME, "causeway-guard");
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);  // What loses its parent stays beneath us.
    keep_descriptors(start);
    struct sigaction action{};
    action.sa_handler = nothing_to_do;
    ::sigaction(SIGCHLD, &action, nullptr);
    action.sa_handler = tell_to_end;
    ::sigaction(SIGTERM, &action, nullptr);
    const pid_t self = ::getpid();
    const pid_t program = ::fork();
    if (program == 0) {
        be_program(start, self);
    }
    if (program < 0) {
        const int error = errno;
        [[maybe_unused]] const ssize_t said = ::write(start.complaint, &error, sizeof error);
        ::_exit(127);
    }
    ::close(start.complaint);
    sigset_t while_waiting;
    ::sigfillset(&while_waiting);
    ::sigdelset(&while_waiting, SIGCHLD);
    ::sigdelset(&while_waiting, SIGTERM);
    std::optional<int> code;
    bool ending = false;
    while (true) {
        int status = 0;
        for (pid_t ended = 0; (ended = ::waitpid(-1, &status, WNOHANG)) > 0;) {
            if (ended == program) {
                code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
            }
        }
        // One that was ended is not over while something it has started would not end with it.
        if (code && !((ending || term_is_pending()) && for_each_child(any_child))) {
            ::_exit(*code);
        }
        pollfd runner{.fd = start.life, .events = POLLIN, .revents = 0};
        if (::ppoll(&runner, 1, nullptr, &while_waiting) > 0) {
            end_all();
        }
        if (told_to_end != 0) {
            told_to_end = 0;
            ending = true;
            pass_on_term();
        }
    }
}

// A pipe that no program inherits, as its end to read and its end to write. Neither lies where the
// guard puts the program's standard streams.
Result<std::pair<Fd, Fd>> make_pipe() {
    int ends[2] = {-1, -1};
    if (::pipe2(ends, O_CLOEXEC) != 0) {
        return fail_errno(Errc::io_error, "pipe", errno);
    }
    std::pair<Fd, Fd> made{Fd(ends[0]), Fd(ends[1])};
    for (Fd* const end : {&made.first, &made.second}) {
        if (end->get() < first_of_ours) {
            Fd moved(::fcntl(end->get(), F_DUPFD_CLOEXEC, first_of_ours));
            if (!moved.valid()) {
                return fail_errno(Errc::io_error, "pipe", errno);
            }
            *end = std::move(moved);
        }
    }
    return made;
}

// The errno with which the program could not be started; none: it was.
std::optional<int> read_complaint(const Fd& complaint) {
    int error = 0;
    ssize_t n = 0;
    do {
        n = ::read(complaint.get(), &error, sizeof error);
    } while (n < 0 && errno == EINTR);
    return n == sizeof error ? std::optional(error) : std::nullopt;
}

}  // namespace

Result<GuardedChild> start_guarded(const std::vector<std::string>& argv, int output) {
    CW_ASSERT(!argv.empty());
    std::vector<char*> words;
    words.reserve(argv.size() + 1);
    for (const std::string& word : argv) {
        words.push_back(const_cast<char*>(word.c_str()));  // execvp() does not write to them.
    }
    words.push_back(nullptr);
    CW_TRY_ASSIGN(auto life, make_pipe());
    CW_TRY_ASSIGN(auto complaint, make_pipe());
    sigset_t all, before;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before);  // No handler of ours runs in the guard.
    const pid_t pid = ::fork();
    if (pid == 0) {
        be_guard({words.data(), output, life.first.get(), complaint.second.get()});
    }
    const int error = errno;
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    if (pid < 0) {
        return fail_errno(Errc::io_error, "start " + argv.front(), error);
    }
    ::setpgid(pid, pid);  // Whoever comes first.
    complaint.second.reset();
    if (const auto reason = read_complaint(complaint.first)) {
        ::waitpid(pid, nullptr, 0);
        return *reason == ENOENT ? fail(Errc::not_found, "program " + argv.front())
                                 : fail_errno(Errc::io_error, "start " + argv.front(), *reason);
    }
    return GuardedChild{pid, std::move(life.second)};
}

}  // namespace cw::appliance
