#include "agent/nbd/guard_channel.h"

#include <array>
#include <cerrno>
#include <cstring>

#include <sys/socket.h>

namespace cw::agent {
namespace {

using Words = std::array<std::uint32_t, 2>;

struct Control {
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> bytes{};
};

}  // namespace

bool send_guard_message(int channel, const GuardMessage& message, int fd) noexcept {
    Words words{message.what, message.slot};
    iovec piece{words.data(), sizeof words};
    Control control;
    msghdr head{};
    head.msg_iov = &piece;
    head.msg_iovlen = 1;
    if (fd >= 0) {
        head.msg_control = control.bytes.data();
        head.msg_controllen = control.bytes.size();
        cmsghdr* const rights = CMSG_FIRSTHDR(&head);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(sizeof(int));
        std::memcpy(CMSG_DATA(rights), &fd, sizeof fd);
    }
    return ::sendmsg(channel, &head, MSG_NOSIGNAL | MSG_DONTWAIT) == sizeof words;
}

std::optional<GuardMessage> receive_guard_message(int channel) noexcept {
    Words words{};
    iovec piece{words.data(), sizeof words};
    Control control;
    msghdr head{};
    head.msg_iov = &piece;
    head.msg_iovlen = 1;
    head.msg_control = control.bytes.data();
    head.msg_controllen = control.bytes.size();
    ssize_t n = -1;
    do {
        n = ::recvmsg(channel, &head, MSG_CMSG_CLOEXEC);
    } while (n < 0 && errno == EINTR);
    GuardMessage message;
    const cmsghdr* const rights = n < 0 ? nullptr : CMSG_FIRSTHDR(&head);
    if (rights != nullptr && rights->cmsg_level == SOL_SOCKET && rights->cmsg_type == SCM_RIGHTS) {
        int fd = -1;
        std::memcpy(&fd, CMSG_DATA(rights), sizeof fd);
        message.fd = Fd(fd);
    }
    if (n != sizeof words) {
        return std::nullopt;
    }
    message.what = words[0];
    message.slot = words[1];
    return message;
}

}  // namespace cw::agent
