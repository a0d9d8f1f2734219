#include "egress/upload/read_back.h"

#include "base/assert.h"
#include "base/checksum.h"
#include "base/log.h"

#include <algorithm>
#include <utility>

namespace cw::upload {

void ReadBack::start(Target target, blob::Done<Result<void>> done) {
    CW_ASSERT(!busy() && target.bytes > 0);
    target_ = std::move(target);
    done_ = std::move(done);
    at_ = crc64_ = 0;
    next_part();
}

void ReadBack::next_part() {
    store_.get({.name = target_.name,
                .offset = at_,
                .length = std::min(part_bytes, target_.bytes - at_),
                .if_match = target_.etag},
               [this](const Result<blob::GetResult>& part) { take(part); });
}

void ReadBack::take(const Result<blob::GetResult>& part) {
    if (!part) {
        const bool gone = part.error().code == Errc::blob_not_found;
        if (!gone) {
            log_info("upload.read_back.skipped",
                     {{"name", target_.name.name}, {"error", part.error()}});
        }
        return finish(
            gone ? fail(Errc::object_corrupt, target_.name.name + " was stored and is gone")
                 : Result<void>{});
    }
    crc64_ = crc64nvme(part->bytes, crc64_);
    at_ += part->bytes.size();
    if (part->properties.size != target_.bytes || part->bytes.empty() ||
        (at_ >= target_.bytes && crc64_ != target_.crc64)) {
        return finish(fail(Errc::object_corrupt,
                           target_.name.name + " was read back and is not what was stored"));
    }
    if (at_ < target_.bytes) {
        return next_part();
    }
    finish({});
}

void ReadBack::finish(Result<void> outcome) {
    std::exchange(done_, nullptr)(std::move(outcome));
}

}  // namespace cw::upload
