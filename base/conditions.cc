#include "base/conditions.h"

#include "base/log.h"

#include <algorithm>

namespace cw {
namespace {
constexpr std::size_t events_max = 4096;
}

void Conditions::raise(Errc code, std::string subject, std::string detail) {
    const std::lock_guard lock(mutex_);
    const auto key = std::pair(code, subject);
    const auto found = standing_.find(key);
    if (found != standing_.end()) {
        found->second.detail = std::move(detail);
        ++found->second.count;
        return;
    }
    const Condition condition{code, std::move(subject), std::move(detail), clock_.boot(),
                              clock_.wall()};
    log_warning("condition.raised", {{"code", name_of(code)},
                                     {"subject", condition.subject},
                                     {"detail", condition.detail},
                                     {"next", next_of(code)}});
    note({condition, true, condition.since_wall});
    standing_.emplace(key, condition);
}

void Conditions::clear(Errc code, const std::string& subject) {
    const std::lock_guard lock(mutex_);
    const auto found = standing_.find(std::pair(code, subject));
    if (found == standing_.end()) {
        return;
    }
    log_info("condition.cleared", {{"code", name_of(code)}, {"subject", subject}});
    note({found->second, false, clock_.wall()});
    standing_.erase(found);
}

void Conditions::note(ConditionEvent event) {
    events_.push_back(std::move(event));
    if (events_.size() > events_max) {
        events_.pop_front();
        ++forgotten_;
    }
}

bool Conditions::standing(Errc code) const {
    const std::lock_guard lock(mutex_);
    for (const auto& [key, condition] : standing_) {
        if (key.first == code) {
            return true;
        }
    }
    return false;
}

std::vector<Condition> Conditions::list() const {
    const std::lock_guard lock(mutex_);
    std::vector<Condition> out;
    out.reserve(standing_.size());
    for (const auto& [key, condition] : standing_) {
        out.push_back(condition);
    }
    return out;
}

std::vector<ConditionEvent> Conditions::events(std::size_t max) const {
    const std::lock_guard lock(mutex_);
    const std::size_t skip = events_.size() > max ? events_.size() - max : 0;
    return {events_.begin() + static_cast<std::ptrdiff_t>(skip), events_.end()};
}

ConditionNews Conditions::news(std::uint64_t from) const {
    const std::lock_guard lock(mutex_);
    const std::uint64_t first = std::max(from, forgotten_), next = forgotten_ + events_.size();
    const auto skip = static_cast<std::ptrdiff_t>(std::min(first, next) - forgotten_);
    return {
        .events = {events_.begin() + skip, events_.end()}, .next = next, .missed = first - from};
}

}  // namespace cw
