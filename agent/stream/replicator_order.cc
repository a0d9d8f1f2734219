// The rule of the half: a disk of which so much changed while nothing could be logged is not read
// at once, in the middle of a working day. The server is told, and orders a resync when its window
// opens or a person wants it; until then the dirty map goes on.
#include "agent/stream/replicator.h"
#include "base/log.h"

namespace cw::agent {
namespace {

constexpr std::int64_t ask_every_ns = 5 * ns_per_s;

}  // namespace

bool Replicator::is_left_to_server(std::uint64_t missed, const Disk& disk) const noexcept {
    const std::uint64_t size = disk.capture->image().size();
    return (server_features_ & wire::feature_resync_orders) != 0 && missed >= size - size / 2;
}

// Never while a fence is open: what was begun is brought to its end.
Result<bool> Replicator::awaits_order(Disk& disk, const DiskCapture::Position& at) {
    if (at.logging || disk.capture->fence_open() || !is_left_to_server(at.missed_bytes, disk)) {
        disk.order_asked.reset();
        return false;
    }
    disk.phase = "resync required";
    const Nanos now = context_.clock.boot();
    if (disk.order_asked && now - *disk.order_asked < ask_every_ns) {
        wake_at(*disk.order_asked + ask_every_ns);
        return true;
    }
    disk.reason = "at least half of the disk changed while nothing could be sent: " +
                  std::to_string(at.missed_bytes) + " of " +
                  std::to_string(disk.capture->image().size()) + " bytes";
    if (!disk.order_asked) {
        log_warning("agent.resync.required", {{"disk", disk.name}, {"reason", disk.reason}});
    }
    disk.order_asked = now;
    wake_at(now + ask_every_ns);
    // Again and again: the server may have lost it.
    CW_TRY(session_->send(wire::FrameType::resync_required, disk.capture->slot(), Seq{},
                          wire::encode(wire::ResyncRequired{at.missed_bytes, disk.reason})));
    return true;
}

}  // namespace cw::agent
