// PointTracker: what became of the newest recovery points this agent made. Bounded.
// Thread-safety: none; the agent's loop.
#pragma once

#include "base/clock.h"
#include "ingest/wire/messages.h"
#include "pipeline/point.h"

#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace cw::agent {

enum class PointPhase : std::uint8_t { queued, durable, committed, dropped };
std::string_view name_of(PointPhase phase) noexcept;

struct TrackedPoint {
    PointId id;
    pipeline::PointKind kind{};
    std::string tag;
    WallMicros source_time{};
    std::vector<pipeline::DiskCut> cuts;
    PointPhase phase = PointPhase::queued;
    std::uint64_t manifest = 0;
    std::string reason;
    std::string server = {};  // That it was sent to last; empty: none yet.
};

class PointTracker {
public:
    static constexpr std::size_t kept_max = 256;

    void made(TrackedPoint point);
    void sent(const PointId& id, std::string server);
    void settled(const PointId& id, pipeline::PointKind kind);
    // Those that no answer is to be expected of any more are dropped: `hopeless` says so of a point
    // that is queued or durable.
    void drop_if(const std::function<bool(const TrackedPoint&)>& hopeless,
                 const std::string& reason);
    // False: not one of ours, or forgotten.
    bool answered(const wire::PointStatus& status);
    [[nodiscard]] const TrackedPoint* find(const PointId& id) const;
    [[nodiscard]] const TrackedPoint* newest() const {
        return points_.empty() ? nullptr : &points_.back();
    }
    // Source time of the newest point known to be in the vault.
    [[nodiscard]] std::optional<WallMicros> newest_committed() const noexcept { return committed_; }
    [[nodiscard]] const std::deque<TrackedPoint>& all() const noexcept { return points_; }

private:
    void drop_passed_over(std::deque<TrackedPoint>::iterator answered);

    std::deque<TrackedPoint> points_;
    std::optional<WallMicros> committed_;
};

}  // namespace cw::agent
