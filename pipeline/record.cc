#include "pipeline/record.h"

#include <cstdlib>
#include <cstring>

namespace cw::pipeline {

TableBuffer::TableBuffer(std::size_t bytes) : size_(bytes) {
    CW_ASSERT(bytes % block_bytes == 0 && bytes <= table_bytes_max);
    if (bytes == 0) {
        return;
    }
    data_.reset(static_cast<std::byte*>(std::aligned_alloc(block_bytes, bytes)));
    CW_ASSERT(data_ != nullptr);
    std::memset(data_.get(), 0, bytes);
}

void TableBuffer::Free::operator()(std::byte* p) const noexcept {
    std::free(p);
}

}  // namespace cw::pipeline
