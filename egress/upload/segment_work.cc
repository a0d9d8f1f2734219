#include "egress/upload/segment_work.h"

#include "pipeline/extent_table.h"

namespace cw::upload {

std::uint32_t HeldRecord::extents_max() const noexcept {
    if (table_bytes <= pipeline::extent_table_head_bytes) {
        return 0;
    }
    const std::size_t room = table_bytes - pipeline::extent_table_head_bytes;
    return static_cast<std::uint32_t>(room / pipeline::extent_entry_bytes);
}

void SegmentWork::drop_payload() noexcept {
    payload = std::vector<pipeline::Record>();
    dropped = true;
    read_back = false;
}

void SegmentWork::drop_object() noexcept {
    body = {};
    tail = {};
}

}  // namespace cw::upload
