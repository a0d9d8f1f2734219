#include "recovery/vault_points.h"

#include "base/assert.h"
#include "recovery/block_digests.h"
#include "recovery/image_reader.h"

#include <algorithm>

namespace cw::recovery {
namespace {

constexpr std::uint64_t window_bytes = 16 * mib;  // Of the maps that are compared at a time.
// 256 GiB of disk at a time: at most 68 MiB of fingerprints.
constexpr std::uint64_t blocks_at_once = 4 * 1024 * 1024;

using Piece = LayerMap::Piece;

std::size_t threads_of(const ReaderOptions& options) {
    return std::max<std::size_t>(options.download_threads, 1);
}

class IndexDigests final : public PointDigests {
public:
    IndexDigests(blob::BlobStore& store, const Catalog& catalog, DiskAtPoint disk,
                 std::size_t threads, std::function<bool()> cancelled)
        : catalog_(catalog),
          disk_(std::move(disk)),
          options_{2 * threads, std::move(cancelled)},
          fetcher_(store, threads) {}

    Result<std::optional<Fingerprint>> at(std::uint64_t block) override {
        if (!digests_ || block >= digests_->range().end()) {
            const std::uint64_t all =
                (disk_.size_bytes + digest_block_bytes - 1) / digest_block_bytes;
            CW_ASSERT(block < all);
            digests_.reset();  // Its memory first.
            CW_TRY_ASSIGN(digests_, BlockDigests::read(
                                        fetcher_, catalog_, disk_,
                                        {block, std::min(blocks_at_once, all - block)}, options_));
        }
        return digests_->at(block);
    }
    [[nodiscard]] std::uint64_t fetched_bytes() const noexcept override {
        return fetcher_.bytes_fetched();
    }

private:
    const Catalog& catalog_;
    const DiskAtPoint disk_;
    const WalkOptions options_;
    std::optional<BlockDigests> digests_;
    Fetcher fetcher_;
};

bool shows_same(const ImageReader& from, const Piece& before, const ImageReader& to,
                const Piece& after) {
    const bool zero = after.chunk == LayerMap::zero_chunk;
    if (zero || before.chunk == LayerMap::zero_chunk) {
        return zero && before.chunk == LayerMap::zero_chunk;
    }
    const MappedChunk &old = from.map().chunk(before.chunk), &now = to.map().chunk(after.chunk);
    return old.ordinal == now.ordinal &&
           from.segment(old.segment).name == to.segment(now.segment).name;
}

// In whole sectors; what meets the last range is joined with it.
void add(std::vector<ByteRange>& ranges, std::uint64_t begin, std::uint64_t end) {
    begin -= begin % sector_bytes;
    end += (sector_bytes - end % sector_bytes) % sector_bytes;
    if (ranges.empty() || begin > ranges.back().offset + ranges.back().length) {
        ranges.push_back({begin, end - begin});
        return;
    }
    ByteRange& last = ranges.back();
    last.length = std::max(end, last.offset + last.length) - last.offset;
}

std::vector<ByteRange> differing(const ImageReader& from, const ImageReader& to) {
    std::vector<ByteRange> out;
    for (std::uint64_t at = 0; at < to.size_bytes(); at += window_bytes) {
        const std::uint64_t length = std::min(window_bytes, to.size_bytes() - at);
        const auto before = from.map().pieces(at, length), after = to.map().pieces(at, length);
        auto old = before.begin();
        auto now = after.begin();
        for (std::uint64_t begin = at; begin < at + length;) {
            const std::uint64_t old_end = old->offset + old->length;
            const std::uint64_t now_end = now->offset + now->length;
            const std::uint64_t end = std::min(old_end, now_end);
            if (!shows_same(from, *old, to, *now)) {
                add(out, begin, end);
            }
            old += end == old_end ? 1 : 0;
            now += end == now_end ? 1 : 0;
            begin = end;
        }
    }
    return out;
}

}  // namespace

Result<std::unique_ptr<Image>> VaultPoints::open(const PointDisk& at,
                                                 const ReaderOptions& options) const {
    return ImageReader::open(store_, catalog_, at.disk, options);
}

Result<std::unique_ptr<PointDigests>> VaultPoints::digests(
    const PointDisk& at, const ReaderOptions& options,
    const std::function<bool()>& cancelled) const {
    return std::make_unique<IndexDigests>(store_, catalog_, at.disk, threads_of(options),
                                          cancelled);
}

Result<PointSource::Changes> VaultPoints::changes(const PointDisk& from, const PointDisk& to,
                                                  const ReaderOptions& options) const {
    CW_TRY_ASSIGN(const auto old, ImageReader::open(store_, catalog_, from.disk, options));
    CW_TRY_ASSIGN(auto reader, ImageReader::open(store_, catalog_, to.disk, options));
    Changes out;
    out.ranges = differing(*old, *reader);
    out.index_bytes = old->fetched_bytes() + reader->fetched_bytes();
    out.image = std::move(reader);
    return out;
}

}  // namespace cw::recovery
