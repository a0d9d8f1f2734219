#include "ingest/frame_reader.h"

#include "base/assert.h"

#include <algorithm>

namespace cw::ingest {
namespace {

bool is_stored(wire::FrameType type) noexcept {
    using enum wire::FrameType;
    return type == write || type == base || type == point || type == point_result;
}

}  // namespace

MutableBytes FrameReader::target() {
    if (!header_) {
        return MutableBytes(header_bytes_).subspan(header_at_);
    }
    if (complete() || !provide_memory()) {
        return {};
    }
    if (!is_stored(header_->type)) {
        return MutableBytes(frame_.control).subspan(payload_at_);
    }
    if (payload_at_ < header_->table_bytes) {
        return frame_.record.table.bytes().subspan(payload_at_);
    }
    const std::uint32_t at = payload_at_ - header_->table_bytes;
    const std::size_t within = at % pipeline::slab_bytes;
    const std::size_t left =
        std::min<std::size_t>(header_->data_bytes() - at, pipeline::slab_bytes - within);
    return frame_.record.slabs[at / pipeline::slab_bytes].bytes().subspan(within, left);
}

Result<void> FrameReader::filled(std::size_t count) {
    if (header_) {
        CW_ASSERT(count <= header_->payload_bytes - payload_at_);
        payload_at_ += static_cast<std::uint32_t>(count);
        return {};
    }
    CW_ASSERT(count <= header_bytes_.size() - header_at_);
    header_at_ += count;
    if (header_at_ == header_bytes_.size()) {
        CW_TRY_ASSIGN(const wire::FrameHeader header, wire::decode_frame_header(header_bytes_));
        header_ = header;
    }
    return {};
}

InFrame FrameReader::take() {
    CW_ASSERT(complete());
    InFrame out = std::move(frame_);
    out.header = *header_;
    frame_ = InFrame{};
    header_.reset();
    header_at_ = 0;
    payload_at_ = 0;
    has_memory_ = false;
    return out;
}

// All of a frame's slabs at once, or none: readers that each hold a part of what they need would
// wait for one another for ever.
bool FrameReader::provide_memory() {
    if (has_memory_) {
        return true;
    }
    if (!is_stored(header_->type)) {
        frame_.control.resize(header_->payload_bytes);
        has_memory_ = true;
        return true;
    }
    pipeline::Record& record = frame_.record;
    record.header.table_bytes = header_->table_bytes;
    record.header.data_bytes = header_->data_bytes();
    for (std::size_t i = 0; i < record.slab_count(); ++i) {
        record.slabs[i] = pool_.try_take();
        if (!record.slabs[i]) {
            record.drop_data();
            return false;
        }
    }
    record.table = pipeline::TableBuffer(header_->table_bytes);
    has_memory_ = true;
    return true;
}

}  // namespace cw::ingest
