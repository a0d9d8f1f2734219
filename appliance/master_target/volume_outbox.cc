#include "appliance/master_target/volume_outbox.h"

#include "base/log.h"

#include <algorithm>

namespace cw::appliance {
namespace {

using pipeline::PointStatus;

constexpr std::size_t committed_max = 256;

bool names(const std::vector<PointStatus>& points, const PointStatus& one) {
    return std::ranges::find(points, one.id, &PointStatus::id) != points.end();
}

void keep_newest(auto& points) {
    if (points.size() > VolumeOutbox::points_told_max) {
        points.erase(points.begin(), points.end() - VolumeOutbox::points_told_max);
    }
}

}  // namespace

void VolumeOutbox::welcome(pipeline::MachineOpened opened) {
    reactors_.insert_or_assign(opened.machine, opened.reactor);
    const auto told = told_.find(opened.machine);
    if (told != told_.end()) {
        std::deque<PointStatus> more = told->second;
        std::erase_if(more,
                      [&](const PointStatus& status) { return names(opened.points, status); });
        opened.points.insert(opened.points.end(), more.begin(), more.end());
    }
    keep_newest(opened.points);
    opened_.push_back(std::move(opened));
}

void VolumeOutbox::committed(pipeline::Committed committed) {
    std::deque<PointStatus>& told = told_[committed.machine];
    std::erase_if(told, [&](const PointStatus& old) { return names(committed.points, old); });
    told.insert(told.end(), committed.points.begin(), committed.points.end());
    keep_newest(told);
    const auto reactor = reactors_.find(committed.machine);
    if (reactor != reactors_.end()) {
        committed_.push_back({reactor->second, std::move(committed)});
    }
}

void VolumeOutbox::end_session(const TargetDisk& target, const std::string& why) {
    log_info("target.session_ended", {{"path", target.options().path}, {"why", why}});
    ended_.push_back({.key = {.machine = target.options().machine, .disk = {}, .generation = {}},
                      .first = {},
                      .last = {},
                      .evidence = why});
}

void VolumeOutbox::release(const std::vector<pipeline::Lsn>& lsns) {
    release_.lsns.insert(release_.lsns.end(), lsns.begin(), lsns.end());
}

bool VolumeOutbox::full() const noexcept {
    return committed_.size() >= committed_max;
}

bool VolumeOutbox::flush() {
    bool worked = false;
    const auto offer = [&](auto& queue, auto&& push) {
        while (!queue.empty() && push(queue.front())) {
            queue.pop_front();
            worked = true;
        }
    };
    offer(opened_, [&](auto& opened) { return sink_.opened(opened); });
    offer(committed_, [&](Outgoing& out) { return sink_.committed(out.reactor, out.committed); });
    offer(ended_, [&](auto& ended) { return sink_.damaged(ended); });
    if (!release_.lsns.empty() && sink_.release(release_)) {
        release_ = {};
        worked = true;
    }
    return worked;
}

}  // namespace cw::appliance
