// The NBD protocol (fixed newstyle, simple replies), as a server sees it: negotiation without I/O
// and the checks of requests. Strict: every field is bounded, and what the protocol does not allow
// ends the connection. Numbers on the wire are big-endian.
//
// Thread-safety: none. Lifetime: the exports outlive the negotiation.
#pragma once

#include "base/bytes.h"
#include "base/error.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace cw::agent {

struct NbdExport {
    std::string name;
    std::uint64_t size_bytes = 0;
};

enum class NbdCommand : std::uint16_t {
    read = 0,
    write = 1,
    disconnect = 2,
    flush = 3,
    trim = 4,
    write_zeroes = 6,
};

inline constexpr std::uint16_t nbd_flag_fua = 1, nbd_flag_no_hole = 2;
inline constexpr std::size_t nbd_request_bytes = 28;
inline constexpr std::uint32_t nbd_payload_bytes_max = 32 * 1024 * 1024;

struct NbdRequest {
    std::uint16_t flags = 0;
    NbdCommand command{};
    std::uint64_t cookie = 0;  // The client's; returned.
    std::uint64_t offset = 0;
    std::uint32_t length = 0;
};

// Errors: frame_malformed (magic): the connection cannot go on.
Result<NbdRequest> parse_nbd_request(Bytes header);
// 0, or the error number the client is told: EINVAL (22), ENOSPC (28), ENOTSUP (95).
std::uint32_t check_nbd_request(const NbdRequest& request, std::uint64_t size_bytes) noexcept;
// The 16 bytes of a simple reply.
std::array<std::byte, 16> nbd_reply(std::uint64_t cookie, std::uint32_t error) noexcept;

// Negotiation: feed() what the client sends, send what it appends to `out`, until chosen() or an
// error. Errors: frame_malformed, cancelled (the client aborted).
class NbdNegotiation {
public:
    explicit NbdNegotiation(const std::vector<NbdExport>& exports) : exports_(exports) {}

    // The server speaks first.
    static ByteVector greeting();
    // Consumes whole messages from `in`; returns how many bytes. Stops once an export is chosen.
    Result<std::size_t> feed(Bytes in, ByteVector& out);
    // Index of the export that transmission is about.
    [[nodiscard]] std::optional<std::size_t> chosen() const noexcept { return chosen_; }

    static constexpr std::uint32_t option_bytes_max = 16 * 1024;
    static constexpr int options_max = 64;

private:
    Result<void> take_flags(std::uint32_t flags);
    Result<void> take_option(std::uint32_t option, Bytes data, ByteVector& out);
    Result<void> export_name(Bytes data, ByteVector& out);
    Result<void> info(std::uint32_t option, Bytes data, ByteVector& out);
    void list(Bytes data, ByteVector& out);
    [[nodiscard]] std::optional<std::size_t> find(std::string_view name) const noexcept;

    const std::vector<NbdExport>& exports_;
    std::optional<std::size_t> chosen_;
    bool flags_seen_ = false;
    bool no_zeroes_ = false;
    int options_ = 0;
};

}  // namespace cw::agent
