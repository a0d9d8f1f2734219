// AlignedBuffer: block-aligned heap memory for O_DIRECT of what is not payload in slabs: header
// blocks, checkpoints, scan windows, records on the move.
#pragma once

#include "base/bytes.h"
#include "base/ids.h"

#include <cstdlib>
#include <cstring>
#include <memory>

namespace cw::cache {

class AlignedBuffer {
public:
    AlignedBuffer() = default;
    // Zeroed; rounded up to whole blocks.
    explicit AlignedBuffer(std::size_t bytes) : AlignedBuffer(bytes, Unfilled{}) {
        std::memset(data_.get(), 0, size_);
    }
    // For what is read into before anybody looks.
    struct Unfilled {};
    AlignedBuffer(std::size_t bytes, Unfilled) : size_(align_up(bytes, block_bytes)) {
        data_.reset(static_cast<std::byte*>(std::aligned_alloc(block_bytes, size_)));
        CW_ASSERT(data_ != nullptr);
    }
    [[nodiscard]] MutableBytes bytes() const noexcept { return {data_.get(), size_}; }
    [[nodiscard]] std::byte* data() const noexcept { return data_.get(); }
    [[nodiscard]] std::size_t size() const noexcept { return size_; }

private:
    struct Free {
        void operator()(std::byte* p) const noexcept { std::free(p); }
    };
    std::unique_ptr<std::byte, Free> data_;
    std::size_t size_ = 0;
};

}  // namespace cw::cache
