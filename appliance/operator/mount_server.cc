#include "appliance/operator/mount_server.h"

#include <filesystem>
#include <string_view>
#include <utility>

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

namespace cw::appliance {
namespace {

constexpr std::int64_t ready_ns = 120 * ns_per_s;
constexpr const char* plugin_file = "nbdkit-causeway-plugin.so";

// Beside the program in a build tree, in ../lib/causeway of an installation.
Result<std::string> find_plugin() {
    namespace fs = std::filesystem;
    std::error_code ignored;
    const fs::path program = fs::read_symlink("/proc/self/exe", ignored);
    for (const fs::path& directory :
         {program.parent_path(), program.parent_path().parent_path() / "lib/causeway"}) {
        if (fs::exists(directory / plugin_file, ignored)) {
            return (directory / plugin_file).string();
        }
    }
    return fail(Errc::not_found, std::string(plugin_file) + " beside " + program.string());
}

bool answers(const std::string& path) {
    const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return false;
    }
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    const bool connected =
        ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
    // The greeting comes once the plugin has opened the point: its magic, option magic and flags.
    char greeting[18];
    const bool greeted = connected && ::recv(fd, greeting, sizeof greeting, MSG_WAITALL) ==
                                          static_cast<ssize_t>(sizeof greeting);
    if (greeted) {  // Fixed newstyle, then NBD_OPT_ABORT: a client that leaves politely.
        constexpr std::string_view goodbye("\0\0\0\1IHAVEOPT\0\0\0\2\0\0\0\0", 20);
        char answer[20];
        if (::send(fd, goodbye.data(), goodbye.size(), MSG_NOSIGNAL) > 0) {
            ::recv(fd, answer, sizeof answer, MSG_WAITALL);
        }
    }
    ::close(fd);
    return greeted;
}

std::vector<std::string> command_line(const MountRequest& request, const std::string& plugin,
                                      const std::string& socket_path) {
    std::vector<std::string> argv{"nbdkit", "--foreground", "--exit-with-parent", "--unix",
                                  socket_path};
    argv.emplace_back(request.writable ? "--filter=cow" : "--readonly");
    argv.push_back(plugin);
    argv.push_back("config=" + request.source.config_path);
    argv.push_back("machine=" + request.source.machine);
    argv.push_back("point=" + request.source.point);
    if (!request.source.disk.empty()) {
        argv.push_back("disk=" + request.source.disk);
    }
    if (request.source.accept_stale) {
        argv.emplace_back("accept-stale=true");
    }
    return argv;
}

}  // namespace

Result<std::unique_ptr<MountServer>> MountServer::start(const MountRequest& request, Clock& clock) {
    CW_TRY_ASSIGN(const std::string plugin, find_plugin());
    std::unique_ptr<MountServer> server(new MountServer);
    std::error_code ignored;
    if (request.socket_path.empty()) {
        CW_TRY_ASSIGN(ScratchDirectory made,
                      ScratchDirectory::make(temporary_directory(), "mount"));
        server->directory_.emplace(std::move(made));
        server->socket_path_ = server->directory_->path() + "/nbd.sock";
    } else {
        server->socket_path_ = std::filesystem::absolute(request.socket_path).string();
        if (std::filesystem::exists(server->socket_path_, ignored)) {
            return fail(Errc::in_use, server->socket_path_ + " exists");
        }
    }
    if (server->socket_path_.size() >= sizeof(sockaddr_un::sun_path)) {
        return fail(Errc::usage, "the socket path is too long: " + server->socket_path_);
    }
    CW_TRY_ASSIGN(Subprocess child,
                  Subprocess::start(command_line(request, plugin, server->socket_path_), false));
    server->child_.emplace(std::move(child));
    CW_TRY(server->wait_ready(clock, request.cancelled));
    return server;
}

Result<void> MountServer::wait_ready(Clock& clock, const std::function<bool()>& cancelled) {
    const Nanos deadline = clock.boot() + ready_ns;
    constexpr std::int64_t pause_ns = 20 * ns_per_ms;
    while (!answers(socket_path_)) {
        if (child_->poll(pause_ns)) {
            return fail(Errc::io_error,
                        "nbdkit ended with code " + std::to_string(child_->exit_code()));
        }
        if (cancelled && cancelled()) {
            return fail(Errc::cancelled, "before the mount was ready");
        }
        if (clock.boot() - deadline >= 0) {
            return fail(Errc::io_error, "nbdkit did not answer in time");
        }
    }
    return {};
}

MountServer::~MountServer() {
    if (child_) {  // Else what lies there is not ours.
        child_.reset();
        ::unlink(socket_path_.c_str());
    }
}

}  // namespace cw::appliance
