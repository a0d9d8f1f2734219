#include "base/crash_point.h"

#include "base/assert.h"

#include <algorithm>
#include <charconv>
#include <csignal>
#include <cstdlib>
#include <mutex>
#include <string>

#include <unistd.h>

// The linker names the ends of a section whose name is an identifier. Weak: a program may have no
// crash point at all.
extern "C" {
[[gnu::weak, gnu::visibility("hidden")]] extern const char* const __start_cw_crash_points[];
[[gnu::weak, gnu::visibility("hidden")]] extern const char* const __stop_cw_crash_points[];
}

namespace cw {

namespace detail {
std::atomic<bool> crash_point_armed{false};
}

namespace {

struct Armed {
    std::mutex mutex;
    std::string name;
    std::uint64_t hits_left = 0;
    CrashAction action = CrashAction::kill;
};

Armed& armed() {
    static Armed* const instance = new Armed;  // Reached while the process exits, too.
    return *instance;
}

}  // namespace

std::vector<std::string_view> crash_point_names() {
    std::vector<std::string_view> names;
    for (const char* const* at = __start_cw_crash_points; at < __stop_cw_crash_points; ++at) {
        names.emplace_back(*at);
    }
    std::ranges::sort(names);
    const auto repeated = std::ranges::unique(names);
    names.erase(repeated.begin(), repeated.end());
    return names;
}

Result<void> arm_crash_point(std::string_view name, std::uint64_t hit, CrashAction action) {
    const std::vector<std::string_view> names = crash_point_names();
    if (!std::ranges::binary_search(names, name)) {
        return fail(Errc::usage, "no crash point is named " + std::string(name));
    }
    if (hit == 0) {
        return fail(Errc::usage, "hits are counted from 1");
    }
    const std::lock_guard lock(armed().mutex);
    armed().name = name;
    armed().hits_left = hit;
    armed().action = action;
    detail::crash_point_armed.store(true, std::memory_order_relaxed);
    return {};
}

Result<void> arm_crash_point_from_environment() {
    const char* const value = std::getenv("CAUSEWAY_CRASH_POINT");
    std::string_view text = value == nullptr ? "" : value;
    if (text.empty()) {
        return {};
    }
    constexpr std::string_view stall = ":stall";
    const bool stalls = text.ends_with(stall);
    text.remove_suffix(stalls ? stall.size() : 0);
    const std::size_t colon = text.rfind(':');
    const std::string_view number = colon == std::string_view::npos ? "" : text.substr(colon + 1);
    std::uint64_t hit = 0;
    const char* const end = number.data() + number.size();
    const auto [stop, error] = std::from_chars(number.data(), end, hit);
    if (error != std::errc{} || stop != end) {
        return fail(Errc::usage, "CAUSEWAY_CRASH_POINT is written name:hit or name:hit:stall");
    }
    return arm_crash_point(text.substr(0, colon), hit,
                           stalls ? CrashAction::stall : CrashAction::kill);
}

void detail::reach_crash_point(std::string_view name) noexcept {
    {
        const std::lock_guard lock(armed().mutex);
        if (armed().name != name || armed().hits_left == 0 || --armed().hits_left > 0) {
            return;
        }
        if (armed().action == CrashAction::kill) {
            kill(getpid(), SIGKILL);
            CW_ASSERT(false && "SIGKILL was survived");
        }
    }
    while (true) {  // This thread only: others reach points, and go on.
        pause();
    }
}

}  // namespace cw
