// What a person is told of segments that cannot be built or stored: the condition of each one's
// last error, about "upload". It is cleared when no segment is left that it holds up.
//
// Thread-safety: none; it belongs to the assembly stage.
#pragma once

#include "base/conditions.h"
#include "egress/upload/segment_work.h"

#include <map>

namespace cw::upload {

class UploadTrouble {
public:
    // `conditions` outlives it.
    explicit UploadTrouble(Conditions& conditions) : conditions_(conditions) {}
    void failed(const SegmentWork& work, const Error& error);
    // It is stored, or not wanted any more. Nothing, if it had not failed.
    void over(const SegmentWork& work);

private:
    Conditions& conditions_;
    std::map<const SegmentWork*, Errc> held_up_;
};

}  // namespace cw::upload
