#include "ingest/wire/frame.h"

#include "base/checksum.h"

#include <string>

namespace cw::wire {
namespace {

constexpr auto block = static_cast<std::uint32_t>(block_bytes);
constexpr std::uint32_t hello_max = 96 * 1024, small_max = 2048, large_max = 128 * 1024;

using enum FrameType;
constexpr FrameRule rules[] = {
    {.type = hello,
     .name = "HELLO",
     .slot = SlotRule::machine,
     .seq = SeqRule::zero,
     .table_min = 64,
     .table_max = hello_max,
     .session = false},
    {welcome, "WELCOME", SlotRule::machine, SeqRule::zero, 64, control_payload_bytes_max},
    {write, "WRITE", SlotRule::disk, SeqRule::positive, block, frame_table_bytes_max,
     frame_data_bytes_max, true},
    {flush, "FLUSH", SlotRule::disk, SeqRule::any, 0, 0},
    {base, "BASE", SlotRule::disk, SeqRule::positive, block, frame_table_bytes_max,
     frame_data_bytes_max, true, true},
    {extents, "EXTENTS", SlotRule::disk, SeqRule::zero, 4, large_max},
    {mode, "MODE", SlotRule::machine, SeqRule::zero, 11, small_max},
    {point, "POINT", SlotRule::machine, SeqRule::zero, block, frame_table_bytes_max, 0, true},
    {point_result, "POINT_RESULT", SlotRule::machine, SeqRule::zero, block, block, 0, true},
    {point_status, "POINT_STATUS", SlotRule::machine, SeqRule::zero, 27, small_max},
    {ack, "ACK", SlotRule::machine, SeqRule::zero, 42, control_payload_bytes_max},
    {credit, "CREDIT", SlotRule::machine, SeqRule::zero, 8, 8},
    {nak, "NAK", SlotRule::machine, SeqRule::zero, 13, small_max},
    {resync_begin, "RESYNC_BEGIN", SlotRule::disk, SeqRule::positive, 3, small_max, 0, false, true},
    {hashes, "HASHES", SlotRule::disk, SeqRule::zero, 12, large_max},
    {resync_end, "RESYNC_END", SlotRule::disk, SeqRule::positive, 0, 0, 0, false, true},
    {hashes_request, "HASHES_REQUEST", SlotRule::disk, SeqRule::zero, 12, 12},
    {resize, "RESIZE", SlotRule::disk, SeqRule::positive, 8, 8},
    {ping, "PING", SlotRule::machine, SeqRule::zero, 8, 8},
    {pong, "PONG", SlotRule::machine, SeqRule::zero, 8, 8},
    {error, "ERROR", SlotRule::machine, SeqRule::zero, 8, small_max},
    {goodbye, "GOODBYE", SlotRule::machine, SeqRule::zero, 3, 4096},
    {policy, "POLICY", SlotRule::machine, SeqRule::zero, 16, 16},
    {resync_required, "RESYNC_REQUIRED", SlotRule::disk, SeqRule::zero, 10, small_max},
    {summaries_request, "SUMMARIES_REQUEST", SlotRule::disk, SeqRule::zero, 8, 8},
    {summaries, "SUMMARIES", SlotRule::disk, SeqRule::zero, 16, small_max},
};

const FrameRule* rule_of(FrameType type) noexcept {
    const auto number = static_cast<std::size_t>(type);
    if (number == 0 || number > std::size(rules)) {
        return nullptr;
    }
    return &rules[number - 1];
}

// The rules lie in the order of their numbers, so that a look-up is an index.
consteval bool rules_are_in_order() {
    for (std::size_t i = 0; i < std::size(rules); ++i) {
        if (static_cast<std::size_t>(rules[i].type) != i + 1) {
            return false;
        }
    }
    return true;
}
static_assert(rules_are_in_order());

// What is wrong with the header, or nullptr. Asserted before a header is written and checked after
// one is read.
const char* flaw_of(const FrameHeader& header) noexcept {
    const FrameRule* rule = rule_of(header.type);
    if (rule == nullptr) {
        return "unknown type";
    }
    if ((rule->slot == SlotRule::machine) != (header.disk_slot == machine_slot)) {
        return "wrong kind of slot";
    }
    if (header.payload_bytes < header.table_bytes) {
        return "payload shorter than its table";
    }
    if (header.table_bytes < rule->table_min || header.table_bytes > rule->table_max) {
        return "table length out of range";
    }
    if (header.data_bytes() > rule->data_max) {
        return "data too long";
    }
    if (rule->stored && (header.table_bytes % block != 0 || header.data_bytes() % block != 0)) {
        return "length is not a multiple of a block";
    }
    if (raw(header.seq) > frame_seq_max) {
        return "sequence so high that it could wrap";
    }
    if (rule->seq == SeqRule::positive ? raw(header.seq) == 0
                                       : rule->seq == SeqRule::zero && raw(header.seq) != 0) {
        return "sequence out of range";
    }
    if (!rule->ordinal && header.ordinal != 0) {
        return "ordinal where none belongs";
    }
    if (!rule->session && raw(header.session) != 0) {
        return "session where none exists yet";
    }
    return nullptr;
}

}  // namespace

std::span<const FrameRule> frame_rules() noexcept {
    return rules;
}

std::array<std::byte, frame_header_bytes> encode_frame_header(const FrameHeader& header) {
    CW_ASSERT(flaw_of(header) == nullptr);
    std::array<std::byte, frame_header_bytes> out;
    ByteWriter writer(out);
    writer.u32(frame_magic);
    writer.u8(static_cast<std::uint8_t>(header.type));
    writer.u8(0);
    writer.u16(header.disk_slot);
    writer.u32(header.payload_bytes);
    writer.u32(header.table_bytes);
    writer.u64(raw(header.seq));
    writer.u32(raw(header.session));
    writer.u32(header.ordinal);
    writer.u32(header.table_crc);
    writer.u32(crc32c(Bytes(out).first(frame_header_bytes - 4)));
    CW_ASSERT(writer.remaining() == 0);
    return out;
}

Result<FrameHeader> decode_frame_header(Bytes bytes) {
    ByteReader reader(bytes, Errc::frame_malformed);
    if (bytes.size() != frame_header_bytes) {
        return fail(Errc::frame_malformed, "header of " + std::to_string(bytes.size()) + " bytes");
    }
    CW_TRY_ASSIGN(const std::uint32_t magic, reader.u32());
    if (magic != frame_magic) {
        return fail(Errc::frame_malformed, "magic " + to_hex(bytes.first(4)));
    }
    FrameHeader header;
    CW_TRY_ASSIGN(const std::uint8_t type, reader.u8());
    header.type = static_cast<FrameType>(type);
    CW_TRY_ASSIGN(const std::uint8_t flags, reader.u8());
    CW_TRY_ASSIGN(header.disk_slot, reader.u16());
    CW_TRY_ASSIGN(header.payload_bytes, reader.u32());
    CW_TRY_ASSIGN(header.table_bytes, reader.u32());
    CW_TRY_ASSIGN(const std::uint64_t seq, reader.u64());
    header.seq = Seq{seq};
    CW_TRY_ASSIGN(const std::uint32_t session, reader.u32());
    header.session = SessionId{session};
    CW_TRY_ASSIGN(header.ordinal, reader.u32());
    CW_TRY_ASSIGN(header.table_crc, reader.u32());
    CW_TRY_ASSIGN(const std::uint32_t crc, reader.u32());
    if (crc != crc32c(bytes.first(frame_header_bytes - 4))) {
        return fail(Errc::frame_malformed, "header checksum");
    }
    if (flags != 0) {
        return fail(Errc::frame_malformed, "flags " + std::to_string(flags));
    }
    if (const char* flaw = flaw_of(header); flaw != nullptr) {
        return fail(Errc::frame_malformed,
                    std::string(name_of(header.type)) + " (" + std::to_string(type) + "): " + flaw);
    }
    return header;
}

std::string_view name_of(FrameType type) noexcept {
    const FrameRule* rule = rule_of(type);
    return rule == nullptr ? "?" : rule->name;
}

Result<void> check_table(const FrameHeader& header, Bytes table) {
    CW_ASSERT(table.size() == header.table_bytes);
    if (crc32c(table) != header.table_crc) {
        return fail(Errc::payload_corrupt, std::string(name_of(header.type)) + " table checksum");
    }
    return {};
}

ByteVector encode_control_frame(FrameHeader header, Bytes payload) {
    CW_ASSERT(payload.size() <= control_payload_bytes_max);
    header.payload_bytes = static_cast<std::uint32_t>(payload.size());
    header.table_bytes = header.payload_bytes;
    header.table_crc = crc32c(payload);
    const auto head = encode_frame_header(header);
    ByteVector out;
    out.reserve(head.size() + payload.size());
    out.insert(out.end(), head.begin(), head.end());
    out.insert(out.end(), payload.begin(), payload.end());
    return out;
}

}  // namespace cw::wire
