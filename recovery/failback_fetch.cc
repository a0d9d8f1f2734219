#include "recovery/failback_fetch.h"

#include "base/assert.h"
#include "recovery/block_digests.h"

#include <algorithm>

namespace cw::recovery {
namespace {

constexpr std::uint64_t buffered_bytes_max = 64 * mib;
constexpr std::size_t windows_max = 256;

}  // namespace

FailbackFetch::FailbackFetch(const PointSource& source, PointDisk at, const ReaderOptions& options,
                             std::function<bool()> cancelled)
    : source_(source), at_(std::move(at)), options_(options), cancelled_(std::move(cancelled)) {}

Result<std::optional<Fingerprint>> FailbackFetch::digest(std::uint64_t block) {
    if (!digests_) {
        CW_TRY_ASSIGN(digests_, source_.digests(at_, options_, cancelled_));
    }
    return digests_->at(block);
}

bool FailbackFetch::has_room() const noexcept {
    return buffered_ < buffered_bytes_max && windows_.size() < windows_max;
}

Result<void> FailbackFetch::start(FailbackBlocks blocks) {
    if (!image_) {
        CW_TRY_ASSIGN(image_, source_.open(at_, options_));
        map_bytes_ = image_->fetched_bytes();
    }
    Window& window = windows_.emplace_back();  // A deque: others stay where they are.
    window.blocks = std::move(blocks);
    window.blocks.content.resize(window.blocks.bytes());
    buffered_ += window.blocks.bytes();
    const auto& items = window.blocks.items();
    const std::uint64_t offset = std::uint64_t{window.blocks.ordinal} * pipeline::super_chunk_bytes;
    std::vector<Image::Wanted> wanted;
    for (std::size_t first = 0; first < items.size();) {
        std::size_t end = first + 1;
        std::uint64_t length = items[first].length;
        for (; end < items.size() && items[end].index == items[end - 1].index + 1; ++end) {
            length += items[end].length;
        }
        wanted.push_back({offset + items[first].index * digest_block_bytes,
                          MutableBytes(window.blocks.content).subspan(items[first].at, length)});
        first = end;
    }
    image_->read_later(wanted, [&window](Result<void> done) { window.done = std::move(done); });
    return {};
}

Result<FailbackBlocks*> FailbackFetch::poll(bool wait) {
    if (windows_.empty()) {
        return nullptr;
    }
    image_->poll();
    Window& front = windows_.front();
    if (!front.done) {
        if (wait) {
            image_->wait(image_wait_slice_ns);
        }
        return nullptr;
    }
    CW_TRY(*front.done);
    arrived_ = std::move(front.blocks);
    buffered_ -= arrived_.bytes();
    windows_.pop_front();
    return &arrived_;
}

std::uint64_t FailbackFetch::index_bytes() const noexcept {
    return (digests_ ? digests_->fetched_bytes() : 0) + map_bytes_;
}

std::uint64_t FailbackFetch::chunk_bytes() const noexcept {
    return image_ ? image_->fetched_bytes() - map_bytes_ : 0;
}

}  // namespace cw::recovery
