// WindowWatch: says so when the cache is too small for the machines that are connected.
//
// Each session needs room for one frame of the largest size, or it cannot send at all. When those
// least windows do not fit what the cache may promise, the sessions that came last wait without
// end: that is a condition (SERVER_BUSY), raised and cleared only after it has lasted, because room
// comes and goes by the second. Thread-safety: none; its reactor's.
#pragma once

#include "base/clock.h"
#include "base/conditions.h"
#include "ingest/credit.h"

namespace cw::ingest {

class WindowWatch {
public:
    static constexpr std::int64_t hold_ns = 3 * ns_per_s;

    // Both outlive it.
    WindowWatch(const CreditPolicy& credit, Conditions& conditions)
        : credit_(credit), conditions_(conditions) {}
    ~WindowWatch();
    WindowWatch(const WindowWatch&) = delete;
    WindowWatch& operator=(const WindowWatch&) = delete;

    // A few times a second.
    void tick(Nanos now);

private:
    const CreditPolicy& credit_;
    Conditions& conditions_;
    bool shown_ = false;
    Nanos agreed_{};  // When what is shown was last true.
};

}  // namespace cw::ingest
