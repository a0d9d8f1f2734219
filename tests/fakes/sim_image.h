// SimImage: the content of one simulated file, as the cache sees it and as the platter has it.
//
// Per 512-byte sector: clean (both agree), dirty (written, not synced) or phantom (a sync failed:
// the cache calls it clean, the platter never got it). Sparse; unwritten blocks are zeros.
#pragma once

#include "base/bytes.h"
#include "base/ids.h"
#include "base/random.h"

#include <array>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

namespace cw::fakes {

class SimImage {
public:
    // `earlier_kept`: for revert().
    explicit SimImage(bool earlier_kept = false) : earlier_kept_(earlier_kept) {}
    // Buffered reads see the cache; direct reads see what a phantom sector really is.
    void read(std::uint64_t offset, MutableBytes out, bool direct) const;
    // What a power cut would leave for certain.
    void read_durable(std::uint64_t offset, MutableBytes out) const;
    // Into the cache; dirty from now on.
    void write(std::uint64_t offset, Bytes bytes);
    // The range [offset, offset + length) is on the platter: dirty sectors only, not phantoms.
    void persist(std::uint64_t offset, std::uint64_t length);
    void persist_all();
    // A sync that fails: each dirty sector of the range persists or becomes a phantom.
    void fail_sync(std::uint64_t offset, std::uint64_t length, Random& random);
    // Each dirty sector independently: new, old, or torn at a byte. Phantoms are lost.
    void power_cut(Random& random);
    void flip_bit(std::uint64_t offset, unsigned bit);  // On the platter and in the cache.
    // The blocks of the range hold again what they held before they were last changed.
    void revert(std::uint64_t offset, std::uint64_t length);
    void truncate(std::uint64_t bytes);
    void resize(std::uint64_t bytes);
    [[nodiscard]] std::uint64_t size() const noexcept { return size_; }
    [[nodiscard]] std::size_t dirty_sectors() const noexcept;
    // Offsets of the blocks that were ever written, ascending.
    [[nodiscard]] std::vector<std::uint64_t> written_blocks() const;

private:
    static constexpr std::size_t sectors_per_block = block_bytes / sector_bytes;
    using Page = std::array<std::byte, block_bytes>;
    // A sector that is neither dirty nor a phantom is the same on the platter as in the cache.
    struct Block {
        Block() = default;
        Block(const Block& other);
        Block& operator=(const Block&) = delete;

        std::unique_ptr<Page> cache;
        std::unique_ptr<Page> durable;        // Null: the same, or zeros.
        std::uint8_t dirty = 0, phantom = 0;  // One bit per sector.
        bool blank = true;                    // Without `durable`: zeros.
        bool listed = false;                  // In changed_.
    };
    // The content in the cache, of which the range will be written over.
    static Page& to_change(Block& block, std::uint64_t inside, std::uint64_t length);
    // What the platter holds, to be changed on its own.
    static Page& platter(Block& block);
    // Once nothing is dirty or a phantom there is one content again.
    static void settle(Block& block) noexcept;
    static void persist_sector(Block& block, std::size_t sector, std::size_t bytes);
    static void persist_sectors(Block& block, std::uint8_t wanted);
    Block& write_to(std::uint64_t index);

    const bool earlier_kept_;
    std::unordered_map<std::uint64_t, Block> blocks_;
    // All blocks with dirty sectors or phantoms, and some that had some; each once.
    std::vector<std::uint64_t> changed_;
    // By block; what is not there was zeros.
    std::unordered_map<std::uint64_t, Page> earlier_;
    std::uint64_t size_ = 0, durable_size_ = 0;
};

}  // namespace cw::fakes
