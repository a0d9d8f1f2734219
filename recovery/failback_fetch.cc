#include "recovery/failback_fetch.h"

#include "base/assert.h"

#include <algorithm>

namespace cw::recovery {
namespace {

constexpr std::uint64_t buffered_bytes_max = 64 * mib;
constexpr std::size_t windows_max = 256;
// 256 GiB of disk at a time: at most 68 MiB of fingerprints.
constexpr std::uint64_t blocks_at_once = 4 * 1024 * 1024;

std::size_t threads_of(const ReaderOptions& options) {
    return std::max<std::size_t>(options.download_threads, 1);
}

}  // namespace

FailbackFetch::FailbackFetch(blob::BlobStore& store, const Catalog& catalog,
                             const DiskAtPoint& disk, const ReaderOptions& options,
                             std::function<bool()> cancelled)
    : catalog_(catalog),
      store_(store),
      disk_(disk),
      options_(options),
      cancelled_(std::move(cancelled)),
      index_fetcher_(store, threads_of(options)) {}

Result<std::optional<Fingerprint>> FailbackFetch::digest(std::uint64_t block) {
    if (!digests_ || block >= digests_->range().end()) {
        const std::uint64_t all = (disk_.size_bytes + digest_block_bytes - 1) / digest_block_bytes;
        CW_ASSERT(block < all);
        digests_.reset();  // Its memory first.
        CW_TRY_ASSIGN(digests_, BlockDigests::read(index_fetcher_, catalog_, disk_,
                                                   {block, std::min(blocks_at_once, all - block)},
                                                   {2 * threads_of(options_), cancelled_}));
    }
    return digests_->at(block);
}

bool FailbackFetch::has_room() const noexcept {
    return buffered_ < buffered_bytes_max && windows_.size() < windows_max;
}

Result<void> FailbackFetch::start(FailbackBlocks blocks) {
    if (!reader_) {
        CW_TRY_ASSIGN(reader_, ImageReader::open(store_, catalog_, disk_, options_));
        map_bytes_ = reader_->fetcher().bytes_fetched();
    }
    Window& window = windows_.emplace_back();  // A deque: others stay where they are.
    window.blocks = std::move(blocks);
    window.blocks.content.resize(window.blocks.bytes());
    buffered_ += window.blocks.bytes();
    const auto& items = window.blocks.items();
    const std::uint64_t offset = std::uint64_t{window.blocks.ordinal} * pipeline::super_chunk_bytes;
    std::vector<ImageReader::Wanted> wanted;
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
    reader_->start(wanted, [&window](Result<void> done) { window.done = std::move(done); });
    return {};
}

Result<FailbackBlocks*> FailbackFetch::poll(bool wait) {
    if (windows_.empty()) {
        return nullptr;
    }
    reader_->poll();
    Window& front = windows_.front();
    if (!front.done) {
        if (wait) {
            reader_->wait(fetch_wait_slice_ns);
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
    return index_fetcher_.bytes_fetched() + map_bytes_;
}

std::uint64_t FailbackFetch::chunk_bytes() const noexcept {
    return reader_ ? reader_->fetcher().bytes_fetched() - map_bytes_ : 0;
}

}  // namespace cw::recovery
