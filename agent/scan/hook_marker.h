// HookMarker: the file in the state directory that says what a killed agent owes: whoever it froze
// is to be let go, and a post-hook is to run. And which of its hooks ran last: that one may run
// still, long after its agent, and no other may be begun beside it.
// Thread-safety: none.
#pragma once

#include "agent/process_mark.h"
#include "base/disk.h"

#include <optional>
#include <string>

namespace cw::agent {

enum class HookKind : std::uint8_t { pre, post };
std::string_view name_of(HookKind kind) noexcept;  // "pre-hook", "post-hook"

struct HookMarker {
    std::string mount = {};  // The file system that was frozen; empty: none.
    struct Hook {
        HookKind kind{};
        ProcessMark process;
    };
    std::optional<Hook> hook = {};
};

std::string to_text(const HookMarker& marker);
// What cannot be read owes a post-hook all the same.
HookMarker parse_marker(std::string_view text);

// A hook that an agent before this one started, and that runs still. A pre-hook is killed at once,
// as by its own agent when the freeze ends; a post-hook when its time limit, counted from its
// start, is over.
class EarlierHook {
public:
    EarlierHook(HookMarker::Hook hook, Clock& clock, std::int64_t limit_ns);
    // True: it has ended, or cannot be killed (it waits for a disk that hangs) and was given up.
    bool ended();
    [[nodiscard]] HookKind kind() const noexcept { return hook_.kind; }
    [[nodiscard]] int pid() const noexcept { return hook_.process.pid; }
    [[nodiscard]] std::int64_t age_ns() const;

private:
    const HookMarker::Hook hook_;
    Clock& clock_;
    Nanos deadline_;
    std::optional<Nanos> killed_;
};

}  // namespace cw::agent
