// NbdServer: the front end through which a writer's disk is captured. QEMU, nbd-client or any NBD
// client writes to the image through it; every write gets its sequence in the order of acceptance.
//
// One thread accepts and one serves each connection (at most 16): a write waits for the image and
// for nothing else. Unix sockets are made with mode 0600. TCP is for the loopback only, because NBD
// here has no authentication.
#pragma once

#include "agent/nbd/nbd_guard.h"
#include "agent/nbd/nbd_protocol.h"
#include "agent/stream/disk_capture.h"
#include "base/net.h"

#include <atomic>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace cw::agent {

class NbdServer {
public:
    static constexpr std::size_t connections_max = guard_slots;

    struct Disk {
        std::string name;
        DiskCapture* capture = nullptr;  // Outlives the server.
    };
    // What to do with a change that hangs in us, because our own disk does: let its writer wait, or
    // close its connection after one to two seconds. The latter is for a mirror, whose guest goes
    // on. A guard (nbd_guard.h) does the same within a second when we stand still altogether.
    enum class Hanging { wait, close };
    // Errors: io_error (address in use, no right), usage (not a loopback address).
    static Result<std::unique_ptr<NbdServer>> listen_unix(const std::string& path,
                                                          std::vector<Disk> disks,
                                                          Hanging hanging = Hanging::wait,
                                                          const std::string& guard = {});
    static Result<std::unique_ptr<NbdServer>> listen_loopback(const HostPort& address,
                                                              std::vector<Disk> disks);
    // Closes every connection and joins; a request being executed is finished first.
    ~NbdServer();

    [[nodiscard]] std::uint16_t port() const noexcept { return port_; }  // 0 for Unix sockets.
    [[nodiscard]] std::size_t connections() const noexcept { return live_.load(); }

private:
    struct Connection {
        Fd socket;
        std::thread thread;
        std::size_t slot = 0;
        std::atomic<bool> done{false};
        std::atomic<std::uint64_t> own_turns{0};
        std::atomic<std::uint64_t>* turns = nullptr;  // The guard's, or our own.
        std::uint64_t turns_before = 0;               // At the last look.
    };
    NbdServer(Fd listener, std::string path, std::vector<Disk> disks, Hanging hanging);
    void close_hanging();
    void accept_loop();
    void beat();
    void admit(Fd socket);
    void reap(bool all);

    Fd listener_;
    Fd stop_;  // eventfd
    std::string path_;
    const Hanging hanging_;
    std::uint16_t port_ = 0;
    std::vector<Disk> disks_;
    std::vector<NbdExport> exports_;
    // Of the accepting thread:
    std::list<Connection> connections_;
    std::unique_ptr<NbdGuard> guard_;
    std::vector<DiskCapture*> captures_;
    int beats_ = 0;
    std::atomic<std::size_t> live_{0};
    std::thread acceptor_;
};

}  // namespace cw::agent
