// causeway mount: any recovery point as an NBD export, in seconds and without restoring it.
#include "appliance/cli/point.h"
#include "appliance/cli/stop_signal.h"
#include "appliance/operator/mount_server.h"
#include "base/full_disk.h"
#include "base/ids.h"

#include <cstdio>
#include <cstdlib>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

namespace cw::appliance {
namespace {

struct MountOptions {
    PointChoice from;
    std::string socket_path, run;
    bool writable = false;
};

void print_mount(const Cli& cli, const MountOptions& options, const MountServer& server,
                 double seconds) {
    if (cli.json) {
        print_json({{"uri", server.uri()},
                    {"socket", server.socket_path()},
                    {"writable", options.writable},
                    {"seconds", seconds}});
    } else {
        std::printf(
            "%s\n%s, ready after %.2f s; ends with Ctrl-C\n", server.uri().c_str(),
            options.writable ? "writable: what is written is forgotten at the end" : "read-only",
            seconds);
    }
    std::fflush(stdout);
}

// Where nbdkit keeps what is written to a writable export.
std::string overlay_directory() {
    const char* const chosen = std::getenv("TMPDIR");
    return chosen != nullptr && *chosen != '\0' ? chosen : "/var/tmp";
}

// A command that has failed for want of room for its writes cannot say where that was.
Error failed_command(Cli& cli, bool writable, int exit_code) {
    constexpr std::uint64_t little_bytes = 1 * mib;
    Error error{Errc::io_error, "the command ended with " + std::to_string(exit_code),
                "see what the command said"};
    const auto free = cli.seams.disk->free_bytes(overlay_directory());
    if (writable && free && *free < little_bytes) {
        error.code = Errc::disk_full;
        error.detail += "; " + std::to_string(*free) + " bytes are free";
        error.next = "free some space there, or name another place in TMPDIR, and mount again";
        error = name_full_disk(std::move(error), overlay_directory(), "a writable mount");
    }
    return error;
}

// The command sees the export's address as $uri and $socket. Errors: io_error (it failed);
// disk_full where there is no room for what it writes.
Result<void> run_in_shell(Cli& cli, const MountOptions& options, const MountServer& server) {
    ::setenv("uri", server.uri().c_str(), 1);
    ::setenv("socket", server.socket_path().c_str(), 1);
    CW_TRY_ASSIGN(Subprocess child, Subprocess::start({"/bin/sh", "-c", options.run}, false));
    while (!stop_requested() && !child.poll(200 * ns_per_ms)) {
    }
    child.end();
    if (child.exit_code() != 0) {
        return std::unexpected(failed_command(cli, options.writable, child.exit_code()));
    }
    return {};
}

Result<void> mount(Cli& cli, const MountOptions& options) {
    const Nanos started = cli.seams.clock->boot();
    MountRequest request;
    {
        // Here, so that a wrong point is told as any command tells it.
        CW_TRY_ASSIGN(const OpenedCatalog opened, open_catalog(cli, options.from));
        CW_TRY_ASSIGN(const auto* point, find_point(opened, options.from.point));
        CW_TRY_ASSIGN(const auto disk, opened.catalog->find_disk(*point, options.from.disk));
        request.source = {.config_path = cli.config_path,
                          .machine = options.from.machine,
                          .point = to_string(point->id),
                          .disk = to_string(disk.disk),
                          .accept_stale = options.from.accept_stale};
    }
    request.writable = options.writable;
    request.socket_path = options.socket_path;
    stop_on_signals();
    request.cancelled = stop_requested;
    CW_TRY_ASSIGN(const auto server, MountServer::start(request, *cli.seams.clock));
    if (!options.run.empty()) {
        return run_in_shell(cli, options, *server);
    }
    print_mount(cli, options, *server,
                static_cast<double>(cli.seams.clock->boot() - started) / 1e9);
    while (!stop_requested()) {
        if (server->poll(200 * ns_per_ms)) {
            return fail(Errc::io_error, "nbdkit has ended");
        }
    }
    return {};
}

}  // namespace

void add_mount_command(CLI::App& app, Cli& cli) {
    CLI::App* command =
        app.add_subcommand("mount", "Any recovery point as an NBD export, read-only, until Ctrl-C");
    auto options = std::make_shared<MountOptions>();
    add_point_options(*command, "POINT", options->from);
    command->add_option("--socket", options->socket_path, "Unix socket; else a private one");
    command->add_flag("--writable", options->writable,
                      "Accept writes, into a scratch file that is forgotten at the end");
    command->add_option("--run", options->run,
                        "Run this in a shell, with the address in $uri and $socket, then end");
    command->callback([&cli, options] { cli.run([&] { return mount(cli, *options); }); });
}

}  // namespace cw::appliance
