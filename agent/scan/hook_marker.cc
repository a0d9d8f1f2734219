#include "agent/scan/hook_marker.h"

#include "agent/child_process.h"
#include "base/log.h"

#include <csignal>
#include <utility>

namespace cw::agent {
namespace {

constexpr std::string_view frozen_word = "frozen ", hook_word = "\nhook ";

}  // namespace

std::string_view name_of(HookKind kind) noexcept {
    return kind == HookKind::pre ? "pre-hook" : "post-hook";
}

// "frozen[ MOUNT]", and of a hook "hook pre-hook|post-hook PID START BOOT" in the last line.
std::string to_text(const HookMarker& marker) {
    std::string text = marker.mount.empty() ? "frozen" : std::string(frozen_word) + marker.mount;
    if (marker.hook) {
        text += std::string(hook_word) + std::string(name_of(marker.hook->kind)) + " " +
                to_string(marker.hook->process);
    }
    return text;
}

HookMarker parse_marker(std::string_view text) {
    HookMarker marker;
    if (const std::size_t at = text.rfind(hook_word); at != std::string_view::npos) {
        const std::string_view line = text.substr(at + hook_word.size());
        for (const HookKind kind : {HookKind::pre, HookKind::post}) {
            const std::string_view name = name_of(kind);
            const auto mark =
                line.starts_with(name) ? parse_mark(line.substr(name.size())) : std::nullopt;
            if (mark) {
                marker.hook = {kind, *mark};
                text = text.substr(0, at);
            }
        }
    }
    if (text.starts_with(frozen_word)) {
        marker.mount = text.substr(frozen_word.size());
    }
    return marker;
}

EarlierHook::EarlierHook(HookMarker::Hook hook, Clock& clock, std::int64_t limit_ns)
    : hook_(std::move(hook)), clock_(clock), deadline_(clock.boot()) {
    if (hook_.kind == HookKind::post) {
        deadline_ = started_at(hook_.process, clock.boot()) + limit_ns;
    }
    log_warning("agent.hook.earlier", {{"hook", name_of(hook_.kind)},
                                       {"pid", hook_.process.pid},
                                       {"runs_ms", age_ns() / ns_per_ms},
                                       {"killed_in_ms", (deadline_ - clock.boot()) / ns_per_ms}});
}

bool EarlierHook::ended() {
    const Nanos now = clock_.boot();
    if (!still_runs(hook_.process)) {
        log_info("agent.hook.earlier.ended",
                 {{"pid", hook_.process.pid}, {"killed", killed_.has_value()}});
        return true;
    }
    if (!killed_ && now - deadline_ >= 0) {
        ::kill(-hook_.process.pid, SIGKILL);  // Its process group, which it leads.
        killed_ = now;
    }
    if (killed_ && now - *killed_ >= stubborn_ns) {
        log_error("agent.hook.earlier.stuck", {{"pid", hook_.process.pid}});
        return true;
    }
    return false;
}

std::int64_t EarlierHook::age_ns() const {
    const Nanos now = clock_.boot();
    return now - started_at(hook_.process, now);
}

}  // namespace cw::agent
