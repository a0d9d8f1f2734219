#include "agent/stream/point_tracker.h"

#include <algorithm>
#include <utility>

namespace cw::agent {

std::string_view name_of(PointPhase phase) noexcept {
    switch (phase) {
        case PointPhase::queued:
            return "queued";
        case PointPhase::durable:
            return "durable";
        case PointPhase::committed:
            return "committed";
        case PointPhase::dropped:
            return "dropped";
    }
    return "?";
}

void PointTracker::made(TrackedPoint point) {
    points_.push_back(std::move(point));
    if (points_.size() > kept_max) {
        points_.pop_front();
    }
}

void PointTracker::sent(const PointId& id, std::string server) {
    const auto point = std::ranges::find(points_, id, &TrackedPoint::id);
    if (point != points_.end()) {
        point->server = std::move(server);
    }
}

void PointTracker::settled(const PointId& id, pipeline::PointKind kind) {
    const auto point = std::ranges::find(points_, id, &TrackedPoint::id);
    if (point != points_.end()) {
        point->kind = kind;
    }
}

void PointTracker::drop_if(const std::function<bool(const TrackedPoint&)>& hopeless,
                           const std::string& reason) {
    for (TrackedPoint& point : points_) {
        const bool open = point.phase == PointPhase::queued || point.phase == PointPhase::durable;
        if (open && hopeless(point)) {
            point.phase = PointPhase::dropped;
            point.reason = reason;
        }
    }
}

bool PointTracker::answered(const wire::PointStatus& status) {
    const auto point = std::ranges::find(points_, status.id, &TrackedPoint::id);
    if (point == points_.end()) {
        return false;
    }
    switch (status.state) {
        case wire::PointState::durable:
            point->phase = std::max(point->phase, PointPhase::durable);
            return true;
        case wire::PointState::committed:
        case wire::PointState::same_as:
            point->phase = PointPhase::committed;
            point->manifest = status.manifest_number;
            committed_ = std::max(committed_.value_or(point->source_time), point->source_time);
            drop_passed_over(point);
            return true;
        case wire::PointState::dropped:
            point->phase = PointPhase::dropped;
            point->reason = status.reason;
            drop_passed_over(point);
            return true;
    }
    return false;
}

// A server answers in the order of its log: of those before it has no record any more.
void PointTracker::drop_passed_over(std::deque<TrackedPoint>::iterator answered) {
    for (auto point = points_.begin(); point != answered; ++point) {
        if (point->phase == PointPhase::durable && point->server == answered->server) {
            point->phase = PointPhase::dropped;
            point->reason = "the server lost it: it has answered for a later one";
        }
    }
}

const TrackedPoint* PointTracker::find(const PointId& id) const {
    const auto point = std::ranges::find(points_, id, &TrackedPoint::id);
    return point == points_.end() ? nullptr : &*point;
}

}  // namespace cw::agent
