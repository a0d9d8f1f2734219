#include "bench/corpus.h"

#include "base/assert.h"
#include "bench/corpus_content.h"

#include <algorithm>
#include <cstring>

namespace cw::bench {
namespace {

constexpr std::size_t block = 4096;
constexpr std::uint32_t big_file_percent = 50;

using Fill = void (*)(Dice&, MutableBytes);
void fill_zeros(Dice&, MutableBytes out) {
    std::memset(out.data(), 0, out.size());
}

// Shares in percent of the image, and how big files of this kind are, in blocks.
struct Kind {
    Fill fill;
    std::uint32_t share;
    std::uint32_t blocks_min, blocks_max;
};
constexpr Kind kinds[] = {
    {fill_program, 22, 4, 256}, {fill_source_text, 11, 1, 24}, {fill_html, 6, 2, 48},
    {fill_log, 6, 8, 256},      {fill_database, 20, 32, 256},  {fill_media, 13, 8, 256},
    {fill_metadata, 2, 4, 32},  {fill_zeros, 22, 16, 256},
};

// Where files are picked by number, big kinds would get more than their share of bytes.
std::uint32_t weight_by_number(const Kind& kind) noexcept {
    return kind.share * 4096 / (kind.blocks_min + kind.blocks_max);
}
std::uint32_t weight_by_bytes(const Kind& kind) noexcept {
    return kind.share;
}

template <typename Weight>
const Kind& pick_kind(Dice& dice, Weight weight_of) noexcept {
    std::uint32_t total = 0;
    for (const Kind& kind : kinds) {
        total += weight_of(kind);
    }
    std::uint32_t at = dice.below(total);
    for (const Kind& kind : kinds) {
        if (at < weight_of(kind)) {
            return kind;
        }
        at -= weight_of(kind);
    }
    return kinds[0];
}

}  // namespace

void Corpus::fill(std::uint64_t offset, MutableBytes out) const {
    CW_ASSERT(offset % corpus_unit_bytes == 0 && out.size() % corpus_unit_bytes == 0);
    for (std::size_t at = 0; at < out.size(); at += corpus_unit_bytes) {
        fill_unit((offset + at) / corpus_unit_bytes, out.subspan(at, corpus_unit_bytes));
    }
}

// A unit lies within one big file, or holds many small ones, each padded with zeros to its last
// block.
void Corpus::fill_unit(std::uint64_t unit, MutableBytes out) const {
    Dice dice(seed_ ^ (unit * 0xd1342543de82ef95 + 1));
    if (dice.chance(big_file_percent)) {
        pick_kind(dice, weight_by_bytes).fill(dice, out);
        return;
    }
    for (std::size_t at = 0; at < out.size();) {
        const Kind& kind = pick_kind(dice, weight_by_number);
        const std::size_t blocks =
            kind.blocks_min + dice.below(kind.blocks_max - kind.blocks_min + 1);
        const std::size_t bytes = std::min(blocks * block, out.size() - at);
        const MutableBytes file = out.subspan(at, bytes);
        const std::size_t tail = dice.below(block);
        kind.fill(dice, file.first(bytes - tail));
        std::memset(file.data() + bytes - tail, 0, tail);
        at += bytes;
    }
}

}  // namespace cw::bench
