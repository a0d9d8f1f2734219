// Eventfds without the kernel. The real Doorbell runs in the simulator, but its eventfd, which is
// written, read and polled some thousand times per schedule, is a counter in this process: the
// linker puts these functions in the place of the system's (see CMakeLists.txt). Other descriptors
// go to the system. What threads would do to each other here cannot be seen by one thread anyway.
// Thread-safety: none.
#pragma once

namespace cw::sim {

// Whether a read of this eventfd would give something.
bool event_is_set(int fd) noexcept;

}  // namespace cw::sim
