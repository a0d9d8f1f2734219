// ProcessMark: a process as it can be recognised again by another one, which is not its parent, and
// later: a number alone may be somebody else's by then.
// Thread-safety: values.
#pragma once

#include "base/clock.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace cw::agent {

struct ProcessMark {
    int pid = 0;
    std::uint64_t start_ticks = 0;  // Of its start, as the kernel counts them since its own.
    std::string boot;               // This start of the kernel.
    friend bool operator==(const ProcessMark&, const ProcessMark&) = default;
};

// None: there is no such process, or the kernel does not tell.
std::optional<ProcessMark> mark_of(int pid);
// It is there, and not only as a dead one that nobody has waited for.
bool still_runs(const ProcessMark& mark);
// When it was started; at most `now`.
Nanos started_at(const ProcessMark& mark, Nanos now);

// One line without its end. None: that is no mark.
std::string to_string(const ProcessMark& mark);
std::optional<ProcessMark> parse_mark(std::string_view text);

}  // namespace cw::agent
