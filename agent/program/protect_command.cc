#include "agent/program/protect_command.h"

#include "agent/program/enrolment.h"
#include "agent/program/option_text.h"

#include <array>
#include <charconv>
#include <filesystem>

#include <CLI/CLI.hpp>
#include <unistd.h>

namespace cw::agent {

struct ProtectCommandLine::Text {
    std::vector<std::string> servers, images, disks, names;
    std::string linger = "20ms", memory = "128MiB", spool = "0";
    std::string mode = "data", interval, app_interval;  // Empty: as the server says.
    std::string nbd_listen, pre, post, hook_timeout = "60s";
    std::vector<std::string> members, coordinators;
    std::string hrl_after, hrl_output_size = "64GiB";
    std::string group_listen, group_interval = "0", group_hold = "300ms";
    std::string renew_before = "0";
    std::string hints = "off", full_scan_every = "1h";
    std::string snapshots = "auto", snapshot_size = "10%";
};

ProtectCommandLine::ProtectCommandLine(CLI::App& app)
    : app_(*app.add_subcommand("protect", "protect disks, in the foreground")),
      text_(std::make_unique<Text>()) {
    add_identity();
    add_sources();
    add_consistency();
    add_queues();
    add_group();
}

ProtectCommandLine::~ProtectCommandLine() = default;

bool ProtectCommandLine::parsed() const {
    return app_.parsed();
}

void ProtectCommandLine::add_identity() {
    AgentOptions& options = command_.options;
    app_.set_config("--config", "", "read options from this file (key = value)");
    app_.add_option(
        "--server", text_->servers,
        "process server, HOST:PORT; several are tried in turn; default: where enrolled");
    CLI::Option* const ca = app_.add_option("--ca", options.target.files.ca_file,
                                            "the site's CA certificates; default: as enrolled");
    CLI::Option* const cert = app_.add_option("--cert", options.target.files.cert_file,
                                              "this machine's certificate; default: as enrolled");
    CLI::Option* const key =
        app_.add_option("--key", options.target.files.key_file, "its private key, mode 0600");
    app_.add_option("--revoked", options.target.revoked_file,
                    "list of servers' certificates that are not to be believed any more; read at "
                    "each connection");
    ca->needs(cert)->needs(key);
    cert->needs(ca)->needs(key);
    key->needs(ca)->needs(cert);
    app_.add_option("--renew-before", text_->renew_before,
                    "renew the enrolled certificate when it is valid for less; 0: a third of its "
                    "time")
        ->capture_default_str();
    app_.add_option("--state", options.state_directory, "directory for the agent's state")
        ->required();
}

void ProtectCommandLine::add_sources() {
    AgentOptions& options = command_.options;
    app_.add_option("--image", text_->images, "disk image to protect");
    app_.add_option("--disk", text_->disks,
                    "block device to protect; with --qmp, a machine's disk");
    app_.add_option("--qmp", options.qmp_socket, "protect the virtual machine with this monitor");
    app_.add_option("--qemu-nbd", options.qemu_nbd,
                    "with --qmp: the socket where it serves NBD already, if it does");
    app_.add_option("--mode", text_->mode, "with --qmp: every write, or what changed per interval")
        ->check(CLI::IsMember({"data", "epoch"}))
        ->capture_default_str();
    app_.add_option("--disk-name", text_->names, "names, images first; default: the file name");
    app_.add_option("--machine-name", options.machine_name, "default: the host name");
    app_.add_option("--nbd-socket", options.nbd_socket, "capture writes through this Unix socket");
    app_.add_option("--nbd-listen", text_->nbd_listen,
                    "capture writes through this loopback address");
    app_.add_option("--hrl", options.hrl_directory,
                    "apply the replica logs that arrive here: with one --image, no other disk");
    app_.add_option("--hrl-after", text_->hrl_after, "at first: the id of the image's last log");
    app_.add_option("--hrl-output", options.hrl_output,
                    "with --mode epoch: write each epoch as a replica log into this directory");
    app_.add_option("--hrl-output-size", text_->hrl_output_size, "of each disk's logs, at most")
        ->capture_default_str();
    app_.add_option("--hints", text_->hints,
                    "auto: read only what the kernel saw written, where it tells (BPF)")
        ->check(CLI::IsMember({"off", "auto"}))
        ->capture_default_str();
    app_.add_option("--full-scan-every", text_->full_scan_every, "with --hints: all the same")
        ->capture_default_str();
}

void ProtectCommandLine::add_consistency() {
    AgentOptions& options = command_.options;
    app_.add_option("--qga", options.guest_agent_socket,
                    "with --qmp: the guest agent's socket, to freeze the guest for a point");
    app_.add_option(
        "--app-interval", text_->app_interval,
        "between points for which the source is frozen; 0: only when asked for; default: "
        "as the server says, else 1h");
    app_.add_option("--interval", text_->interval,
                    "between recovery points; default: as the server says, else 5s");
    app_.add_option("--pre-hook", text_->pre, "command that quiets the source before a point");
    app_.add_option("--post-hook", text_->post, "command that lets it go on; always run");
    app_.add_option("--hook-timeout", text_->hook_timeout, "how long a source may be kept still")
        ->capture_default_str();
    app_.add_flag("--app-hooks", options.app_hooks, "the hooks make application-consistent points");
    app_.add_option("--mount", options.freeze.mount, "freeze the file system mounted here");
    app_.add_option(
            "--snapshot", text_->snapshots,
            "LVM snapshots of what is scanned: off, auto: of logical volumes where they can "
            "be made, always: else there is no point")
        ->check(CLI::IsMember({"off", "auto", "always"}))
        ->capture_default_str();
    app_.add_option("--snapshot-size", text_->snapshot_size,
                    "room for what is overwritten meanwhile: a percentage of the volume, or a size")
        ->capture_default_str();
    app_.add_option("--lvm-tools", options.lvm_tools,
                    "directory of lvs, lvcreate and lvremove; default: the system's");
}

void ProtectCommandLine::add_queues() {
    AgentOptions& options = command_.options;
    app_.add_option("--linger", text_->linger, "to gather small writes")->capture_default_str();
    app_.add_option("--memory", text_->memory, "queue in memory")->capture_default_str();
    app_.add_option(
            "--spool-size", text_->spool,
            "queue on disk, in the state directory: at least 128MiB, rounded up to 16MiB; 0: none")
        ->capture_default_str();
    app_.add_option("--extents", options.ranges_max,
                    "when both queues are full: ranges that are noted before only blocks are")
        ->capture_default_str();
    app_.add_flag("--progress", command_.progress,
                  "a line of progress also when not on a terminal");
    app_.add_flag("--json", command_.json,
                  "progress as one JSON object per second on standard output");
    app_.add_option("--log-level", command_.log_level, "trace, debug, info, warning or error")
        ->capture_default_str();
}

void ProtectCommandLine::add_group() {
    app_.add_option("--group-member", text_->members, "coordinate this machine, UUID@HOST:PORT");
    app_.add_option("--group-listen", text_->group_listen,
                    "let coordinators connect here (…:20004)");
    app_.add_option("--group-coordinator", text_->coordinators, "the UUID of one that may");
    app_.add_option("--group-interval", text_->group_interval,
                    "between points of the group; 0: only when asked for")
        ->capture_default_str();
    app_.add_option("--group-hold", text_->group_hold, "how long writers may be held for one")
        ->capture_default_str();
}

// "10%", or a size.
void ProtectCommandLine::finish_snapshots() {
    AgentOptions& options = command_.options;
    using Snapshots = AgentOptions::Snapshots;
    options.snapshots = text_->snapshots == "off"      ? Snapshots::off
                        : text_->snapshots == "always" ? Snapshots::always
                                                       : Snapshots::automatic;
    const std::string& size = text_->snapshot_size;
    if (!size.ends_with('%')) {
        const std::uint64_t bytes = size_bytes("--snapshot-size", size);
        if (bytes == 0) {
            refuse_option("--snapshot-size", "is more than 0");
        }
        options.snapshot_size = std::to_string(align_up(bytes, sector_bytes));
        return;
    }
    int percent = 0;
    const char* const end = size.data() + size.size() - 1;
    const auto [stop, bad] = std::from_chars(size.data(), end, percent);
    if (bad != std::errc{} || stop != end || percent < 1 || percent > 100) {
        refuse_option("--snapshot-size", "is 1% to 100%, or a size such as 5GiB");
    }
    options.snapshot_size = size;
}

// Who we are and where to go, as enrolment left it, unless the command line says otherwise.
void ProtectCommandLine::finish_identity() {
    AgentOptions& options = command_.options;
    for (const std::string& server : text_->servers) {
        options.target.servers.push_back(unwrap("--server", parse_host_port(server)));
    }
    command_.enrolled = options.target.files.cert_file.empty();
    command_.renew_before_ns = duration_ns("--renew-before", text_->renew_before);
    if (command_.enrolled) {
        const auto found = read_enrolment(*make_posix_disk(), options.state_directory);
        if (!found) {
            throw CLI::RequiredError("--ca, --cert and --key, or causeway-agent enrol (" +
                                     to_string(found.error()) + ")");
        }
        options.target.files = found->files;
        if (text_->servers.empty()) {
            options.target.servers.push_back(found->replication);
        }
    }
    if (text_->servers.empty() && options.target.servers.empty()) {
        throw CLI::RequiredError("--server");
    }
}

void ProtectCommandLine::finish_disks() {
    AgentOptions& options = command_.options;
    if (!options.qmp_socket.empty()) {
        options.qemu_disks = text_->disks;
        options.qemu_mode =
            text_->mode == "epoch" ? QemuSource::Mode::epoch : QemuSource::Mode::data;
    }
    std::vector<std::string> paths = text_->images;
    if (options.qmp_socket.empty()) {
        paths.insert(paths.end(), text_->disks.begin(), text_->disks.end());
    }
    for (const std::string& path : paths) {
        const std::size_t index = options.disks.size();
        options.disks.push_back({index < text_->names.size()
                                     ? text_->names[index]
                                     : std::filesystem::path(path).filename().string(),
                                 path});
    }
    if (options.disks.empty() && options.qmp_socket.empty()) {
        throw CLI::RequiredError("--image, --disk or --qmp");
    }
}

void ProtectCommandLine::finish_group() {
    GroupOptions& group = command_.options.group;
    for (const std::string& member : text_->members) {
        const std::size_t at = member.find('@');
        group.members.push_back(
            {unwrap("--group-member", parse_id<MachineId>(member.substr(0, at))),
             unwrap("--group-member", parse_host_port(member.substr(
                                          at == std::string::npos ? member.size() : at + 1)))});
    }
    for (const std::string& machine : text_->coordinators) {
        group.coordinators.push_back(unwrap("--group-coordinator", parse_id<MachineId>(machine)));
    }
    if (!text_->group_listen.empty()) {
        group.listen = unwrap("--group-listen", parse_host_port(text_->group_listen));
    }
    group.hold_ns = duration_ns("--group-hold", text_->group_hold);
    if (group.hold_ns < ns_per_ms || group.hold_ns > barrier_hold_ms_max * ns_per_ms) {
        throw CLI::ValidationError("--group-hold", "is between 1ms and 60s");
    }
}

ProtectCommand ProtectCommandLine::finish() {
    AgentOptions& options = command_.options;
    finish_identity();
    finish_disks();
    if (options.machine_name.empty()) {
        std::array<char, 256> host{};
        ::gethostname(host.data(), host.size() - 1);
        options.machine_name = host.data();
    }
    if (!text_->interval.empty()) {
        options.interval_ns = duration_ns("--interval", text_->interval);
    }
    if (!text_->app_interval.empty()) {
        options.app_interval_ns = duration_ns("--app-interval", text_->app_interval);
    }
    options.hints = text_->hints == "auto";
    options.full_scan_every_ns = duration_ns("--full-scan-every", text_->full_scan_every);
    finish_snapshots();
    options.linger_ns = duration_ns("--linger", text_->linger);
    if (!text_->hrl_after.empty()) {
        options.hrl_after = unwrap("--hrl-after", parse_hrl_id(text_->hrl_after));
    }
    options.hrl_output_bytes = size_bytes("--hrl-output-size", text_->hrl_output_size);
    options.group_interval_ns = duration_ns("--group-interval", text_->group_interval);
    finish_group();
    options.memory_bytes = size_bytes("--memory", text_->memory);
    options.spool_bytes = size_bytes("--spool-size", text_->spool);
    options.freeze.limit_ns = duration_ns("--hook-timeout", text_->hook_timeout, hook_limits);
    if (!text_->nbd_listen.empty()) {
        options.nbd_address = unwrap("--nbd-listen", parse_host_port(text_->nbd_listen));
    }
    if (!text_->pre.empty()) {
        options.freeze.pre = unwrap("--pre-hook", split_command(text_->pre));
    }
    if (!text_->post.empty()) {
        options.freeze.post = unwrap("--post-hook", split_command(text_->post));
    }
    return std::move(command_);
}

}  // namespace cw::agent
