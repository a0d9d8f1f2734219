#include "egress/volume/point_history.h"

#include "base/assert.h"
#include "egress/volume/point_readers.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <optional>

namespace cw::volume {
namespace {

constexpr std::string_view undo_prefix = "undo.";

std::optional<std::uint64_t> number_in(std::string_view name) {
    if (!name.starts_with(undo_prefix)) {
        return std::nullopt;
    }
    name.remove_prefix(undo_prefix.size());
    std::uint64_t number = 0;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
    return error == std::errc() && end == name.data() + name.size() ? std::optional(number)
                                                                    : std::nullopt;
}

Result<void> remove_if_there(Disk& disk, const std::string& path) {
    CW_TRY_ASSIGN(const bool there, disk.exists(path));
    return there ? disk.remove(path) : Result<void>{};
}

}  // namespace

Result<PointHistory> PointHistory::open(Disk& disk, std::string directory,
                                        std::uint64_t log_number) {
    PointHistory history(disk, std::move(directory));
    CW_TRY_ASSIGN(const auto names, disk.list(history.directory_));
    std::map<std::uint64_t, bool> found;  // Number → part of the history.
    for (const std::string& name : names) {
        if (const auto number = number_in(name)) {
            found.emplace(*number, *number == log_number);
        }
    }
    for (std::uint64_t number = log_number; number-- > 0 && found.contains(number);) {
        CW_TRY_ASSIGN(const auto log, UndoLog::open(disk, history.path_of(number), number));
        if (!log) {
            break;
        }
        history.points_.push_back({number, log->point()});
        found[number] = true;
    }
    for (const auto& [number, wanted] : found) {
        if (!wanted) {
            CW_TRY(disk.remove(history.path_of(number)));
        }
    }
    return history;
}

void PointHistory::add(std::uint64_t number, const HeldPoint& before) {
    CW_ASSERT(points_.empty() || points_.front().number + 1 == number);
    points_.insert(points_.begin(), {number, before});
}

Result<void> PointHistory::trim(WallMicros oldest, const std::vector<PointId>& wanted) {
    auto keep = std::ranges::find_if(
        points_, [&](const KeptPoint& kept) { return kept.point.source_time < oldest; });
    for (auto kept = keep; kept != points_.end(); ++kept) {
        if (std::ranges::find(wanted, kept->point.id) != wanted.end()) {
            keep = kept + 1;
        }
    }
    return remove_from(static_cast<std::size_t>(keep - points_.begin()));
}

// The oldest first: a kill in between leaves no gap.
Result<void> PointHistory::remove_from(std::size_t index) {
    while (points_.size() > index) {
        CW_TRY(remove_if_there(*disk_, path_of(points_.back().number)));
        points_.pop_back();
    }
    return {};
}

Result<void> PointHistory::clear() {
    CW_TRY(remove_from(0));
    CW_TRY_ASSIGN(const auto names, disk_->list(directory_));
    for (const std::string& name : names) {
        if (number_in(name)) {
            CW_TRY(disk_->remove(directory_ + "/" + name));
        }
    }
    return {};
}

Result<void> clear_work_files(Disk& disk, const std::string& directory) {
    for (const char* name : {"/overlay.map", "/overlay", "/redo.log"}) {
        CW_TRY(remove_if_there(disk, directory + name));
    }
    CW_TRY_ASSIGN(const auto names, disk.list(directory));
    for (const std::string& name : names) {
        if (number_in(name)) {
            CW_TRY(disk.remove(directory + "/" + name));
        }
    }
    CW_TRY(turn_readers_away(disk, directory));
    return disk.sync_directory(directory);
}

Result<void> clear_work_directory(Disk& disk, const std::string& directory) {
    CW_TRY(remove_if_there(disk, directory + "/state"));
    CW_TRY(disk.sync_directory(directory));
    return clear_work_files(disk, directory);
}

}  // namespace cw::volume
