// MountServer: a disk at a point on a Unix socket, by nbdkit with our plugin, for as long as this
// object lives.
#pragma once

#include "appliance/operator/mount_pump.h"
#include "appliance/operator/mount_socket.h"
#include "appliance/operator/scratch_directory.h"
#include "appliance/operator/subprocess.h"

#include <functional>
#include <memory>
#include <optional>
#include <string>

namespace cw::appliance {

struct MountRequest {
    MountSource source;
    bool writable = false;                 // Writes go to a scratch file that ends with the mount.
    std::string socket_path = {};          // Empty: in a directory of its own.
    std::function<bool()> cancelled = {};  // Asked until it is ready.
};

class MountServer {
public:
    // Ready when it returns. Errors: not_found (no nbdkit, no plugin), usage (socket path too
    // long), in_use (as MountSocket::claim() says), io_error (nbdkit ended; it has said why on
    // stderr), cancelled.
    static Result<std::unique_ptr<MountServer>> start(const MountRequest& request, Clock& clock);
    ~MountServer();
    MountServer(const MountServer&) = delete;
    MountServer& operator=(const MountServer&) = delete;

    [[nodiscard]] const std::string& socket_path() const noexcept { return socket_path_; }
    [[nodiscard]] std::string uri() const { return "nbd+unix:///?socket=" + socket_path_; }
    // True: it has ended by itself.
    bool poll(std::int64_t timeout_ns) { return child_->poll(timeout_ns); }

private:
    MountServer() = default;
    Result<std::string> find_place(const std::string& chosen);
    Result<void> wait_ready(const std::string& listen, Clock& clock,
                            const std::function<bool()>& cancelled);

    std::optional<ScratchDirectory> directory_;
    std::unique_ptr<MountSocket> chosen_;  // Null: the socket is in the directory.
    std::string socket_path_;
    std::optional<Subprocess> child_;
};

}  // namespace cw::appliance
