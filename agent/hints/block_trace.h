// What the kernel says of its block tracepoints, and the BPF program that marks in a map which
// regions of one device were written. The program is put together here, instruction by instruction,
// from the fields that the running kernel names: neither a compiler nor its type information is
// needed, at build time or at run time.
#pragma once

#include "base/error.h"

#include <cstdint>
#include <string>
#include <vector>

#include <linux/bpf.h>

namespace cw::agent {

// Where a record of block_rq_issue or block_rq_complete has what we read. Offsets in bytes.
struct BlockTraceFormat {
    std::int16_t device = 0, sector = 0, sectors = 0, kind = 0;  // 4, 8, 4 bytes, and text.
};

// From the tracepoint's `format` file. Errors: not_found, with the field that is missing or is not
// as it should be.
Result<BlockTraceFormat> parse_block_trace_format(const std::string& text);

// Part of a disk in sectors of 512 bytes, and how finely it is watched.
struct WatchedDevice {
    std::uint32_t device = 0;  // Of the whole disk, as the kernel counts: major << 20 | minor.
    std::uint64_t first_sector = 0, sectors = 0;  // Of the partition; sectors > 0.
    unsigned region_shift = 7;                    // A region is 512 << region_shift bytes.
    [[nodiscard]] std::uint32_t regions() const noexcept {
        return static_cast<std::uint32_t>(((sectors - 1) >> region_shift) + 1);
    }
};

// The map is one value: these many bytes, the first of which is not 0 if something was written that
// no region says; then one byte per region, 1 if it was written.
inline constexpr std::uint32_t block_trace_head_bytes = 16;
// One request marks at most so many regions; a longer one counts as lost.
inline constexpr std::uint32_t block_trace_regions_max = 256;

// `map`: the descriptor of that map.
std::vector<bpf_insn> block_trace_program(const BlockTraceFormat& format,
                                          const WatchedDevice& device, int map);

}  // namespace cw::agent
