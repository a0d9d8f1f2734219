#include "cache/checkpointer.h"

#include <algorithm>

namespace cw::cache {

Result<void> Checkpointer::start(Checkpoint checkpoint) {
    CW_ASSERT(!busy_);
    checkpoint.spool = superblock_.id;
    checkpoint.generation = ++generation_;
    const ByteVector bytes = encode_checkpoint(checkpoint, superblock_.slot_bytes());
    if (bytes.empty()) {
        return fail(Errc::out_of_budget, "the cache knows more disks than a checkpoint holds");
    }
    buffer_ = AlignedBuffer(bytes.size());
    std::copy(bytes.begin(), bytes.end(), buffer_.data());
    part_ = {buffer_.data(), buffer_.size()};
    request_ = {.op = DiskOp::write, .durable = true, .file = &file_};
    // The slot of the older one: the newer stays whole until this one is.
    request_.offset = superblock_.slot_offset(static_cast<unsigned>(generation_ % 2));
    request_.parts = &part_;
    request_.part_count = 1;
    request_.context = this;
    request_.done = [](DiskRequest& r) { static_cast<Checkpointer*>(r.context)->busy_ = false; };
    busy_ = true;
    disk_.start(request_);
    return {};
}

Result<void> Checkpointer::finish() {
    CW_ASSERT(!busy_);
    if (request_.result < 0) {
        return fail_errno(Errc::io_error, "write a checkpoint", static_cast<int>(-request_.result));
    }
    if (static_cast<std::size_t>(request_.result) != part_.iov_len) {
        return fail(Errc::io_error, "a checkpoint was cut short");
    }
    buffer_ = {};
    return {};
}

}  // namespace cw::cache
