// MountSocket: the place that somebody chose for a mount's socket. One that a killed mount has left
// there is taken over; nothing else is ever replaced or removed.
//
// `PATH.mount-lock` is held while the mount lives, and says which socket is the mount's (file
// system, number, time of birth). The server listens in a directory of its own beside PATH; the
// socket gets its name by a link, which replaces nothing, once it is ready and noted. So whatever
// lies at PATH is noted as ours, or is not ours, wherever a mount was killed.
//
// Thread-safety: none.
#pragma once

#include "appliance/operator/scratch_directory.h"
#include "base/held_file.h"

#include <cstdint>
#include <memory>
#include <string>

namespace cw::appliance {

class MountSocket {
public:
    // Errors: in_use (another mount has it; something lies there that no mount has left; somebody
    // listens there), not_found (no such directory), io_error.
    static Result<std::unique_ptr<MountSocket>> claim(const std::string& path);
    MountSocket(const MountSocket&) = delete;
    MountSocket& operator=(const MountSocket&) = delete;
    ~MountSocket();  // Takes the socket away. After its server has ended.

    // Where the server is to listen, as `nbd.sock`.
    [[nodiscard]] const std::string& directory() const noexcept { return beside_.path(); }
    // The server listens: its socket gets its name. Errors: in_use (it was taken meanwhile),
    // io_error.
    Result<void> publish();

private:
    struct Identity {
        std::uint64_t device = 0, number = 0, born_ns = 0;  // All 0: there is nothing.
        bool is_socket = false;
        friend bool operator==(const Identity&, const Identity&) = default;
    };
    MountSocket(std::string path, LockFile lock, ScratchDirectory beside)
        : path_(std::move(path)), lock_(std::move(lock)), beside_(std::move(beside)) {}
    static Identity identity_of(const std::string& path);
    Result<Identity> read_note();
    Result<void> write_note();
    Result<void> take_over(const Identity& left);

    std::string path_;
    LockFile lock_;  // Goes last.
    ScratchDirectory beside_;
    Identity published_;
};

}  // namespace cw::appliance
