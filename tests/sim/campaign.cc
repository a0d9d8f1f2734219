#include "tests/sim/campaign.h"

#include "base/assert.h"
#include "tests/sim/schedule.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <sstream>

#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

namespace cw::sim {
namespace {

// Whoever has run for long holds much memory and is slow with it: then a fresh process goes on.
constexpr std::size_t schedules_per_process = 250;

// What a worker writes: one line each, the first letter says what.
//   B seed              begins            S seed              is done
//   V seed oracle|what  is violated       E text              an event before it
//   C count name        adds up            H hash              of its trace
void say(std::FILE* out, char kind, const std::string& text) {
    std::string line = text;
    std::ranges::replace(line, '\n', ' ');
    std::fprintf(out, "%c %s\n", kind, line.c_str());
}

void run_one(std::FILE* out, std::uint64_t seed, const CampaignOptions& options) {
    say(out, 'B', std::to_string(seed));
    std::fflush(out);
    Outcome outcome = run_schedule(seed, options.mutant, false);
    if (options.twice) {
        const Outcome again = run_schedule(seed, options.mutant, false);
        if (again.trace_hash != outcome.trace_hash) {
            outcome.violation = Violation{"determinism", "two runs, two traces"};
        }
    }
    if (options.expected != nullptr) {
        const auto before = options.expected->find(seed);
        if (before != options.expected->end() && before->second != outcome.trace_hash) {
            outcome.violation = Violation{"determinism", "another trace than in the run before"};
        }
    }
    if (options.hashes) {
        say(out, 'H', std::to_string(outcome.trace_hash));
    }
    for (const auto& [name, n] : outcome.counts) {
        say(out, 'C', std::to_string(n) + " " + name);
    }
    if (outcome.violation) {
        for (const std::string& event : outcome.last_events) {
            say(out, 'E', event);
        }
        say(out, 'V',
            std::to_string(seed) + " " + outcome.violation->oracle + "|" + outcome.violation->what);
    }
    say(out, 'S', std::to_string(seed));
    std::fflush(out);
}

// Of those that have been waited for.
double cpu_of_children() {
    rusage usage{};
    CW_ASSERT(::getrusage(RUSAGE_CHILDREN, &usage) == 0);
    const auto seconds = [](const timeval& t) {
        return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
    };
    return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

struct Worker {
    pid_t pid = -1;
    int fd = -1;
    std::string unread;
    std::uint64_t next = 0, running = 0;
    bool in_seed = false;
    std::vector<std::string> events;
};

class Runner {
public:
    explicit Runner(const CampaignOptions& options) : options_(options) {}

    CampaignResult run() {
        const auto begin = std::chrono::steady_clock::now();
        const double cpu_before = cpu_of_children();
        workers_.resize(options_.processes);
        for (std::size_t i = 0; i < workers_.size(); ++i) {
            workers_[i].next = options_.from + i;
            spawn(workers_[i]);
        }
        while (std::ranges::any_of(workers_, [](const Worker& w) { return w.fd >= 0; })) {
            collect();
            if (enough()) {
                end_all();
            }
        }
        std::ranges::sort(result_.findings, {}, &Finding::seed);
        result_.seconds =
            std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
        result_.cpu_seconds = cpu_of_children() - cpu_before;
        return std::move(result_);
    }

private:
    // Looks at what is new since it looked last.
    bool enough() {
        for (; options_.stop_at_first && looked_at_ < result_.findings.size(); ++looked_at_) {
            enough_ |= options_.counts(result_.findings[looked_at_]);
        }
        return enough_;
    }
    void spawn(Worker& worker) {
        if (worker.next > options_.to) {
            return;
        }
        int pipe_fds[2];
        CW_ASSERT(::pipe(pipe_fds) == 0);
        std::fflush(stdout);
        worker.pid = ::fork();
        CW_ASSERT(worker.pid >= 0);
        if (worker.pid == 0) {
            ::close(pipe_fds[0]);
            work(worker.next, pipe_fds[1]);
        }
        ::close(pipe_fds[1]);
        worker.fd = pipe_fds[0];
        worker.unread.clear();
    }
    [[noreturn]] void work(std::uint64_t first, int fd) const {
        std::FILE* const out = ::fdopen(fd, "w");
        // Images come and go by the thousand: their pages need not.
        mallopt(M_MMAP_THRESHOLD, 1 << 30);
        mallopt(M_TRIM_THRESHOLD, 1 << 30);
        if (options_.mutant != Mutant::none) {
            // How an assertion reads is of no interest here; that it failed is the finding.
            CW_ASSERT(std::freopen("/dev/null", "w", stderr) != nullptr);
        }
        std::size_t left = schedules_per_process;
        for (std::uint64_t seed = first; seed <= options_.to && left > 0; --left) {
            run_one(out, seed, options_);
            seed += options_.processes;
        }
        std::fclose(out);
        ::_exit(0);
    }
    void collect() {
        std::vector<pollfd> waits;
        std::vector<Worker*> owners;
        for (Worker& worker : workers_) {
            if (worker.fd >= 0) {
                waits.push_back({.fd = worker.fd, .events = POLLIN, .revents = 0});
                owners.push_back(&worker);
            }
        }
        ::poll(waits.data(), waits.size(), 1000);
        for (std::size_t i = 0; i < waits.size(); ++i) {
            if (waits[i].revents != 0) {
                read_some(*owners[i]);
            }
        }
    }
    void read_some(Worker& worker) {
        char buffer[16384];
        const ssize_t got = ::read(worker.fd, buffer, sizeof buffer);
        if (got <= 0) {
            ended(worker);
            return;
        }
        worker.unread.append(buffer, static_cast<std::size_t>(got));
        std::size_t line = 0;
        for (std::size_t end; (end = worker.unread.find('\n', line)) != std::string::npos;
             line = end + 1) {
            take(worker, worker.unread.substr(line, end - line));
        }
        worker.unread.erase(0, line);
    }
    void take(Worker& worker, const std::string& line) {
        std::istringstream in(line.substr(2));
        if (line[0] == 'B') {
            in >> worker.running;
            worker.in_seed = true;
            worker.events.clear();
        } else if (line[0] == 'S') {
            worker.in_seed = false;
            ++result_.schedules;
            if (options_.progress) {
                options_.progress(result_.schedules);
            }
        } else if (line[0] == 'C') {
            std::uint64_t n = 0;
            std::string name;
            in >> n >> name;
            result_.counts[name] += n;
        } else if (line[0] == 'H') {
            in >> result_.hashes[worker.running];
        } else if (line[0] == 'E') {
            worker.events.push_back(line.substr(2));
        } else if (line[0] == 'V') {
            const std::size_t space = line.find(' ', 2), bar = line.find('|', 2);
            result_.findings.push_back({worker.running, line.substr(space + 1, bar - space - 1),
                                        line.substr(bar + 1), worker.events});
        }
    }
    void ended(Worker& worker) {
        ::close(worker.fd);
        worker.fd = -1;
        int status = 0;
        CW_ASSERT(::waitpid(worker.pid, &status, 0) == worker.pid);
        if (!worker.in_seed) {
            worker.next = worker.running + options_.processes;
            if (!enough() && WIFEXITED(status) && WEXITSTATUS(status) == 0) {
                spawn(worker);
            }
            return;
        }
        worker.in_seed = false;
        const std::string how = WIFSIGNALED(status)
                                    ? "died of signal " + std::to_string(WTERMSIG(status))
                                    : "exited with " + std::to_string(WEXITSTATUS(status));
        result_.findings.push_back({worker.running, "assertion", "the process " + how, {}});
        ++result_.schedules;
        worker.next = worker.running + options_.processes;
        if (!enough()) {
            spawn(worker);
        }
    }
    void end_all() {
        for (Worker& worker : workers_) {
            if (worker.fd >= 0) {
                ::kill(worker.pid, SIGKILL);
                worker.in_seed = false;
                ended(worker);
            }
        }
    }

    const CampaignOptions& options_;
    std::vector<Worker> workers_;
    CampaignResult result_;
    std::size_t looked_at_ = 0;
    bool enough_ = false;
};

}  // namespace

bool CampaignOptions::counts(const Finding& finding) const {
    return oracles.empty() ||
           (' ' + std::string(oracles) + ' ').contains(' ' + finding.oracle + ' ');
}

CampaignResult run_campaign(const CampaignOptions& options) {
    return Runner(options).run();
}

}  // namespace cw::sim
