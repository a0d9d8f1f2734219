#include "appliance/master_target/target_welcome.h"

#include "egress/upload/disk_decision.h"

#include <algorithm>

namespace cw::appliance {
namespace {

// The target as if it were the vault's disk: the decision is the same.
vault::DiskEntry entry_of(const pipeline::DiskHello& hello, const TargetKnowledge& target) {
    vault::DiskEntry entry;
    entry.disk = hello.disk;
    entry.size_bytes = target.size_bytes;
    entry.protected_ = true;
    entry.generation = target.generation;
    entry.committed = target.committed;
    if (target.point && target.point->generation != entry.generation) {
        entry.parent_generation = target.point->generation;
    }
    if (target.damaged && hello.generation != entry.generation) {
        // Nothing of the history that HELLO names is here: it cannot be caught up with.
        entry.generation = Generation{raw(std::max(hello.generation, entry.generation)) + 1};
        entry.committed = Seq{};
    }
    return entry;
}

}  // namespace

pipeline::DiskWelcome welcome_target(const pipeline::DiskHello& hello,
                                     const std::vector<upload::StreamWatermark>& streams,
                                     const TargetKnowledge& target) {
    upload::DiskKnowledge known;
    for (const upload::StreamWatermark& stream : streams) {
        if (stream.key.disk == hello.disk) {
            known.newest_cached = std::max(known.newest_cached, stream.key.generation);
            known.cached = stream.key.generation == hello.generation ? &stream : known.cached;
        }
    }
    const vault::DiskEntry entry = entry_of(hello, target);
    known.damaged_after = target.damaged ? std::optional(Seq{}) : std::nullopt;
    known.committed = raw(entry.generation) > 0 ? &entry : nullptr;
    pipeline::DiskWelcome welcome = upload::decide_disk(hello, known);
    if (welcome.action == pipeline::DiskAction::initial) {
        welcome.action = pipeline::DiskAction::resync;
    }
    return welcome;
}

pipeline::DiskWelcome reject_disk(const pipeline::DiskHello& hello, std::string reason) {
    pipeline::DiskWelcome welcome;
    welcome.disk = hello.disk;
    welcome.generation = hello.generation;
    welcome.reason = std::move(reason);
    return welcome;
}

}  // namespace cw::appliance
