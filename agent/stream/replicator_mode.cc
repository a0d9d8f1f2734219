// How the server is told what cannot be sent.
#include "agent/stream/replicator.h"

#include <algorithm>

namespace cw::agent {
namespace {

// Of all disks together: EXTENTS are told while the line is short of room.
constexpr std::size_t ranges_told_max = 1024;
constexpr std::size_t ranges_told_min = 16;  // Of each.

}  // namespace

wire::Mode Replicator::sum_mode() {
    ModeReport::Sum sum(context_.outbox.payload_bytes());
    for (Disk& disk : disks_) {
        sum.add(disk.capture->position());
    }
    return std::move(sum).done();
}

void Replicator::tend_mode() {
    if (!mode_.begun()) {
        return;  // Nothing has been synchronised: that is no degrading.
    }
    if (mode_.update(sum_mode())) {
        drop_vanished_points();
    }
    if (link_state_ != LinkState::live) {
        return;
    }
    if (context_.clock.boot() - mode_.due() >= 0) {
        tell_mode();
    }
    wake_at(mode_.due());
}

void Replicator::tell_mode() {
    mode_.told(context_.clock.boot());
    // A lost connection shows at the next flush.
    (void)session_->send(wire::FrameType::mode, wire::machine_slot, Seq{},
                         wire::encode(mode_.now()));
    const std::size_t most = std::max(ranges_told_min, ranges_told_max / disks_.size());
    for (Disk& disk : disks_) {
        wire::Extents extents;
        for (const auto& range : RangeSet::covering(disk.capture->missed_ranges(), most)) {
            extents.ranges.push_back({range.offset, range.length});
        }
        if (!extents.ranges.empty()) {
            (void)session_->send(wire::FrameType::extents, disk.capture->slot(), Seq{},
                                 wire::encode(extents));
        }
    }
}

}  // namespace cw::agent
