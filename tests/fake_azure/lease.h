// One blob's lease with all five states of the service and its error codes.
#pragma once

#include "tests/fake_azure/message.h"

namespace cw::fake_azure {

// Times are Unix-like nanoseconds of the fake's steady clock. The owner locks.
class Lease {
public:
    // A PUT ?comp=lease.
    Reply apply(const Request& request, std::int64_t now_ns);
    // Whether a write carrying `id` (or none) may go ahead.
    [[nodiscard]] std::optional<Reply> check_write(std::string_view id, std::int64_t now_ns) const;
    [[nodiscard]] std::optional<Reply> check_read(std::string_view id, std::int64_t now_ns) const;
    void written(std::int64_t now_ns);
    // Somebody holds it without end, or nobody does.
    void set(bool leased);

    // "available", "leased", "breaking", "broken", "expired".
    [[nodiscard]] std::string_view state(std::int64_t now_ns) const;

private:
    Reply acquire(const Request& request, std::int64_t now_ns);
    Reply change(const Request& request, std::int64_t now_ns);
    Reply break_it(const Request& request, std::int64_t now_ns);
    [[nodiscard]] bool held(std::int64_t now_ns) const;

    std::string id_;
    std::int64_t until_ns_ = 0;
    std::int64_t duration_ns_ = 0;    // 0: infinite
    std::int64_t broken_at_ns_ = -1;  // When a break takes effect; -1: not broken.
};

}  // namespace cw::fake_azure
