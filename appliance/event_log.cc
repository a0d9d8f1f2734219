#include "appliance/event_log.h"

#include "appliance/event_line.h"
#include "base/assert.h"
#include "base/full_disk.h"
#include "base/log.h"

#include <algorithm>
#include <map>
#include <utility>

namespace cw::appliance {
namespace {

const std::string subject = "events";
// What waits for a disk that fails: the oldest is given up first.
constexpr std::size_t unwritten_max = 1 * mib;
constexpr std::int64_t damage_shown_ns = 60 * ns_per_s;

}  // namespace

EventLog::EventLog(Conditions& conditions, Clock& clock, std::unique_ptr<Disk> disk,
                   std::string path)
    : conditions_(conditions),
      clock_(clock),
      disk_(std::move(disk)),
      path_(std::move(path)),
      writing_(conditions, subject) {}

void EventLog::open() {
    const std::lock_guard lock(mutex_);
    CW_ASSERT(kept_.empty() && !file_);
    load(path_ + ".1");
    load(path_);
    end_what_stood();
    if (!damage_.empty()) {
        conditions_.raise(Errc::record_corrupt, subject, damage_);
        damage_told_ = clock_.boot();
    }
}

EventLog::Content EventLog::parse(std::string_view text) {
    Content out;
    std::size_t doubtful = 0;  // Lines since the last good one: torn, if no good one follows.
    while (!text.empty()) {
        const std::size_t end = text.find('\n');
        const std::string_view line = text.substr(0, end);
        text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
        auto event = parse_event_line(line);
        const bool known = event || event.error().code == Errc::format_unsupported;
        if (end == std::string_view::npos || !known) {
            ++doubtful;
            continue;
        }
        out.damaged += std::exchange(doubtful, 0);
        out.text.append(line).push_back('\n');
        if (event) {
            out.events.push_back(std::move(*event));
        }
    }
    return out;
}

void EventLog::load(const std::string& path) {
    size_ = 0;
    const auto bytes = read_file(*disk_, path, 2 * file_bytes_max);
    if (!bytes) {
        if (bytes.error().code != Errc::not_found) {
            tell_damage(bytes.error().detail + "; it is " + path + ".damaged now");
            if (const auto moved = disk_->rename(path, path + ".damaged"); !moved) {
                log_warning("events.not_set_aside", {{"error", moved.error()}});
            }
        }
        return;
    }
    Content content = parse(as_text(*bytes));
    if (content.damaged > 0) {
        tell_damage(std::to_string(content.damaged) + " lines of " + path +
                    " are damaged; the others are kept");
    }
    std::size_t good = content.text.size();  // Of path_ what comes behind is cut off.
    if (content.damaged > 0) {
        const auto mended = write_file_atomically(*disk_, path, as_bytes(content.text));
        writing_.show(mended);
        good = mended ? good : as_text(*bytes).rfind('\n') + 1;
    }
    size_ = good;
    for (ConditionEvent& event : content.events) {
        keep(std::move(event));
    }
}

void EventLog::tell_damage(std::string detail) {
    damage_ += (damage_.empty() ? "" : "; ") + std::move(detail);
}

void EventLog::end_what_stood() {
    std::map<std::pair<Errc, std::string>, ConditionEvent> standing;
    for (const ConditionEvent& event : kept_) {
        const auto key = std::pair(event.condition.code, event.condition.subject);
        if (event.raised) {
            standing.insert_or_assign(key, event);
        } else {
            standing.erase(key);
        }
    }
    for (auto& [key, event] : standing) {
        event.raised = false;
        event.at = clock_.wall();
        event.condition.detail = "the server ended; what still is wrong is told again";
        unwritten_ += event_line(event);
        keep(std::move(event));
    }
}

void EventLog::keep(ConditionEvent event) {
    kept_.push_back(std::move(event));
    if (kept_.size() > kept_max) {
        kept_.pop_front();
    }
}

void EventLog::collect() {
    ConditionNews news = conditions_.news(next_);
    next_ = news.next;
    if (news.missed > 0) {
        log_warning("events.missed", {{"count", news.missed}});
    }
    for (ConditionEvent& event : news.events) {
        unwritten_ += event_line(event);
        keep(std::move(event));
    }
    if (unwritten_.size() > unwritten_max) {
        const std::size_t line = unwritten_.find('\n', unwritten_.size() - unwritten_max);
        log_warning("events.given_up", {{"bytes", line + 1}});
        unwritten_.erase(0, line + 1);
    }
}

void EventLog::tick() {
    const std::lock_guard lock(mutex_);
    collect();
    if (!unwritten_.empty()) {
        writing_.show(append());
    }
    if (damage_told_ && clock_.boot() - *damage_told_ >= damage_shown_ns) {
        damage_told_.reset();
        conditions_.clear(Errc::record_corrupt, subject);
    }
}

Result<void> EventLog::append() {
    if (file_ && size_ > 0 && size_ + unwritten_.size() > file_bytes_max) {
        file_.reset();
        CW_TRY(disk_->rename(path_, path_ + ".1"));
        size_ = 0;
    }
    if (!file_) {
        CW_TRY(open_file());
    }
    if (auto written = write_at(*disk_, *file_, size_, as_bytes(unwritten_), true); !written) {
        file_.reset();  // A part of it may be there: open_file() cuts it off.
        return name_full_file(std::move(written), path_);
    }
    size_ += unwritten_.size();
    unwritten_.clear();
    return {};
}

// As long as its good lines are: what was written in part is written again as a whole.
Result<void> EventLog::open_file() {
    CW_TRY_ASSIGN(auto file,
                  name_full_file(disk_->open(path_, {.write = true, .create = true}), path_));
    CW_TRY(disk_->sync_directory(parent_of(path_)));
    CW_TRY(disk_->resize(*file, size_, false));
    file_ = std::move(file);
    return {};
}

std::vector<ConditionEvent> EventLog::events(WallMicros since, std::size_t max) {
    const std::lock_guard lock(mutex_);
    collect();
    const std::int64_t oldest = std::max(raw(since), raw(clock_.wall()) - kept_us);
    std::vector<ConditionEvent> out;
    for (auto event = kept_.rbegin(); event != kept_.rend() && out.size() < max; ++event) {
        if (raw(event->at) >= oldest) {
            out.push_back(*event);
        }
    }
    std::ranges::reverse(out);
    return out;
}

}  // namespace cw::appliance
