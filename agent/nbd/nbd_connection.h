// One NBD client on a blocking socket: negotiation, then requests one after the other.
#pragma once

#include "agent/nbd/nbd_protocol.h"
#include "agent/stream/disk_capture.h"

#include <atomic>
#include <vector>

namespace cw::agent {

class NbdConnection {
public:
    // `captures` are in the order of `exports`; both, and the socket, outlive the connection.
    // `turns` grows whenever something is done, and is odd while the client waits for us and not
    // we for the client; what it sent and we have not looked at stays in the socket until then.
    NbdConnection(int socket, const std::vector<NbdExport>& exports,
                  const std::vector<DiskCapture*>& captures, std::atomic<std::uint64_t>& turns)
        : socket_(socket),
          exports_(exports),
          captures_(captures),
          turns_(turns),
          buffer_(buffer_bytes) {}

    // Until the client disconnects or the socket is shut down. Errors: connection_lost,
    // frame_malformed, not_found, cancelled.
    Result<void> run();

private:
    static constexpr std::size_t buffer_bytes = 1024 * 1024;

    Result<void> negotiate();
    Result<bool> serve_one();
    Result<void> read(const NbdRequest& request);
    // Reads the payload even if the request is refused: the stream must stay in step.
    Result<std::uint32_t> write(const NbdRequest& request, std::uint32_t refused);
    std::uint32_t execute(const NbdRequest& request);
    Result<void> fill(MutableBytes out);
    Result<void> send(Bytes bytes, bool more);
    Result<std::size_t> receive(MutableBytes out);
    // The client is waited for: it may take as long as it likes.
    void await(short events);

    int socket_;
    const std::vector<NbdExport>& exports_;
    const std::vector<DiskCapture*>& captures_;
    std::atomic<std::uint64_t>& turns_;
    DiskCapture* capture_ = nullptr;
    ByteVector buffer_;
    // Received and not yet used: small requests come many per system call.
    ByteVector ahead_;
    std::size_t ahead_at_ = 0;
};

}  // namespace cw::agent
