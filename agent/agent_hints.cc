// Hints for the scans of an agent, where it was started with --hints auto.
#include "agent/agent.h"
#include "agent/hints/block_hints.h"
#include "base/log.h"

namespace cw::agent {

void Agent::open_hints(std::vector<ScanSource::Disk>& disks) {
    for (ScanSource::Disk& disk : disks) {
        auto opened = BlockHints::open(disk.path);
        if (opened) {
            log_info("agent.hints.on",
                     {{"disk", disk.path}, {"region_bytes", (*opened)->region_bytes()}});
        } else {
            log_warning("agent.hints.off", {{"disk", disk.path}, {"error", opened.error()}});
        }
        disk.hints =
            std::make_unique<ScanHints>(std::move(opened), options_.full_scan_every_ns, clock_);
    }
}

}  // namespace cw::agent
