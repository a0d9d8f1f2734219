#include "agent/program/command_line.h"

#include "agent/program/option_text.h"
#include "base/log.h"

#include <array>
#include <cstdio>

#include <CLI/CLI.hpp>
#include <unistd.h>

namespace cw::agent {
namespace {

void add_enrol(CLI::App& app, EnrolCommand& out, std::string& server, std::string& timeout) {
    CLI::Option* const where =
        app.add_option("--server", server, "the server's control port, HOST:PORT");
    CLI::Option* const token = app.add_option("--token-file", out.token_file,
                                              "file with the token, mode 0600; -: standard input");
    app.add_option("--state", out.state_directory, "directory for the agent's state")->required();
    app.add_option("--name", out.name, "of this machine, for people; default: the host name");
    CLI::Option* const wait =
        app.add_option("--timeout", timeout, "how long a busy server is asked again")
            ->capture_default_str();
    app.add_flag("--renew", out.renew, "a new certificate for the one that is still valid")
        ->excludes(where)
        ->excludes(token)
        ->excludes(wait);
}

void finish_enrol(EnrolCommand& out, const std::string& server, const std::string& timeout) {
    if (out.renew) {
        return;
    }
    if (server.empty() || out.token_file.empty()) {
        throw CLI::RequiredError("--server and --token-file, or --renew");
    }
    out.server = unwrap("--server", parse_host_port(server));
    out.timeout_ns = duration_ns("--timeout", timeout);
    if (out.name.empty()) {
        std::array<char, 65> host{};
        ::gethostname(host.data(), host.size() - 1);
        out.name = host.data();
    }
}

}  // namespace

CommandLine parse_command_line(int argc, char** argv) {
    CLI::App app{"Causeway's mobility agent: protects the disks of this machine", "causeway-agent"};
    app.set_version_flag("--version", "causeway-agent 0.1.0");
    app.require_subcommand(0, 1);
    bool list_crash_points = false;
    app.add_flag("--list-crash-points", list_crash_points)->group("");  // For tests only: hidden.
    ProtectCommandLine protect(app);
    AskCommandLine ask(app);
    CLI::App* const guard = app.add_subcommand("guard", "started by an agent for itself");
    guard->group("");  // Not for people.
    EnrolCommand enrol;
    std::string enrol_server, enrol_timeout = "60s";
    CLI::App& enrolling = *app.add_subcommand("enrol", "get this machine's certificate by a token");
    add_enrol(enrolling, enrol, enrol_server, enrol_timeout);
    HrlDiffRequest diff;
    CLI::App& hrl = *app.add_subcommand("hrl-diff", "what changed between two images, as a log");
    hrl.add_option("--from", diff.from, "the older image")->required();
    hrl.add_option("--to", diff.to, "the newer image")->required();
    hrl.add_option("--output", diff.output, "the replica log to make")->required();
    hrl.add_option("--after", diff.after, "the log that it continues");
    SeedCommandLine seed(app);
    CommandLine out;
    try {
        app.parse(argc, argv);
        out.list_crash_points = list_crash_points;
        if (out.list_crash_points) {
            return out;
        }
        if (app.get_subcommands().empty()) {
            throw CLI::RequiredError("A subcommand");
        }
        out.guard = guard->parsed();
        if (hrl.parsed()) {
            out.hrl_diff = std::move(diff);
        }
        if (enrolling.parsed()) {
            finish_enrol(enrol, enrol_server, enrol_timeout);
            out.enrol = std::move(enrol);
        }
        if (seed.parsed()) {
            out.seed = seed.finish();
        }
        if (out.guard || out.hrl_diff || out.enrol || out.seed) {
            return out;
        }
        if (protect.parsed()) {
            out.protect = protect.finish();
        } else {
            out.ask = ask.finish();
        }
    } catch (const CLI::ParseError& wrong) {
        if (wrong.get_exit_code() == 0) {  // --help, --version
            out.exit = app.exit(wrong);
            return out;
        }
        std::fprintf(stderr, "causeway-agent: %s\n",
                     to_string(Error{Errc::usage, escape_for_display(wrong.what(), 1024)}).c_str());
        out.exit = 2;
    }
    return out;
}

}  // namespace cw::agent
