#include "egress/upload/upload_trouble.h"

#include <algorithm>

namespace cw::upload {
namespace {

const std::string subject = "upload";

}  // namespace

void UploadTrouble::failed(const SegmentWork& work, const Error& error) {
    const auto before = held_up_.find(&work);
    if (before != held_up_.end() && before->second != error.code) {
        over(work);
    }
    held_up_.insert_or_assign(&work, error.code);
    conditions_.raise(error.code, subject, error.detail);
}

void UploadTrouble::over(const SegmentWork& work) {
    const auto found = held_up_.find(&work);
    if (found == held_up_.end()) {
        return;
    }
    const Errc code = found->second;
    held_up_.erase(found);
    if (std::ranges::none_of(held_up_,
                             [code](const auto& other) { return other.second == code; })) {
        conditions_.clear(code, subject);
    }
}

}  // namespace cw::upload
