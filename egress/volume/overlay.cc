#include "egress/volume/overlay.h"

#include "base/checksum.h"

#include <algorithm>
#include <array>
#include <bit>

namespace cw::volume {
namespace {

// A map page: u32 CRC-32C of the rest, u32 page number, 511 words of 64 blocks.
constexpr std::uint64_t words_per_page = 511;
constexpr int map_reads = 3;
constexpr std::size_t check_bytes = 1 * mib;

std::uint64_t block_count(std::uint64_t size_bytes) {
    return (size_bytes + block_bytes - 1) / block_bytes;
}
std::uint64_t word_count(std::uint64_t size_bytes) {
    return (block_count(size_bytes) + 63) / 64;
}

}  // namespace

Overlay::Overlay(Disk& disk, TargetIo* target, std::uint64_t size_bytes)
    : disk_(disk), target_(target), size_bytes_(size_bytes), words_(word_count(size_bytes)) {}

Result<std::unique_ptr<Overlay>> Overlay::open(Disk& disk, const std::string& data_path,
                                               const std::string& map_path, TargetIo& target,
                                               std::uint64_t size_bytes) {
    std::unique_ptr<Overlay> overlay(new Overlay(disk, &target, size_bytes));
    CW_TRY_ASSIGN(overlay->data_, disk.open(data_path, {.write = true, .create = true}));
    CW_TRY_ASSIGN(overlay->map_, disk.open(map_path, {.write = true, .create = true}));
    CW_TRY(disk.resize(*overlay->data_, align_up(size_bytes, block_bytes), false));
    CW_TRY(overlay->load());
    return overlay;
}

Result<void> Overlay::load_beside_writer(const std::string& data_path,
                                         const std::string& map_path) {
    CW_TRY_ASSIGN(data_, disk_.open(data_path, {}));
    CW_TRY_ASSIGN(map_, disk_.open(map_path, {}));
    auto loaded = load();
    for (int again = 0; !loaded && again < map_reads; ++again) {
        loaded = load();  // A page may have been in the middle of being written.
    }
    return loaded;
}

Result<std::unique_ptr<Overlay>> Overlay::open_for_reading(Disk& disk, const std::string& data_path,
                                                           const std::string& map_path,
                                                           TargetIo& target,
                                                           std::uint64_t size_bytes) {
    std::unique_ptr<Overlay> overlay(new Overlay(disk, &target, size_bytes));
    CW_TRY(overlay->load_beside_writer(data_path, map_path));
    return overlay;
}

Result<std::uint64_t> Overlay::check(Disk& disk, const std::string& data_path,
                                     const std::string& map_path, std::uint64_t size_bytes) {
    Overlay overlay(disk, nullptr, size_bytes);
    CW_TRY(overlay.load_beside_writer(data_path, map_path));
    ByteVector piece(check_bytes);
    for (std::uint64_t offset = 0;;) {
        const Run run = overlay.next_run(offset, piece.size());
        if (run.length == 0) {
            return overlay.held_bytes();
        }
        CW_TRY(overlay.read_data(run.offset, MutableBytes(piece).first(run.length)));
        offset = run.offset + run.length;
    }
}

Result<void> Overlay::write(std::uint64_t offset, Bytes bytes) {
    CW_ASSERT(!bytes.empty() && offset <= size_bytes_ && bytes.size() <= size_bytes_ - offset);
    const std::uint64_t first = offset / block_bytes;
    const std::uint64_t last = (offset + bytes.size() - 1) / block_bytes;
    if (offset % block_bytes != 0) {
        CW_TRY(bring_in(first));
    }
    if ((offset + bytes.size()) % block_bytes != 0) {
        CW_TRY(bring_in(last));
    }
    CW_TRY(write_at(disk_, *data_, offset, bytes, false));
    for (std::uint64_t block = first; block <= last; ++block) {
        set(block);
    }
    return {};
}

Result<void> Overlay::zero(std::uint64_t offset, std::uint64_t length) {
    static constexpr std::array<std::byte, 64 * kib> zeros{};
    while (length > 0) {
        const std::uint64_t step = std::min<std::uint64_t>(length, zeros.size());
        CW_TRY(write(offset, Bytes(zeros).first(step)));
        offset += step;
        length -= step;
    }
    return {};
}

Result<void> Overlay::read(std::uint64_t offset, MutableBytes out) {
    CW_ASSERT(offset <= size_bytes_ && out.size() <= size_bytes_ - offset);
    while (!out.empty()) {
        // As far as the blocks lie in the same place.
        const bool here = has(offset / block_bytes);
        std::uint64_t end = offset / block_bytes + 1;
        while (end * block_bytes < offset + out.size() && has(end) == here) {
            ++end;
        }
        const std::uint64_t step = std::min<std::uint64_t>(out.size(), end * block_bytes - offset);
        CW_TRY(here ? read_data(offset, out.first(step)) : target_->read(offset, out.first(step)));
        out = out.subspan(step);
        offset += step;
    }
    return {};
}

Result<void> Overlay::read_data(std::uint64_t offset, MutableBytes out) {
    CW_TRY_ASSIGN(const std::size_t got, read_at(disk_, *data_, offset, out));
    return got == out.size() ? Result<void>{}
                             : fail(Errc::io_error, "short read at " + std::to_string(offset));
}

Result<void> Overlay::settle() {
    CW_TRY(sync_file(disk_, *data_));  // Before the map says that the blocks are there.
    for (const std::uint64_t page : dirty_pages_) {
        CW_TRY(write_page(page));
    }
    dirty_pages_.clear();
    return sync_file(disk_, *map_);
}

Overlay::Run Overlay::next_run(std::uint64_t offset, std::uint64_t length_max) const noexcept {
    const std::uint64_t blocks = block_count(size_bytes_);
    std::uint64_t block = (offset + block_bytes - 1) / block_bytes;
    while (block < blocks && !has(block)) {
        block += words_[block / 64] == 0 ? 64 - block % 64 : 1;
    }
    if (block >= blocks) {
        return {};
    }
    std::uint64_t end = block;
    while (end < blocks && has(end) && (end - block) * block_bytes < length_max) {
        ++end;
    }
    const std::uint64_t from = block * block_bytes;
    return {from, std::min(end * block_bytes, size_bytes_) - from};
}

std::uint64_t Overlay::held_bytes() const noexcept {
    std::uint64_t blocks = 0;
    for (const std::uint64_t word : words_) {
        blocks += static_cast<std::uint64_t>(std::popcount(word));
    }
    return blocks * block_bytes;
}

Result<void> Overlay::bring_in(std::uint64_t block) {
    if (has(block)) {
        return {};
    }
    std::array<std::byte, block_bytes> content{};
    const std::uint64_t from = block * block_bytes;
    const MutableBytes inside =
        MutableBytes(content).first(std::min<std::uint64_t>(block_bytes, size_bytes_ - from));
    CW_TRY(target_->read(from, inside));
    return write_at(disk_, *data_, from, content, false);
}

void Overlay::set(std::uint64_t block) {
    words_[block / 64] |= std::uint64_t{1} << (block % 64);
    dirty_pages_.insert(block / 64 / words_per_page);
}

Result<void> Overlay::load() {
    std::array<std::byte, block_bytes> bytes{};
    for (std::uint64_t page = 0; page * words_per_page < words_.size(); ++page) {
        CW_TRY_ASSIGN(const std::size_t got, read_at(disk_, *map_, page * block_bytes, bytes));
        if (got == 0 || all_zero(Bytes(bytes).first(got))) {
            continue;  // Never written: nothing of it is in the overlay.
        }
        ByteReader in(Bytes(bytes).first(got), Errc::record_corrupt);
        CW_TRY_ASSIGN(const std::uint32_t crc, in.u32());
        CW_TRY_ASSIGN(const std::uint32_t number, in.u32());
        if (got != bytes.size() || crc != crc32c(Bytes(bytes).subspan(4)) || number != page) {
            return fail(Errc::record_corrupt, "overlay map page " + std::to_string(page));
        }
        const std::uint64_t first = page * words_per_page;
        for (std::uint64_t i = 0; i < words_per_page && first + i < words_.size(); ++i) {
            CW_TRY_ASSIGN(words_[first + i], in.u64());
        }
    }
    if (const std::uint64_t used = block_count(size_bytes_) % 64;
        used != 0 && words_.back() >> used != 0) {
        return fail(Errc::record_corrupt, "the overlay map names blocks behind the disk's end");
    }
    return {};
}

Result<void> Overlay::write_page(std::uint64_t page) {
    std::array<std::byte, block_bytes> bytes{};
    ByteWriter out(MutableBytes(bytes).subspan(4));
    out.u32(static_cast<std::uint32_t>(page));
    const std::uint64_t first = page * words_per_page;
    for (std::uint64_t i = 0; i < words_per_page; ++i) {
        out.u64(first + i < words_.size() ? words_[first + i] : 0);
    }
    ByteWriter(bytes).u32(crc32c(Bytes(bytes).subspan(4)));
    return write_at(disk_, *map_, page * block_bytes, bytes, false);
}

}  // namespace cw::volume
