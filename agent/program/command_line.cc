#include "agent/program/command_line.h"

#include <charconv>
#include <cstdio>
#include <filesystem>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>
#include <unistd.h>

namespace cw::agent {
namespace {

using nlohmann::json;

constexpr std::string_view socket_name = "/agent.sock";

// "5s", "500ms", "2m", "1h"; a bare number is seconds. Throws CLI::ValidationError.
std::int64_t duration_ns(const std::string& option, const std::string& text) {
    std::int64_t number = 0;
    const auto [end, bad] = std::from_chars(text.data(), text.data() + text.size(), number);
    const std::string_view unit(end, static_cast<std::size_t>(text.data() + text.size() - end));
    const std::int64_t scale = unit == "ms"                  ? ns_per_ms
                               : unit == "s" || unit.empty() ? ns_per_s
                               : unit == "m"                 ? 60 * ns_per_s
                               : unit == "h"                 ? 3600 * ns_per_s
                                                             : 0;
    if (bad != std::errc{} || scale == 0 || number < 0 || number > 1'000'000) {
        throw CLI::ValidationError(option, "'" + text + "' is not a duration such as 5s or 500ms");
    }
    return number * scale;
}

// "128MiB", "1GiB", "0". Throws CLI::ValidationError.
std::uint64_t size_bytes(const std::string& option, const std::string& text) {
    std::uint64_t number = 0;
    const auto [end, bad] = std::from_chars(text.data(), text.data() + text.size(), number);
    const std::string_view unit(end, static_cast<std::size_t>(text.data() + text.size() - end));
    const std::uint64_t scale = unit.empty()                   ? 1
                                : unit == "KiB" || unit == "K" ? kib
                                : unit == "MiB" || unit == "M" ? mib
                                : unit == "GiB" || unit == "G" ? gib
                                                               : 0;
    if (bad != std::errc{} || scale == 0 || number > (1ULL << 50) / scale) {
        throw CLI::ValidationError(option, "'" + text + "' is not a size such as 128MiB");
    }
    return number * scale;
}

template <typename T>
T unwrap(const std::string& option, Result<T> result) {
    if (!result) {
        throw CLI::ValidationError(option, to_string(result.error()));
    }
    return std::move(*result);
}

struct ProtectText {
    std::vector<std::string> servers, images, disks, names;
    std::string linger = "20ms", memory = "128MiB", spool = "0";
    std::string mode = "data", interval, app_interval;  // Empty: as the server says.
    std::string nbd_listen, pre, post, hook_timeout = "60s";
    std::vector<std::string> members, coordinators;
    std::string hrl_after;
    std::string group_listen, group_interval = "0", group_hold = "300ms";
    std::string renew_before = "0";
    std::string hints = "off", full_scan_every = "1h";
};

void add_protect(CLI::App& app, ProtectCommand& out, ProtectText& text) {
    AgentOptions& options = out.options;
    app.set_config("--config", "", "read options from this file (key = value)");
    app.add_option("--server", text.servers,
                   "process server, HOST:PORT; several are tried in turn; default: where enrolled");
    CLI::Option* const ca = app.add_option("--ca", options.target.files.ca_file,
                                           "the site's CA certificates; default: as enrolled");
    CLI::Option* const cert = app.add_option("--cert", options.target.files.cert_file,
                                             "this machine's certificate; default: as enrolled");
    CLI::Option* const key =
        app.add_option("--key", options.target.files.key_file, "its private key, mode 0600");
    ca->needs(cert)->needs(key);
    cert->needs(ca)->needs(key);
    key->needs(ca)->needs(cert);
    app.add_option("--renew-before", text.renew_before,
                   "renew the enrolled certificate when it is valid for less; 0: a third of its "
                   "time")
        ->capture_default_str();
    app.add_option("--state", options.state_directory, "directory for the agent's state")
        ->required();
    app.add_option("--qga", options.guest_agent_socket,
                   "with --qmp: the guest agent's socket, to freeze the guest for a point");
    app.add_option("--app-interval", text.app_interval,
                   "with --qga: between points of a frozen guest; 0: only when asked for; default: "
                   "as the server says, else 1h");
    app.add_option("--image", text.images, "disk image to protect");
    app.add_option("--disk", text.disks, "block device to protect; with --qmp, a machine's disk");
    app.add_option("--qmp", options.qmp_socket, "protect the virtual machine with this monitor");
    app.add_option("--qemu-nbd", options.qemu_nbd,
                   "with --qmp: the socket where it serves NBD already, if it does");
    app.add_option("--mode", text.mode, "with --qmp: every write, or what changed per interval")
        ->check(CLI::IsMember({"data", "epoch"}))
        ->capture_default_str();
    app.add_option("--disk-name", text.names, "names, images first; default: the file name");
    app.add_option("--machine-name", options.machine_name, "default: the host name");
    app.add_option("--interval", text.interval,
                   "between recovery points; default: as the server says, else 5s");
    app.add_option("--linger", text.linger, "to gather small writes")->capture_default_str();
    app.add_option("--nbd-socket", options.nbd_socket, "capture writes through this Unix socket");
    app.add_option("--nbd-listen", text.nbd_listen, "capture writes through this loopback address");
    app.add_option("--hrl", options.hrl_directory, "apply the replica logs that arrive here");
    app.add_option("--hrl-after", text.hrl_after, "at first: the id of the image's last log");
    app.add_option("--pre-hook", text.pre, "command that quiets the source before a scan");
    app.add_option("--post-hook", text.post, "command that lets it go on; always run");
    app.add_option("--hook-timeout", text.hook_timeout, "how long a source may be kept still")
        ->capture_default_str();
    app.add_flag("--app-hooks", options.app_hooks, "the hooks make application-consistent points");
    app.add_option("--mount", options.freeze.mount, "freeze the file system mounted here");
    app.add_option("--hints", text.hints,
                   "auto: read only what the kernel saw written, where it tells (BPF)")
        ->check(CLI::IsMember({"off", "auto"}))
        ->capture_default_str();
    app.add_option("--full-scan-every", text.full_scan_every, "with --hints: all the same")
        ->capture_default_str();
    app.add_option("--memory", text.memory, "queue in memory")->capture_default_str();
    app.add_option("--spool-size", text.spool, "queue on disk, in the state directory")
        ->capture_default_str();
    app.add_option("--extents", options.ranges_max,
                   "when both queues are full: ranges that are noted before only blocks are")
        ->capture_default_str();
    app.add_flag("--progress", out.progress, "a line of progress also when not on a terminal");
    app.add_flag("--json", out.json, "progress as one JSON object per second on standard output");
    app.add_option("--log-level", out.log_level, "trace, debug, info, warning or error")
        ->capture_default_str();
}

void add_group(CLI::App& app, ProtectText& text) {
    app.add_option("--group-member", text.members, "coordinate this machine, UUID@HOST:PORT");
    app.add_option("--group-listen", text.group_listen, "let coordinators connect here (…:20004)");
    app.add_option("--group-coordinator", text.coordinators, "the UUID of one that may");
    app.add_option("--group-interval", text.group_interval,
                   "between points of the group; 0: only when asked for")
        ->capture_default_str();
    app.add_option("--group-hold", text.group_hold, "how long writers may be held for one")
        ->capture_default_str();
}

void finish_group(GroupOptions& group, const ProtectText& text) {
    for (const std::string& member : text.members) {
        const std::size_t at = member.find('@');
        group.members.push_back(
            {unwrap("--group-member", parse_id<MachineId>(member.substr(0, at))),
             unwrap("--group-member", parse_host_port(member.substr(
                                          at == std::string::npos ? member.size() : at + 1)))});
    }
    for (const std::string& machine : text.coordinators) {
        group.coordinators.push_back(unwrap("--group-coordinator", parse_id<MachineId>(machine)));
    }
    if (!text.group_listen.empty()) {
        group.listen = unwrap("--group-listen", parse_host_port(text.group_listen));
    }
    group.hold_ns = duration_ns("--group-hold", text.group_hold);
    if (group.hold_ns < ns_per_ms || group.hold_ns > barrier_hold_ms_max * ns_per_ms) {
        throw CLI::ValidationError("--group-hold", "is between 1ms and 60s");
    }
}

// Who we are and where to go, as enrolment left it, unless the command line says otherwise.
void finish_identity(ProtectCommand& out, const ProtectText& text) {
    AgentOptions& options = out.options;
    out.enrolled = options.target.files.cert_file.empty();
    out.renew_before_ns = duration_ns("--renew-before", text.renew_before);
    if (out.enrolled) {
        const auto found = read_enrolment(*make_posix_disk(), options.state_directory);
        if (!found) {
            throw CLI::RequiredError("--ca, --cert and --key, or causeway-agent enrol (" +
                                     to_string(found.error()) + ")");
        }
        options.target.files = found->files;
        if (text.servers.empty()) {
            options.target.servers.push_back(found->replication);
        }
    }
    if (text.servers.empty() && options.target.servers.empty()) {
        throw CLI::RequiredError("--server");
    }
}

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

void finish_protect(ProtectCommand& out, const ProtectText& text) {
    AgentOptions& options = out.options;
    for (const std::string& server : text.servers) {
        options.target.servers.push_back(unwrap("--server", parse_host_port(server)));
    }
    finish_identity(out, text);
    if (!options.qmp_socket.empty()) {
        options.qemu_disks = text.disks;
        options.qemu_mode = text.mode == "epoch" ? QemuSource::Mode::epoch : QemuSource::Mode::data;
    }
    const std::vector<std::string> none;
    for (const auto* paths : {&text.images, options.qmp_socket.empty() ? &text.disks : &none}) {
        for (const std::string& path : *paths) {
            const std::size_t index = options.disks.size();
            options.disks.push_back({index < text.names.size()
                                         ? text.names[index]
                                         : std::filesystem::path(path).filename().string(),
                                     path});
        }
    }
    if (options.disks.empty() && options.qmp_socket.empty()) {
        throw CLI::RequiredError("--image, --disk or --qmp");
    }
    if (options.machine_name.empty()) {
        std::array<char, 256> host{};
        ::gethostname(host.data(), host.size() - 1);
        options.machine_name = host.data();
    }
    if (!text.interval.empty()) {
        options.interval_ns = duration_ns("--interval", text.interval);
    }
    if (!text.app_interval.empty()) {
        options.app_interval_ns = duration_ns("--app-interval", text.app_interval);
    }
    options.hints = text.hints == "auto";
    options.full_scan_every_ns = duration_ns("--full-scan-every", text.full_scan_every);
    options.linger_ns = duration_ns("--linger", text.linger);
    if (!text.hrl_after.empty()) {
        options.hrl_after = unwrap("--hrl-after", parse_hrl_id(text.hrl_after));
    }
    options.group_interval_ns = duration_ns("--group-interval", text.group_interval);
    finish_group(options.group, text);
    options.memory_bytes = size_bytes("--memory", text.memory);
    options.spool_bytes = size_bytes("--spool-size", text.spool);
    options.freeze.limit_ns = duration_ns("--hook-timeout", text.hook_timeout);
    if (!text.nbd_listen.empty()) {
        options.nbd_address = unwrap("--nbd-listen", parse_host_port(text.nbd_listen));
    }
    if (!text.pre.empty()) {
        options.freeze.pre = unwrap("--pre-hook", split_command(text.pre));
    }
    if (!text.post.empty()) {
        options.freeze.post = unwrap("--post-hook", split_command(text.post));
    }
}

struct AskText {
    std::string state, tag, wait = "sent", timeout = "60s", disk, size = "0";
    bool final = false, frozen = false, group = false, shrink = false;
};

// What is asked of a running agent.
void add_ask(CLI::App& app, AskCommand& out, AskText& text) {
    CLI::App* const status = app.add_subcommand("status", "how protection goes");
    CLI::App* const point = app.add_subcommand("point", "make a recovery point now");
    CLI::App* const stop = app.add_subcommand("stop", "stop the running agent");
    CLI::App* const resize =
        app.add_subcommand("resize", "give a disk of a virtual machine another size");
    for (CLI::App* const each : {status, point, stop, resize}) {
        each->add_option("--state", text.state, "state directory of the agent")->required();
    }
    for (CLI::App* const each : {point, stop, resize}) {
        each->add_option("--timeout", text.timeout)->capture_default_str();
    }
    status->add_flag("--json", out.json);
    point->add_flag("--json", out.json);
    point->add_option("--tag", text.tag, "a word of yours, at most 256 bytes");
    point->add_flag("--frozen", text.frozen, "freeze the guest for it; the agent needs --qga");
    point->add_flag("--group", text.group, "of all machines of the group that it coordinates");
    point->add_option("--wait", text.wait)->check(CLI::IsMember({"sent", "durable", "committed"}));
    stop->add_flag("--final", text.final, "a last point first, then a planned GOODBYE");
    resize->add_option("--disk", text.disk, "its name, as status tells it")->required();
    resize->add_option("--size", text.size, "for example 20GiB")->required();
    resize->add_flag("--shrink", text.shrink, "what lies beyond a nearer end may be lost");
}

void finish_ask(AskCommand& out, const AskText& text) {
    const std::int64_t timeout_ms = duration_ns("--timeout", text.timeout) / ns_per_ms;
    out.socket = text.state + std::string(socket_name);
    out.timeout_ms = static_cast<int>(timeout_ms) + 5000;
    out.request = json{
        {"command", out.name},
        {"tag", text.tag},
        {"wait", text.wait},
        {"final", text.final ? "yes" : "no"},
        {"frozen", text.frozen ? "yes" : "no"},
        {"group", text.group ? "yes" : "no"},
        {"disk", text.disk},
        {"size_bytes", size_bytes("--size", text.size)},
        {"shrink", text.shrink ? "yes" : "no"},
        {"timeout_ms",
         timeout_ms}}.dump(-1, ' ', false, json::error_handler_t::replace);
}

void print_status(const json& status) {
    std::printf("machine   %s (%s)\nlink      %s %s\n", status.value("machine_name", "").c_str(),
                status.value("machine", "").c_str(), status.value("link", "").c_str(),
                status.value("server", "").c_str());
    const std::int64_t rpo = status.value("rpo_ms", std::int64_t{-1});
    if (rpo < 0) {
        std::printf("RPO       no committed point yet\n");
    } else {
        std::printf("RPO       %.1f s\n", static_cast<double>(rpo) / 1000);
    }
    const std::string mode = status.value("mode", "data");
    if (mode != "data") {
        std::printf("mode      %s, %llu bytes to be sent: %s\n", mode.c_str(),
                    status.value("backlog_bytes", 0ULL), status.value("mode_reason", "").c_str());
    }
    for (const char* key : {"last_error", "scan_error"}) {
        if (status.contains(key)) {
            std::printf("error     %s\n", status.value(key, "").c_str());
        }
    }
    for (const json& hint : status.value("hints", json::array())) {
        const bool on = hint.value("on", false);
        std::printf("hints     %s: %s %s\n", hint.value("disk", "").c_str(),
                    on ? "on" : "off:", hint.value("reason", "").c_str());
    }
    for (const json& disk : status.at("disks")) {
        std::printf("disk      %s: %s, generation %llu, sequence %llu, committed %llu %s\n",
                    disk.value("name", "").c_str(), disk.value("phase", "").c_str(),
                    disk.value("generation", 0ULL), disk.value("next_sequence", 1ULL) - 1,
                    disk.value("committed", 0ULL), disk.value("reason", "").c_str());
    }
}

}  // namespace

CommandLine parse_command_line(int argc, char** argv) {
    CLI::App app{"Causeway's mobility agent: protects the disks of this machine", "causeway-agent"};
    app.set_version_flag("--version", "causeway-agent 0.1.0");
    app.require_subcommand(1);
    ProtectCommand protect;
    ProtectText text;
    CLI::App& protecting = *app.add_subcommand("protect", "protect disks, in the foreground");
    add_protect(protecting, protect, text);
    add_group(protecting, text);
    AskCommand ask;
    AskText ask_text;
    add_ask(app, ask, ask_text);
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
        if (app.got_subcommand("protect")) {
            finish_protect(protect, text);
            out.protect = std::move(protect);
            return out;
        }
        ask.name = app.get_subcommands().front()->get_name();
        finish_ask(ask, ask_text);
        out.ask = std::move(ask);
    } catch (const CLI::ParseError& wrong) {
        out.exit = app.exit(wrong) == 0 ? 0 : 2;
    }
    return out;
}

int print_answer(const AskCommand& command, const std::string& answer) {
    const json out = json::parse(answer, nullptr, false);
    if (!out.is_object()) {
        std::fprintf(stderr, "causeway-agent: the agent's answer is not JSON\n");
        return 1;
    }
    if (command.json) {
        std::printf("%s\n", answer.c_str());
    }
    if (!out.value("ok", false)) {
        if (!command.json) {
            std::fprintf(stderr, "causeway-agent: %s\n",
                         out.value("text", out.value("error", "failed")).c_str());
        }
        return out.value("exit", 1);
    }
    if (!command.json && command.name == "status") {
        print_status(out);
    } else if (!command.json && command.name == "point") {
        std::printf("%s %s\n", out.value("id", "").c_str(), out.value("state", "").c_str());
    }
    return 0;
}

}  // namespace cw::agent
