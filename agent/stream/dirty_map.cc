#include "agent/stream/dirty_map.h"

#include "agent/full_disk.h"
#include "agent/state_format.h"
#include "base/checksum.h"
#include "base/crash_point.h"

#include <set>

namespace cw::agent {
namespace {

// The file: one header block, then pages of 4,096 bytes: u32 CRC-32C of the rest, u32 page number,
// 511 words of 64 blocks.
constexpr std::uint32_t words_per_page = 511;
constexpr std::size_t intervals_max = 64;

std::uint32_t super_count(std::uint64_t size_bytes) {
    return static_cast<std::uint32_t>((size_bytes + super_bytes - 1) / super_bytes);
}
std::uint32_t page_count(std::uint64_t size_bytes) {
    return (super_count(size_bytes) + words_per_page - 1) / words_per_page;
}
std::uint64_t page_offset(std::uint32_t page) {
    return block_bytes * (std::uint64_t{page} + 1);
}

}  // namespace

Result<DirtyMap> DirtyMap::create(Disk& disk, Target target) {
    CW_ASSERT(target.size_bytes > 0);
    // A half-made map must not pass for the old one: the header comes last.
    CW_TRY_ASSIGN(const bool there, disk.exists(target.path));
    if (there) {
        CW_TRY(disk.remove(target.path));
    }
    CW_TRY_ASSIGN(auto file, disk.open(target.path, {.write = true, .create = true}));
    // Space is taken now: a full state disk must not stop the guest's writes later.
    CW_TRY(name_full_disk(disk.resize(*file, page_offset(page_count(target.size_bytes)), true),
                          target.path));
    CW_CRASH_POINT("agent.map.create.allocated");
    DirtyMap map(disk, std::move(target), std::move(file));
    CW_TRY(map.mark_all());
    for (std::uint32_t page = 0; page < page_count(map.target_.size_bytes); ++page) {
        CW_TRY(map.write_page(page));
    }
    CW_CRASH_POINT("agent.map.create.without_header");
    CW_TRY(map.write_header());
    CW_CRASH_POINT("agent.map.create.with_header");
    CW_TRY(map.sync());
    return map;
}

Result<DirtyMap> DirtyMap::open(Disk& disk, Target target) {
    CW_ASSERT(target.size_bytes > 0);
    CW_TRY_ASSIGN(auto file, disk.open(target.path, {.write = true}));
    DirtyMap map(disk, std::move(target), std::move(file));
    CW_TRY(map.load());
    map.miss_blocks(map.all_);  // Which interval they belonged to died with the process.
    return map;
}

Result<void> DirtyMap::mark(std::uint64_t offset, std::uint64_t length) {
    return add(current_, offset, length);
}

Result<void> DirtyMap::mark_missed(std::uint64_t offset, std::uint64_t length) {
    if (missed_ranges_ && !missed_ranges_->add(offset, length)) {
        missed_ranges_.reset();
    }
    return add(missed_, offset, length);
}

Result<void> DirtyMap::mark_all() {
    missed_ranges_.reset();
    return add(missed_, 0, target_.size_bytes);
}

void DirtyMap::assume_logged(Seq last) {
    current_.merge(missed_);
    miss_blocks({});
    close_interval(last);
}

void DirtyMap::give_up_intervals() {
    miss_blocks(all_);
    current_.clear();
    closed_.clear();
}

void DirtyMap::miss_blocks(const BlockSet& blocks) {
    missed_ = blocks;
    missed_ranges_.reset();
    if (blocks.empty()) {
        missed_ranges_ = no_ranges();
    }
}

void DirtyMap::close_interval(Seq last) {
    if (current_.empty()) {
        return;
    }
    // The newer tag is always safe for older blocks: it only keeps them longer.
    if (!closed_.empty() && (closed_.back().last == last || closed_.size() == intervals_max)) {
        closed_.back().blocks.merge(current_);
        closed_.back().last = std::max(closed_.back().last, last);
    } else {
        closed_.push_back({last, std::move(current_)});
    }
    current_.clear();
}

Result<void> DirtyMap::committed(Seq seq) {
    BlockSet dropped;
    while (!closed_.empty() && closed_.front().last <= seq) {
        dropped.merge(closed_.front().blocks);
        closed_.pop_front();
    }
    std::set<std::uint32_t> pages;
    for (const auto& [ordinal, mask] : dropped.words()) {
        std::uint64_t held = current_.mask(ordinal) | fence_.mask(ordinal) | missed_.mask(ordinal);
        for (const Interval& interval : closed_) {
            held |= interval.blocks.mask(ordinal);
        }
        all_.remove_mask(ordinal, mask & ~held);
        pages.insert(ordinal / words_per_page);
    }
    for (const std::uint32_t page : pages) {
        CW_TRY(write_page(page));
    }
    CW_CRASH_POINT("agent.map.committed");
    return {};
}

const BlockSet& DirtyMap::begin_fence(bool everything) {
    if (everything) {
        fence_ = all_;
        fence_ranges_.reset();
        current_.clear();
        closed_.clear();
    } else {
        fence_.merge(missed_);
        if (fence_ranges_ && (!missed_ranges_ || !fence_ranges_->merge(*missed_ranges_))) {
            fence_ranges_.reset();
        }
    }
    CW_CRASH_POINT("agent.map.fence_begun");
    miss_blocks({});
    return fence_;
}

void DirtyMap::end_fence(Seq end) {
    CW_CRASH_POINT("agent.map.fence_ended");
    CW_ASSERT(missed_.empty());
    current_.merge(fence_);
    fence_.clear();
    fence_ranges_ = no_ranges();
    close_interval(end);
}

Result<void> DirtyMap::sync() {
    CW_CRASH_POINT("agent.map.before_sync");
    return name_full_disk(sync_file(*disk_, *file_), target_.path);
}

Result<void> DirtyMap::add(BlockSet& set, std::uint64_t offset, std::uint64_t length) {
    CW_ASSERT(length > 0 && offset <= target_.size_bytes && length <= target_.size_bytes - offset);
    set.add_range(offset, length);
    all_.add_range(offset, length,
                   [&](std::uint32_t ordinal) { unwritten_.insert(ordinal / words_per_page); });
    if (unwritten_.empty()) {
        return {};
    }
    // Also what could not be written the last time: the union has it, and the file has not.
    const auto page_of = [](std::uint64_t at) {
        return static_cast<std::uint32_t>(at / map_block_bytes / 64 / words_per_page);
    };
    const std::uint32_t last = page_of(offset + length - 1);
    auto page = unwritten_.lower_bound(page_of(offset));
    while (page != unwritten_.end() && *page <= last) {
        CW_TRY(write_page(*page));  // Takes it out.
        page = unwritten_.lower_bound(page_of(offset));
    }
    return {};
}

Result<void> DirtyMap::write_header() {
    std::array<std::byte, block_bytes> block{};
    ByteWriter out(MutableBytes(block).subspan(4));
    out.u32(map_version);
    out.u64(map_magic);
    out.bytes(target_.disk.bytes);
    out.u64(target_.size_bytes);
    out.u64(map_block_bytes);
    ByteWriter(block).u32(crc32c(Bytes(block).subspan(4)));
    return name_full_disk(write_at(*disk_, *file_, 0, block, false), target_.path);
}

Result<void> DirtyMap::write_page(std::uint32_t page) {
    unwritten_.insert(page);
    std::array<std::byte, block_bytes> block{};
    ByteWriter out(MutableBytes(block).subspan(4));
    out.u32(page);
    const std::uint32_t first = page * words_per_page;
    for (std::uint32_t i = 0; i < words_per_page; ++i) {
        out.u64(0);
    }
    const auto& words = all_.words();
    for (auto it = words.lower_bound(first);
         it != words.end() && it->first < first + words_per_page; ++it) {
        ByteWriter(MutableBytes(block).subspan(8 + 8 * std::size_t{it->first - first}))
            .u64(it->second);
    }
    ByteWriter(block).u32(crc32c(Bytes(block).subspan(4)));
    CW_CRASH_POINT("agent.map.before_write");
    CW_TRY(name_full_disk(write_at(*disk_, *file_, page_offset(page), block, false), target_.path));
    unwritten_.erase(page);
    CW_CRASH_POINT("agent.map.after_write");
    return {};
}

Result<void> DirtyMap::load() {
    std::array<std::byte, block_bytes> block{};
    CW_TRY_ASSIGN(const std::size_t got, read_at(*disk_, *file_, 0, block));
    ByteReader in(Bytes(block).first(got), Errc::record_corrupt);
    CW_TRY_ASSIGN(const std::uint32_t crc, in.u32());
    CW_TRY_ASSIGN(const std::uint32_t version, in.u32());
    CW_TRY_ASSIGN(const std::uint64_t magic, in.u64());
    CW_TRY_ASSIGN(const auto disk, in.array<16>());
    CW_TRY_ASSIGN(const std::uint64_t size, in.u64());
    CW_TRY_ASSIGN(const std::uint64_t granularity, in.u64());
    if (got != block.size() || crc != crc32c(Bytes(block).subspan(4)) || version != map_version ||
        magic != map_magic || disk != target_.disk.bytes || size != target_.size_bytes ||
        granularity != map_block_bytes) {
        return fail(Errc::record_corrupt, target_.path + ": header");
    }
    for (std::uint32_t page = 0; page < page_count(target_.size_bytes); ++page) {
        CW_TRY_ASSIGN(const std::size_t n, read_at(*disk_, *file_, page_offset(page), block));
        CW_TRY(load_page(page, Bytes(block).first(n)));
    }
    return {};
}

Result<void> DirtyMap::load_page(std::uint32_t page, Bytes bytes) {
    ByteReader in(bytes, Errc::record_corrupt);
    CW_TRY_ASSIGN(const std::uint32_t crc, in.u32());
    if (bytes.size() != block_bytes || crc != crc32c(bytes.subspan(4))) {
        return fail(Errc::record_corrupt, target_.path + ": page " + std::to_string(page));
    }
    CW_TRY_ASSIGN(const std::uint32_t number, in.u32());
    if (number != page) {
        return fail(Errc::record_corrupt, target_.path + ": misplaced page");
    }
    const std::uint64_t blocks = (target_.size_bytes + map_block_bytes - 1) / map_block_bytes;
    for (std::uint32_t i = 0; i < words_per_page; ++i) {
        CW_TRY_ASSIGN(const std::uint64_t mask, in.u64());
        const std::uint64_t first = (std::uint64_t{page} * words_per_page + i) * 64;
        const std::uint64_t inside =
            first >= blocks ? 0 : std::min<std::uint64_t>(64, blocks - first);
        if (inside < 64 && mask >> inside != 0) {
            return fail(Errc::record_corrupt, target_.path + ": blocks beyond the disk");
        }
        all_.add_mask(page * words_per_page + i, mask);
    }
    return {};
}

}  // namespace cw::agent
