#include "agent/hrl/hrl_format.h"

#include "base/ids.h"

#include <algorithm>
#include <string_view>

namespace cw::agent {
namespace {

constexpr std::string_view cookie = "msctlog ";
constexpr std::uint32_t version = 0x00020000, creator_version = 0x000a0000;
constexpr std::uint8_t op_write = 1;
constexpr std::size_t header_checksum_at = 40, block_head_bytes = 32, block_checksum_at = 12,
                      entry_bytes = 32, entry_checksum_at = 8;

std::uint32_t checksum_without(Bytes bytes, std::size_t field) noexcept {
    return hrl_checksum_of_sum(hrl_sum(bytes.subspan(field + 4), hrl_sum(bytes.first(field))));
}

void seal(MutableBytes bytes, std::size_t field) {
    ByteWriter(bytes.subspan(field, 4)).u32(checksum_without(bytes, field));
}

// The first three fields of a GUID are numbers, which lie in the file with their low bytes first.
HrlId swapped(HrlId id) {
    std::reverse(id.begin(), id.begin() + 4);
    std::reverse(id.begin() + 4, id.begin() + 6);
    std::reverse(id.begin() + 6, id.begin() + 8);
    return id;
}

}  // namespace

std::string hrl_id_text(const HrlId& id) {
    return uuid_text(swapped(id));
}

Result<HrlId> parse_hrl_id(std::string_view text) {
    CW_TRY_ASSIGN(const auto bytes, parse_uuid_bytes(text));
    return swapped(bytes);
}

std::uint32_t hrl_sum(Bytes bytes, std::uint32_t sum) noexcept {
    for (const std::byte each : bytes) {
        sum += static_cast<std::uint32_t>(each);
    }
    return sum;
}

ByteVector encode_hrl_header(const HrlHeader& header) {
    ByteVector block(hrl_block_bytes);
    ByteWriter out(block);
    out.bytes(as_bytes(cookie));
    out.u32(version);
    out.u32(header.created_s);
    out.bytes(as_bytes(std::string_view("ct\0\0", 4)));
    out.u32(creator_version);
    out.u64(header.original_bytes);
    out.u64(header.current_bytes);
    out.u32(0);  // Checksum
    out.u64(header.end);
    out.u32(static_cast<std::uint32_t>(header.error));
    out.u32(hrl_block_bytes);
    out.bytes(header.id);
    out.bytes(header.previous);
    out.u32(header.modified_s);
    out.u64(header.entry_count);
    out.u32(0);  // Type of file
    out.u16(0);  // Flags
    out.bytes(header.data_write_id);
    seal(block, header_checksum_at);
    return block;
}

Result<DecodedHrlHeader> decode_hrl_header(Bytes block) {
    ByteReader in(block, Errc::hrl_broken);
    DecodedHrlHeader out;
    HrlHeader& header = out.header;
    CW_TRY_ASSIGN(const Bytes magic, in.take(cookie.size()));
    CW_TRY_ASSIGN(const std::uint32_t found_version, in.u32());
    CW_TRY_ASSIGN(header.created_s, in.u32());
    CW_TRY(in.take(8));  // Creator
    CW_TRY_ASSIGN(header.original_bytes, in.u64());
    CW_TRY_ASSIGN(header.current_bytes, in.u64());
    CW_TRY_ASSIGN(const std::uint32_t checksum, in.u32());
    CW_TRY_ASSIGN(header.end, in.u64());
    CW_TRY_ASSIGN(const std::uint32_t error, in.u32());
    header.error = static_cast<std::int32_t>(error);
    CW_TRY_ASSIGN(const std::uint32_t block_bytes_said, in.u32());
    CW_TRY_ASSIGN(header.id, in.array<16>());
    CW_TRY_ASSIGN(header.previous, in.array<16>());
    CW_TRY_ASSIGN(header.modified_s, in.u32());
    CW_TRY_ASSIGN(header.entry_count, in.u64());
    CW_TRY_ASSIGN(const std::uint32_t type, in.u32());
    CW_TRY(in.u16());
    CW_TRY_ASSIGN(header.data_write_id, in.array<16>());
    if (as_text(magic) != cookie || found_version != version || type != 0 ||
        block_bytes_said != hrl_block_bytes || block.size() != hrl_block_bytes) {
        return fail(Errc::hrl_broken, "not a replica log of version 2.0");
    }
    out.checksum_matches = checksum == checksum_without(block, header_checksum_at);
    return out;
}

ByteVector encode_hrl_block(const HrlBlock& block) {
    CW_ASSERT(block.entries.size() <= hrl_entries_max);
    ByteVector bytes(hrl_block_bytes);
    ByteWriter out(bytes);
    out.u64(block.back);
    out.u32(static_cast<std::uint32_t>(block.entries.size()));
    seal(MutableBytes(bytes).first(block_head_bytes), block_checksum_at);
    MutableBytes rest = MutableBytes(bytes).subspan(block_head_bytes);
    for (const HrlEntry& entry : block.entries) {
        const MutableBytes place = rest.first(entry_bytes);
        ByteWriter one(place);
        one.u64(entry.offset);
        one.u32(0);  // Checksum
        one.u32(entry.length);
        one.u32(entry.written_s);
        one.u8(op_write);
        one.u32(entry.data_checksum);
        seal(place, entry_checksum_at);
        rest = rest.subspan(entry_bytes);
    }
    return bytes;
}

Result<HrlBlock> decode_hrl_block(Bytes bytes) {
    if (bytes.size() != hrl_block_bytes) {
        return fail(Errc::hrl_broken, "a metadata block is cut short");
    }
    ByteReader in(bytes, Errc::hrl_broken);
    HrlBlock block;
    CW_TRY_ASSIGN(block.back, in.u64());
    CW_TRY_ASSIGN(const std::uint32_t count, in.u32());
    CW_TRY_ASSIGN(const std::uint32_t checksum, in.u32());
    if (count > hrl_entries_max ||
        checksum != checksum_without(bytes.first(block_head_bytes), block_checksum_at)) {
        return fail(Errc::hrl_broken, "a metadata block is damaged");
    }
    for (std::size_t i = 0; i < count; ++i) {
        const Bytes place = bytes.subspan(block_head_bytes + i * entry_bytes, entry_bytes);
        ByteReader one(place, Errc::hrl_broken);
        HrlEntry entry;
        CW_TRY_ASSIGN(entry.offset, one.u64());
        CW_TRY_ASSIGN(const std::uint32_t entry_checksum, one.u32());
        CW_TRY_ASSIGN(entry.length, one.u32());
        CW_TRY_ASSIGN(entry.written_s, one.u32());
        CW_TRY_ASSIGN(const std::uint8_t op, one.u8());
        CW_TRY_ASSIGN(entry.data_checksum, one.u32());
        if (entry_checksum != checksum_without(place, entry_checksum_at) || op != op_write) {
            return fail(Errc::hrl_broken, "an entry is damaged");
        }
        block.entries.push_back(entry);
    }
    return block;
}

}  // namespace cw::agent
