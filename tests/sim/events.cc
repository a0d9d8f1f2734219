#include "tests/sim/events.h"

#include "base/assert.h"

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include <sys/types.h>

namespace cw::sim {
namespace {

// Above every number that the system gives out.
constexpr int first_fd = 1 << 24;

struct Event {
    std::uint64_t count = 0;
    bool open = true;
};

struct Events {
    std::vector<Event> all;
    std::vector<std::size_t> closed;  // May be given out again.
};

Events& events() {
    static Events made;
    return made;
}

// Null: the system's.
Event* find(int fd) noexcept {
    if (fd < first_fd) {
        return nullptr;
    }
    Event& event = events().all.at(static_cast<std::size_t>(fd - first_fd));
    CW_ASSERT(event.open);
    return &event;
}

}  // namespace

bool event_is_set(int fd) noexcept {
    const Event* const event = find(fd);
    CW_ASSERT(event != nullptr);
    return event->count > 0;
}

}  // namespace cw::sim

using cw::sim::Event;

extern "C" {

// Names that the linker gives.
// NOLINTBEGIN(bugprone-reserved-identifier)
int __real_close(int fd);
ssize_t __real_read(int fd, void* into, std::size_t size);
ssize_t __real_write(int fd, const void* from, std::size_t size);

int __wrap_eventfd(unsigned count, int) {
    auto& [all, closed] = cw::sim::events();
    if (closed.empty()) {
        closed.push_back(all.size());
        all.emplace_back();
    }
    const std::size_t at = closed.back();
    closed.pop_back();
    all[at] = {.count = count, .open = true};
    return cw::sim::first_fd + static_cast<int>(at);
}

int __wrap_close(int fd) {
    Event* const event = cw::sim::find(fd);
    if (event == nullptr) {
        return __real_close(fd);
    }
    event->open = false;
    cw::sim::events().closed.push_back(static_cast<std::size_t>(fd - cw::sim::first_fd));
    return 0;
}

ssize_t __wrap_read(int fd, void* into, std::size_t size) {
    Event* const event = cw::sim::find(fd);
    if (event == nullptr) {
        return __real_read(fd, into, size);
    }
    CW_ASSERT(size == sizeof event->count);
    if (event->count == 0) {
        errno = EAGAIN;
        return -1;
    }
    std::memcpy(into, &event->count, size);
    event->count = 0;
    return static_cast<ssize_t>(size);
}

ssize_t __wrap_write(int fd, const void* from, std::size_t size) {
    Event* const event = cw::sim::find(fd);
    if (event == nullptr) {
        return __real_write(fd, from, size);
    }
    std::uint64_t more = 0;
    CW_ASSERT(size == sizeof more);
    std::memcpy(&more, from, size);
    CW_ASSERT(more < std::numeric_limits<std::uint64_t>::max() - event->count);
    event->count += more;
    return static_cast<ssize_t>(size);
}
// NOLINTEND(bugprone-reserved-identifier)

}  // extern "C"
