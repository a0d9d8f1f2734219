// What HELLO is answered with for a disk that has a target.
#pragma once

#include "egress/upload/ports.h"
#include "egress/volume/volume_state.h"
#include "pipeline/messages.h"

#include <optional>
#include <string>
#include <vector>

namespace cw::appliance {

// What a collecting target holds.
struct TargetKnowledge {
    std::uint64_t size_bytes = 0;
    Generation generation{};                        // 0: nothing was taken yet.
    Seq committed{};                                // Of the held point, in that generation.
    const std::optional<volume::HeldPoint>& point;  // Of any generation.
    bool damaged = false;
};

// A target always holds something to compare with: instead of an initial copy it asks for a resync.
pipeline::DiskWelcome welcome_target(const pipeline::DiskHello& hello,
                                     const std::vector<upload::StreamWatermark>& streams,
                                     const TargetKnowledge& target);
// The disk is refused; `reason` is for people.
pipeline::DiskWelcome reject_disk(const pipeline::DiskHello& hello, std::string reason);

}  // namespace cw::appliance
