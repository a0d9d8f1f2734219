#include "agent/nbd/nbd_connection.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <poll.h>
#include <sys/socket.h>

namespace cw::agent {
namespace {

constexpr std::size_t ahead_bytes = 16 * kib;

// What a client is told of our errors; it does not care about our reasons.
std::uint32_t errno_of(const Result<void>& result) noexcept {
    return result ? 0U : EIO;
}

}  // namespace

Result<void> NbdConnection::run() {
    CW_TRY(negotiate());
    for (;;) {
        CW_TRY_ASSIGN(const bool more, serve_one());
        if (!more) {
            return {};
        }
    }
}

Result<void> NbdConnection::negotiate() {
    NbdNegotiation negotiation(exports_);
    CW_TRY(send(NbdNegotiation::greeting(), false));
    ByteVector in;
    while (!negotiation.chosen()) {
        std::array<std::byte, 4096> piece;
        CW_TRY_ASSIGN(const std::size_t n, receive(piece));
        in.insert(in.end(), piece.begin(), piece.begin() + static_cast<std::ptrdiff_t>(n));
        ByteVector out;
        const auto used = negotiation.feed(in, out);
        if (!out.empty()) {
            CW_TRY(send(out, false));
        }
        CW_TRY(used);
        in.erase(in.begin(), in.begin() + static_cast<std::ptrdiff_t>(*used));
    }
    capture_ = captures_.at(*negotiation.chosen());
    ahead_ = std::move(in);  // A client that does not wait for the answer may have gone on.
    return {};
}

Result<bool> NbdConnection::serve_one() {
    std::array<std::byte, nbd_request_bytes> header;
    CW_TRY(fill(header));
    CW_TRY_ASSIGN(const NbdRequest request, parse_nbd_request(header));
    if (request.command == NbdCommand::disconnect) {
        return false;
    }
    std::uint32_t error = check_nbd_request(request, capture_->image().size());
    if (request.command == NbdCommand::read && error == 0) {
        CW_TRY(read(request));
        return true;
    }
    if (request.command == NbdCommand::write) {
        if (request.length > nbd_payload_bytes_max) {
            return fail(Errc::frame_malformed, "NBD write of " + std::to_string(request.length));
        }
        CW_TRY_ASSIGN(error, write(request, error));
    } else if (error == 0) {
        error = execute(request);
    }
    CW_TRY(send(nbd_reply(request.cookie, error), ahead_at_ < ahead_.size()));
    return true;
}

Result<void> NbdConnection::read(const NbdRequest& request) {
    std::uint64_t offset = request.offset;
    std::uint32_t left = request.length;
    bool replied = false;
    while (left > 0) {
        const auto step = std::min<std::uint32_t>(left, buffer_bytes);
        const MutableBytes piece = MutableBytes(buffer_).first(step);
        if (auto got = capture_->image().read(offset, piece); !got) {
            if (replied) {
                return got;  // Too late for an error reply: the client must not take what follows.
            }
            return send(nbd_reply(request.cookie, EIO), false);
        }
        if (!replied) {
            CW_TRY(send(nbd_reply(request.cookie, 0), true));
            replied = true;
        }
        CW_TRY(send(piece, left > step));
        offset += step;
        left -= step;
    }
    return {};
}

Result<std::uint32_t> NbdConnection::write(const NbdRequest& request, std::uint32_t refused) {
    std::uint64_t offset = request.offset;
    std::uint32_t left = request.length, error = refused;
    while (left > 0) {
        const auto step = std::min<std::uint32_t>(left, buffer_bytes);
        const MutableBytes piece = MutableBytes(buffer_).first(step);
        CW_TRY(fill(piece));
        if (error == 0) {
            turns_ += 2;
            error = errno_of(capture_->write(offset, piece));
        }
        offset += step;
        left -= step;
    }
    if (error == 0 && (request.flags & nbd_flag_fua) != 0) {
        error = errno_of(capture_->flush());
    }
    return error;
}

std::uint32_t NbdConnection::execute(const NbdRequest& request) {
    turns_ += 2;
    if (request.command == NbdCommand::flush) {
        return errno_of(capture_->flush());
    }
    const bool trim = request.command == NbdCommand::trim;
    const auto op = trim ? pipeline::ExtentOp::discard : pipeline::ExtentOp::zero;
    const bool unmap = trim || (request.flags & nbd_flag_no_hole) == 0;
    std::uint32_t error = errno_of(capture_->zero(request.offset, request.length, op, unmap));
    if (error == 0 && (request.flags & nbd_flag_fua) != 0) {
        error = errno_of(capture_->flush());
    }
    return error;
}

Result<void> NbdConnection::fill(MutableBytes out) {
    while (!out.empty()) {
        const std::size_t have = std::min(out.size(), ahead_.size() - ahead_at_);
        std::copy_n(ahead_.begin() + static_cast<std::ptrdiff_t>(ahead_at_), have, out.begin());
        ahead_at_ += have;
        out = out.subspan(have);
        if (out.empty()) {
            break;
        }
        if (out.size() >= ahead_bytes) {
            CW_TRY_ASSIGN(const std::size_t n, receive(out));
            out = out.subspan(n);
            continue;
        }
        ahead_.resize(ahead_bytes);
        ahead_at_ = 0;
        const auto n = receive(ahead_);
        ahead_.resize(n.value_or(0));
        CW_TRY(n);
    }
    return {};
}

// Polled first and only then taken: a request is either unread in the socket or the turn is ours.
Result<std::size_t> NbdConnection::receive(MutableBytes out) {
    for (;;) {
        await(POLLIN);
        const ssize_t n = ::recv(socket_, out.data(), out.size(), 0);
        if (n > 0) {
            return static_cast<std::size_t>(n);
        }
        if (n < 0 && errno == EINTR) {
            continue;
        }
        return n == 0 ? fail(Errc::connection_lost, "NBD client is gone")
                      : fail_errno(Errc::connection_lost, "receive from NBD client", errno);
    }
}

void NbdConnection::await(short events) {
    pollfd ready{socket_, events, 0};
    turns_ += turns_ % 2;  // Even: theirs.
    ::poll(&ready, 1, -1);
    ++turns_;
}

Result<void> NbdConnection::send(Bytes bytes, bool more) {
    while (!bytes.empty()) {
        const int flags = MSG_NOSIGNAL | MSG_DONTWAIT | (more ? MSG_MORE : 0);
        const ssize_t n = ::send(socket_, bytes.data(), bytes.size(), flags);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            await(POLLOUT);
            continue;
        }
        if (n <= 0) {
            return fail_errno(Errc::connection_lost, "send to NBD client", errno);
        }
        bytes = bytes.subspan(static_cast<std::size_t>(n));
    }
    return {};
}

}  // namespace cw::agent
