// causeway-agent: the command line of the mobility agent. See README.md beside this file.
#include "agent/agent.h"
#include "agent/full_disk.h"
#include "agent/nbd/nbd_guard.h"
#include "agent/program/command_line.h"
#include "agent/program/progress_line.h"
#include "agent/program/renewal.h"
#include "base/core_files.h"
#include "base/crash_point.h"
#include "base/exit_code.h"
#include "base/log.h"
#include "base/standard_streams.h"

#include <atomic>
#include <csignal>
#include <cstdio>

#include <unistd.h>

namespace {

using namespace cw;

std::atomic<agent::Agent*> running{nullptr};
std::atomic<bool> stop_asked{false};

void on_signal(int) {
    stop_asked = true;
    if (agent::Agent* const agent = running.load()) {
        agent->stop();
    }
    agent::stop_seed();
}

void watch_signals() {
    struct sigaction action{};
    action.sa_handler = on_signal;
    ::sigaction(SIGTERM, &action, nullptr);
    ::sigaction(SIGINT, &action, nullptr);
    ::signal(SIGPIPE, SIG_IGN);
}

int complain(const Error& error) {
    // It may tell what a server said.
    constexpr std::size_t error_text_max = 8192;
    std::fprintf(stderr, "causeway-agent: %s\n",
                 escape_for_display(to_string(error), error_text_max).c_str());
    return exit_code_of(error.code);
}

// A virtual machine that is being started again needs a moment.
bool wait_for_machine(const Error& error, bool before) {
    if (!before || error.code != Errc::qmp_failed || stop_asked) {
        return false;
    }
    log_info("agent.qemu.wait", {{"error", error}});
    ::sleep(1);  // A signal ends it.
    return !stop_asked;
}

int protect(const agent::ProtectCommand& command) {
    const auto level = parse_log_level(command.log_level);
    if (!level) {
        return complain(level.error());
    }
    set_log_level(*level);
    const std::string& state = command.options.state_directory;
    const auto clock = make_system_clock();
    const auto random = make_system_random();
    watch_signals();
    using Form = agent::ProgressLine::Form;
    std::optional<agent::Renewal> renewal;
    if (command.enrolled) {
        renewal.emplace(*clock, command.options.state_directory, command.renew_before_ns);
    }
    const bool line = command.progress || ::isatty(STDERR_FILENO) == 1;
    agent::ProgressLine progress(*clock, command.json ? Form::json
                                         : line       ? Form::text
                                                      : Form::none);
    for (bool before = false;; before = true) {
        auto agent = agent::Agent::create(command.options, *clock, *random);
        if (!agent && wait_for_machine(agent.error(), before)) {
            continue;
        }
        if (!agent) {
            return stop_asked ? 0 : complain(agent::name_full_disk(agent.error(), state));
        }
        running = agent->get();
        if (stop_asked) {
            (*agent)->stop();  // It came before there was anybody to tell.
        }
        if (!before) {
            std::fprintf(stderr, "ready\n");
        }
        const auto ended = (*agent)->run([&](const auto& status) { progress.show(status); });
        running = nullptr;
        progress.finish();
        if (!ended || !(*agent)->wants_restart()) {
            return ended ? 0 : complain(agent::name_full_disk(ended.error(), state));
        }
    }
}

int hrl_diff(const agent::HrlDiffRequest& request) {
    const auto made = agent::write_hrl_diff(request, *make_posix_disk(), *make_system_clock(),
                                            *make_system_random());
    if (!made) {
        return complain(made.error());
    }
    std::printf("%s: %llu writes\n", request.output.c_str(),
                static_cast<unsigned long long>(*made));
    return 0;
}

int enrol(const agent::EnrolCommand& command) {
    ::signal(SIGPIPE, SIG_IGN);
    const auto disk = make_posix_disk();
    const auto done =
        command.renew ? agent::renew(*disk, command.state_directory) : agent::enrol(*disk, command);
    if (!done) {
        return complain(done.error());
    }
    std::printf("machine %s, replication to %s\n", to_string(done->machine).c_str(),
                to_string(done->replication).c_str());
    return 0;
}

int ask(const agent::AskCommand& command) {
    const auto answer = agent::ask_agent(command.socket, command.request, command.timeout_ms);
    if (!answer) {
        return complain(answer.error());
    }
    return agent::print_answer(command, *answer);
}

}  // namespace

int main(int argc, char** argv) {
    cw::keep_standard_streams();
    cw::forbid_core_files();
    try {
        auto parsed = agent::parse_command_line(argc, argv);
        if (parsed.exit) {
            return *parsed.exit;
        }
        if (parsed.list_crash_points) {
            for (const std::string_view name : crash_point_names()) {
                std::printf("%.*s\n", static_cast<int>(name.size()), name.data());
            }
            return 0;
        }
        if (parsed.guard) {
            return agent::run_guard(STDIN_FILENO, *make_system_clock());
        }
        if (parsed.hrl_diff) {
            return hrl_diff(*parsed.hrl_diff);
        }
        if (parsed.enrol) {
            return enrol(*parsed.enrol);
        }
        if (parsed.seed) {
            watch_signals();
            return agent::run_seed(std::move(*parsed.seed));
        }
        if (const auto armed = arm_crash_point_from_environment(); !armed) {
            return complain(armed.error());
        }
        if (parsed.protect) {
            parsed.protect->options.guard_program = "/proc/self/exe";
            return protect(*parsed.protect);
        }
        return ask(*parsed.ask);
    } catch (const std::exception& unforeseen) {
        std::fprintf(stderr, "causeway-agent: %s\n", unforeseen.what());
        return 1;
    }
}
