#include "egress/blob/retry_trouble.h"

#include "base/assert.h"

namespace cw::blob {
namespace {

const std::string subject = "store";

}  // namespace

void RetryTrouble::begin(const Error& error) {
    const std::lock_guard guard(mutex_);
    ++operations_;
    raise(error);
}

void RetryTrouble::again(const Error& error) {
    const std::lock_guard guard(mutex_);
    raise(error);
}

void RetryTrouble::end() {
    const std::lock_guard guard(mutex_);
    CW_ASSERT(operations_ > 0);
    if (--operations_ > 0) {
        return;
    }
    for (const Errc code : raised_) {
        conditions_->clear(code, subject);
    }
    raised_.clear();
}

void RetryTrouble::raise(const Error& error) {
    if (conditions_ != nullptr) {
        conditions_->raise(error.code, subject, error.detail);
        raised_.insert(error.code);
    }
}

}  // namespace cw::blob
