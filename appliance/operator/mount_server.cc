#include "appliance/operator/mount_server.h"

#include <cerrno>
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
    CW_TRY_ASSIGN(const std::string listen, server->find_place(request.socket_path));
    CW_TRY_ASSIGN(Subprocess child,
                  Subprocess::start(command_line(request, plugin, listen), false));
    server->child_.emplace(std::move(child));
    CW_TRY(server->wait_ready(listen, clock, request.cancelled));
    if (server->chosen_) {
        CW_TRY(server->chosen_->publish());
    }
    return server;
}

// Where nbdkit is to listen. A place beside the chosen one is reached through a link: its own name
// may be too long for a socket.
Result<std::string> MountServer::find_place(const std::string& chosen) {
    CW_TRY_ASSIGN(ScratchDirectory made, ScratchDirectory::make(temporary_directory(), "mount"));
    directory_.emplace(std::move(made));
    std::string listen = directory_->path() + "/nbd.sock";
    socket_path_ = listen;
    if (!chosen.empty()) {
        socket_path_ = std::filesystem::absolute(chosen).lexically_normal().string();
        listen = directory_->path() + "/beside/nbd.sock";
    }
    for (const std::string& path : {listen, socket_path_}) {
        if (path.size() >= sizeof(sockaddr_un::sun_path)) {
            return fail(Errc::usage, "the socket path is too long: " + path);
        }
    }
    if (!chosen.empty()) {
        CW_TRY_ASSIGN(chosen_, MountSocket::claim(socket_path_));
        const std::string link = directory_->path() + "/beside";
        if (::symlink(chosen_->directory().c_str(), link.c_str()) != 0) {
            return fail_errno(Errc::io_error, "symlink " + link, errno);
        }
    }
    return listen;
}

Result<void> MountServer::wait_ready(const std::string& listen, Clock& clock,
                                     const std::function<bool()>& cancelled) {
    const Nanos deadline = clock.boot() + ready_ns;
    constexpr std::int64_t pause_ns = 20 * ns_per_ms;
    while (!answers(listen)) {
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
    child_.reset();  // Before its places go.
}

}  // namespace cw::appliance
