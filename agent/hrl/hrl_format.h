// The Hyper-V replica log, [MS-HRL] 6.0: a file of writes to one virtual disk, in order.
//
// header 4096 | metadata block (empty) | data, metadata block | data, metadata block | …
// Everything is little-endian and packed. A metadata block names the data before it and, as a
// distance backwards, the block before. Each log names the one that it continues. Checksums are
// the complement of a sum of bytes, with the sum's own field left out: they find accidents.
#pragma once

#include "base/bytes.h"
#include "base/error.h"

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace cw::agent {

using HrlId = std::array<std::byte, 16>;  // A GUID as it lies in the file; zeros: none.

// As people write GUIDs: "a8ae4b46-f7ad-4402-87aa-5b33e9f89c77". Errors of the parser: usage.
std::string hrl_id_text(const HrlId& id);
Result<HrlId> parse_hrl_id(std::string_view text);
// The seconds of a log as a moment, and back.
inline constexpr std::int64_t hrl_epoch_s = 946'684'800;  // 2000-01-01 since 1970.

inline constexpr std::size_t hrl_block_bytes = 4096, hrl_entries_max = 127;

struct HrlHeader {
    std::uint32_t created_s = 0;  // Since 2000-01-01 UTC, as all times here.
    std::uint64_t original_bytes = 0, current_bytes = 0;
    std::uint64_t end = 0;  // Behind the last metadata block; 0: was not closed.
    std::int32_t error = 0;
    HrlId id{}, previous{};
    std::uint32_t modified_s = 0;
    std::uint64_t entry_count = 0;
    HrlId data_write_id{};  // Of a VHDX: changes when it is written offline.
};

struct HrlEntry {
    std::uint64_t offset = 0;
    std::uint32_t length = 0;
    std::uint32_t written_s = 0;
    std::uint32_t data_checksum = 0;  // 0: there is none.
};

struct HrlBlock {
    std::uint64_t back = 0;  // To the block before; 0: this is the first.
    std::vector<HrlEntry> entries;
};

// Of all bytes; `sum` is what an earlier part left.
std::uint32_t hrl_sum(Bytes bytes, std::uint32_t sum = 0) noexcept;
constexpr std::uint32_t hrl_checksum_of_sum(std::uint32_t sum) noexcept {
    return ~sum;
}

ByteVector encode_hrl_header(const HrlHeader& header);
struct DecodedHrlHeader {
    HrlHeader header;
    bool checksum_matches = false;  // Writers are known whose does not.
};
// Errors: hrl_broken (not a log, another version or size of blocks).
Result<DecodedHrlHeader> decode_hrl_header(Bytes block);

ByteVector encode_hrl_block(const HrlBlock& block);
// Errors: hrl_broken.
Result<HrlBlock> decode_hrl_block(Bytes block);

}  // namespace cw::agent
