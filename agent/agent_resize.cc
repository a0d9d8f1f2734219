// Disks that change their size while they are protected. What was logged of the old size stays what
// it is; the agent opens its disks anew, names the new size in HELLO, and the disk is compared
// under a new history: where in the order of writes it was resized nobody can say.
#include "agent/agent.h"
#include "base/log.h"

#include <algorithm>

namespace cw::agent {
namespace {

constexpr std::int64_t size_look_ns = ns_per_s;

}  // namespace

// Nobody tells us that an image beneath the front end was resized, and NBD has no word for it: the
// clients are let go, and told the new size when they connect again. Scans look by themselves.
void Agent::tend_sizes() {
    const Nanos now = clock_.boot();
    if (!nbd_ || qemu_ || stop_asked_.load() != 0 || now - look_at_sizes_ < 0) {
        return;
    }
    look_at_sizes_ = now + size_look_ns;
    sizes_seen_.resize(images_.size());
    for (std::size_t slot = 0; slot < images_.size(); ++slot) {
        const BlockImage& image = *images_[slot];
        const std::uint64_t beneath = image.size_beneath();
        // Seen twice: what is made larger step by step is compared once.
        const bool settled = std::exchange(sizes_seen_[slot], beneath) == beneath;
        if (settled && was_resized(image)) {
            log_warning("agent.disk.resized", {{"disk", options_.disks[slot].name},
                                               {"from_bytes", image.size()},
                                               {"to_bytes", beneath}});
            wants_restart_ = true;
        }
    }
}

// An operator's order. QEMU resizes no disk that is captured, so that is left and begun again.
Result<void> Agent::resize(const std::string& disk, std::uint64_t bytes, bool shrink) {
    if (!qemu_) {
        return fail(Errc::usage,
                    "resize is for a machine protected with --qmp; other disks are "
                    "resized where they are, and the agent sees it");
    }
    const auto found = std::ranges::find(options_.disks, disk, &AgentOptions::Disk::name);
    if (found == options_.disks.end()) {
        return fail(Errc::not_found, "no disk '" + disk + "' is protected");
    }
    const auto slot = static_cast<std::size_t>(found - options_.disks.begin());
    const std::uint64_t before = images_[slot]->size();
    if (bytes == 0 || bytes % sector_bytes != 0 || bytes > wire::disk_bytes_max) {
        return fail(Errc::usage, "a disk's size is a multiple of 512 bytes, at most 64 TiB");
    }
    if (bytes < before && !shrink) {
        return fail(Errc::target_unsafe, "the disk has " + std::to_string(before) +
                                             " bytes: what lies beyond the new end would be lost; "
                                             "--shrink if that is what you want");
    }
    if (stop_asked_.load() != 0 || wants_restart_) {
        return fail(Errc::not_ready, "the agent is leaving the machine");
    }
    if (scan_) {
        scan_->stop();  // An epoch's view stands on the disk.
    }
    log_warning("agent.disk.resized",
                {{"disk", disk}, {"from_bytes", before}, {"to_bytes", bytes}});
    return qemu_->resize(slot, bytes);  // tend_machine() sees that it is detached.
}

}  // namespace cw::agent
