#include "appliance/operator/mount_server.h"

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <string_view>
#include <utility>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
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

constexpr std::string_view directory_prefix = "causeway-mount.";

// A lock on the directory that ends with its holder. Invalid: somebody else's, or it is gone.
Fd hold_directory(const std::string& path) {
    Fd held(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    struct stat opened{}, named{};
    const bool ours = held.valid() && ::flock(held.get(), LOCK_EX | LOCK_NB) == 0 &&
                      ::fstat(held.get(), &opened) == 0 && ::lstat(path.c_str(), &named) == 0 &&
                      opened.st_ino == named.st_ino && opened.st_uid == ::geteuid();
    return ours ? std::move(held) : Fd{};
}

// What mounts that were killed have left: nobody holds it, and nobody will ask for it again.
void remove_left_over(const std::filesystem::path& temporary) {
    std::error_code ignored;
    for (const auto& entry : std::filesystem::directory_iterator(temporary, ignored)) {
        const std::string path = entry.path().string();
        if (entry.path().filename().string().starts_with(directory_prefix) &&
            hold_directory(path).valid()) {
            ::unlink((path + "/nbd.sock").c_str());
            ::rmdir(path.c_str());
        }
    }
}

}  // namespace

Result<void> MountServer::make_directory() {
    constexpr int tries_max = 10;  // Another mount may take it for left over before it is held.
    std::error_code ignored;
    const std::filesystem::path temporary = std::filesystem::temp_directory_path(ignored);
    remove_left_over(temporary);
    for (int i = 0; i < tries_max && !directory_lock_.valid(); ++i) {
        directory_ = (temporary / (std::string(directory_prefix) + "XXXXXX")).string();
        if (::mkdtemp(directory_.data()) == nullptr) {  // Mode 0700: it is the access control.
            const int error = errno;
            return fail_errno(Errc::io_error, "mkdtemp " + std::exchange(directory_, {}), error);
        }
        directory_lock_ = hold_directory(directory_);
    }
    if (!directory_lock_.valid()) {
        return fail(Errc::io_error, "cannot hold " + directory_);
    }
    socket_path_ = directory_ + "/nbd.sock";
    return {};
}

Result<std::unique_ptr<MountServer>> MountServer::start(const MountRequest& request, Clock& clock) {
    CW_TRY_ASSIGN(const std::string plugin, find_plugin());
    std::unique_ptr<MountServer> server(new MountServer);
    std::error_code ignored;
    if (request.socket_path.empty()) {
        CW_TRY(server->make_directory());
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
    CW_TRY(server->wait_ready(clock));
    return server;
}

Result<void> MountServer::wait_ready(Clock& clock) {
    const Nanos deadline = clock.boot() + ready_ns;
    constexpr std::int64_t pause_ns = 20 * ns_per_ms;
    while (!answers(socket_path_)) {
        if (child_->poll(pause_ns)) {
            return fail(Errc::io_error,
                        "nbdkit ended with code " + std::to_string(child_->exit_code()));
        }
        if (clock.boot() - deadline >= 0) {
            return fail(Errc::io_error, "nbdkit did not answer in time");
        }
    }
    return {};
}

MountServer::~MountServer() {
    child_.reset();
    ::unlink(socket_path_.c_str());
    if (!directory_.empty()) {
        ::rmdir(directory_.c_str());
    }
}

}  // namespace cw::appliance
