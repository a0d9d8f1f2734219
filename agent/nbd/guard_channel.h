// What an agent tells its guard: one packet each, with at most one descriptor.
#pragma once

#include "base/net.h"

#include <cstdint>
#include <optional>

namespace cw::agent {

inline constexpr std::uint32_t guard_board = 1, guard_listener = 2, guard_watch = 3,
                               guard_forget = 4;

struct GuardMessage {
    std::uint32_t what = 0, slot = 0;
    Fd fd;  // Received; what is sent is the sender's.
};

// Never waits. `fd`: -1 for none. False: the other side is gone or does not read.
bool send_guard_message(int channel, const GuardMessage& message, int fd) noexcept;
// Waits for one. nullopt: the channel is closed, or holds what is no message.
std::optional<GuardMessage> receive_guard_message(int channel) noexcept;

}  // namespace cw::agent
