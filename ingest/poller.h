// Poller: readiness of many sockets for one thread, over io_uring or, where a kernel or a sandbox
// forbids that, poll(2).
//
// One-shot: a notice fires once and must be armed again. Tokens name a registration and are never
// used twice by the caller, so a late event cannot reach the wrong connection.
// Thread-safety: none; belongs to its reactor's thread.
#pragma once

#include "base/error.h"

#include <cstdint>
#include <memory>
#include <span>

namespace cw::ingest {

struct PollEvent {
    std::uint64_t token = 0;
    bool for_write = false;  // What was armed; errors and hang-ups fire it too.
};

class Poller {
public:
    virtual ~Poller() = default;
    // Asks for one event when `fd` becomes readable (or writable). Arming twice is once.
    // token: 1 .. 2^62.
    virtual void arm(int fd, std::uint64_t token, bool for_write) = 0;
    // Forgets the token; no event of it comes any more. Call before closing its descriptor.
    virtual void disarm(std::uint64_t token) = 0;
    // Waits up to `timeout_ns` (0: only looks; at most an hour) and fills `events` from the front.
    // Returns how many. Interruptions by signals return early.
    virtual std::size_t wait(std::span<PollEvent> events, std::int64_t timeout_ns) = 0;
};

// Errors: io_error where io_uring is not permitted or too old.
Result<std::unique_ptr<Poller>> make_uring_poller();
std::unique_ptr<Poller> make_plain_poller();
// io_uring if `use_uring` and possible, else poll(2).
std::unique_ptr<Poller> make_poller(bool use_uring);

}  // namespace cw::ingest
