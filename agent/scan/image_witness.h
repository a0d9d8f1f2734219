// Whether others wrote to an image file after the agent was killed. A clean stop leaves the image's
// fingerprint in the state file; a kill leaves nothing, so each write notes what the file looks
// like after it in a page shared with the kernel, which outlives the process (not the machine: a
// reboot ends the history anyway).
//
// A device cannot tell: what a killed agent wrote reaches it later, as somebody else's would.
#pragma once

#include "agent/scan/block_image.h"
#include "base/clock.h"

namespace cw::agent {

// `image` such that each write is noted at `path`; a device comes back as it is. `clock` outlives
// it. Writes are ordered by the caller, as DiskCapture does. Errors: io_error.
Result<std::unique_ptr<BlockImage>> witness_writes(std::unique_ptr<BlockImage> image,
                                                   const std::string& path, Clock& clock);

// The image is as the agent left it that noted its writes at `path`, at most with the write that it
// was killed in. False if that cannot be shown. A device is believed.
bool left_by_agent(const BlockImage& image, const std::string& path);

}  // namespace cw::agent
