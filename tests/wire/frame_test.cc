#include "ingest/wire/frame.h"

#include "base/checksum.h"
#include "base/random.h"

#include <functional>

#include <gtest/gtest.h>

namespace cw::wire {
namespace {

FrameHeader write_header() {
    return {.type = FrameType::write,
            .disk_slot = 3,
            .payload_bytes = 4096 + 65536,
            .table_bytes = 4096,
            .seq = Seq{0x0102030405060708},
            .session = SessionId{0xa1a2a3a4},
            .table_crc = 0xc0ffee01};
}

// A header of `type` with the smallest lengths that are legal for it.
FrameHeader smallest(FrameType type) {
    for (std::uint32_t table : {0U, 3U, 4U, 8U, 11U, 12U, 13U, 16U, 27U, 42U, 64U, 4096U}) {
        for (const std::uint16_t slot : {std::uint16_t{0}, machine_slot}) {
            for (const std::uint64_t seq : {0U, 1U}) {
                FrameHeader header{.type = type,
                                   .disk_slot = slot,
                                   .payload_bytes = table,
                                   .table_bytes = table,
                                   .seq = Seq{seq}};
                std::array<std::byte, frame_header_bytes> bytes{};
                ByteWriter writer(bytes);
                writer.u32(frame_magic);
                writer.u8(static_cast<std::uint8_t>(type));
                writer.u8(0);
                writer.u16(slot);
                writer.u32(table);
                writer.u32(table);
                writer.u64(seq);
                writer.zeros(12);
                writer.u32(crc32c(Bytes(bytes).first(36)));
                if (decode_frame_header(bytes)) {
                    return header;
                }
            }
        }
    }
    ADD_FAILURE() << "no legal header of type " << static_cast<int>(type);
    return {};
}

// Encodes without the assertions of encode_frame_header: what a hostile peer would send.
std::array<std::byte, frame_header_bytes> forge(const FrameHeader& header, std::uint8_t flags = 0) {
    std::array<std::byte, frame_header_bytes> out{};
    ByteWriter writer(out);
    writer.u32(frame_magic);
    writer.u8(static_cast<std::uint8_t>(header.type));
    writer.u8(flags);
    writer.u16(header.disk_slot);
    writer.u32(header.payload_bytes);
    writer.u32(header.table_bytes);
    writer.u64(raw(header.seq));
    writer.u32(raw(header.session));
    writer.u32(header.ordinal);
    writer.u32(header.table_crc);
    writer.u32(crc32c(Bytes(out).first(36)));
    return out;
}

TEST(Frame, HeaderHasTheBytesOfTheSpecification) {
    const auto bytes = encode_frame_header(write_header());
    EXPECT_EQ(to_hex(Bytes(bytes).first(36)),
              "43574631"          // magic
              "03"                // WRITE
              "00"                // flags
              "0300"              // slot
              "00100100"          // payload
              "00100000"          // table
              "0807060504030201"  // sequence
              "a4a3a2a1"          // session
              "00000000"          // ordinal
              "01eeffc0");        // table checksum
}

TEST(Frame, HeaderSurvivesARoundTrip) {
    const auto bytes = encode_frame_header(write_header());
    const auto decoded = decode_frame_header(bytes);
    ASSERT_TRUE(decoded) << to_string(decoded.error());
    EXPECT_EQ(encode_frame_header(*decoded), bytes);
    EXPECT_EQ(decoded->data_bytes(), 65536U);
}

TEST(Frame, EveryTypeHasALegalHeaderAndAName) {
    for (int type = 1; type <= 26; ++type) {
        const FrameHeader header = smallest(static_cast<FrameType>(type));
        EXPECT_NE(name_of(header.type), "?") << type;
        EXPECT_EQ(encode_frame_header(header), forge(header));
    }
    EXPECT_EQ(name_of(FrameType{0}), "?");
    EXPECT_EQ(name_of(FrameType{27}), "?");
}

TEST(Frame, EveryFlippedBitOfAHeaderIsRefused) {
    const auto good = encode_frame_header(write_header());
    for (std::size_t bit = 0; bit < good.size() * 8; ++bit) {
        auto bad = good;
        bad[bit / 8] ^= std::byte{1} << (bit % 8);
        const auto decoded = decode_frame_header(bad);
        ASSERT_FALSE(decoded) << bit;
        EXPECT_EQ(decoded.error().code, Errc::frame_malformed);
    }
}

TEST(Frame, HeaderOfWrongLengthIsRefused) {
    const auto good = encode_frame_header(write_header());
    for (std::size_t length = 0; length < good.size(); ++length) {
        EXPECT_FALSE(decode_frame_header(Bytes(good).first(length))) << length;
    }
}

TEST(Frame, H1_FieldsOutOfTheirBoundsAreRefusedEvenWithARightChecksum) {
    struct Case {
        const char* name;
        std::function<void(FrameHeader&)> spoil;
    };
    const Case cases[] = {
        {"type 0", [](FrameHeader& h) { h.type = FrameType{0}; }},
        {"type 23", [](FrameHeader& h) { h.type = FrameType{23}; }},
        {"type 255", [](FrameHeader& h) { h.type = FrameType{255}; }},
        {"machine slot on a write", [](FrameHeader& h) { h.disk_slot = machine_slot; }},
        {"payload below table", [](FrameHeader& h) { h.payload_bytes = 4095; }},
        {"payload 2^32-1", [](FrameHeader& h) { h.payload_bytes = 0xffffffff; }},
        {"data one block too long",
         [](FrameHeader& h) { h.payload_bytes = 4096 + frame_data_bytes_max + 4096; }},
        {"data not in blocks", [](FrameHeader& h) { h.payload_bytes += 512; }},
        {"no table", [](FrameHeader& h) { h.table_bytes = 0; }},
        {"table not in blocks", [](FrameHeader& h) { h.table_bytes = 4097; }},
        {"table too long",
         [](FrameHeader& h) { h.table_bytes = h.payload_bytes = frame_table_bytes_max + 4096; }},
        {"sequence about to wrap", [](FrameHeader& h) { h.seq = Seq{frame_seq_max + 1}; }},
        {"sequence 0", [](FrameHeader& h) { h.seq = Seq{0}; }},
        {"ordinal on a write", [](FrameHeader& h) { h.ordinal = 1; }},
    };
    for (const Case& c : cases) {
        FrameHeader header = write_header();
        c.spoil(header);
        const auto decoded = decode_frame_header(forge(header));
        ASSERT_FALSE(decoded) << c.name;
        EXPECT_EQ(decoded.error().code, Errc::frame_malformed) << c.name;
    }
    EXPECT_FALSE(decode_frame_header(forge(write_header(), 1)));
}

TEST(Frame, TheLargestLegalPayloadIsAccepted) {
    FrameHeader header = write_header();
    header.table_bytes = frame_table_bytes_max;
    header.payload_bytes = frame_table_bytes_max + frame_data_bytes_max;
    EXPECT_TRUE(decode_frame_header(forge(header)));
}

TEST(Frame, ControlFramesCarryNoDataNoDiskAndNoSequence) {
    for (int number = 1; number <= 26; ++number) {
        const auto type = static_cast<FrameType>(number);
        const FrameHeader good = smallest(type);
        FrameHeader other_slot = good;
        other_slot.disk_slot = good.disk_slot == machine_slot ? 0 : machine_slot;
        EXPECT_FALSE(decode_frame_header(forge(other_slot))) << name_of(type);
        FrameHeader huge = good;
        huge.table_bytes = huge.payload_bytes = control_payload_bytes_max + 4096;
        EXPECT_FALSE(decode_frame_header(forge(huge))) << name_of(type);
        if (type != FrameType::write && type != FrameType::base) {
            FrameHeader with_data = good;
            with_data.payload_bytes += 4096;
            EXPECT_FALSE(decode_frame_header(forge(with_data))) << name_of(type);
        }
    }
    FrameHeader hello = smallest(FrameType::hello);
    hello.session = SessionId{1};
    EXPECT_FALSE(decode_frame_header(forge(hello)));
    FrameHeader ping = smallest(FrameType::ping);
    ping.seq = Seq{1};
    EXPECT_FALSE(decode_frame_header(forge(ping)));
}

TEST(Frame, RandomHeadersNeverDecodeToSomethingThatCannotBeEncoded) {
    const auto random = make_seeded_random(20260101);
    std::size_t accepted = 0;
    for (int round = 0; round < 20'000; ++round) {
        FrameHeader header = smallest(static_cast<FrameType>(1 + random->below(26)));
        switch (random->below(5)) {
            case 0:
                header.payload_bytes = static_cast<std::uint32_t>(random->next_u64());
                break;
            case 1:
                header.table_bytes = static_cast<std::uint32_t>(random->below(1 << 17));
                break;
            case 2:
                header.disk_slot = static_cast<std::uint16_t>(random->next_u64());
                break;
            case 3:
                header.seq = Seq{random->below(3)};
                break;
            default:
                header.ordinal = static_cast<std::uint32_t>(random->below(3));
        }
        const auto bytes = forge(header);
        if (const auto decoded = decode_frame_header(bytes); decoded) {
            ++accepted;
            ASSERT_EQ(encode_frame_header(*decoded), bytes);
        }
    }
    EXPECT_GT(accepted, 100U);
}

TEST(Frame, ControlFrameCarriesTheChecksumOfItsPayload) {
    const ByteVector payload(8, std::byte{5});
    const ByteVector frame = encode_control_frame({.type = FrameType::ping}, payload);
    const auto header = decode_frame_header(Bytes(frame).first(frame_header_bytes));
    ASSERT_TRUE(header);
    EXPECT_TRUE(check_table(*header, Bytes(frame).subspan(frame_header_bytes)));
    ByteVector spoiled = payload;
    spoiled[7] ^= std::byte{1};
    const auto checked = check_table(*header, spoiled);
    ASSERT_FALSE(checked);
    EXPECT_EQ(checked.error().code, Errc::payload_corrupt);
}

}  // namespace
}  // namespace cw::wire
