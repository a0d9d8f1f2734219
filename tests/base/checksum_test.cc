#include "base/checksum.h"

#include "base/random.h"

#include <gtest/gtest.h>

namespace cw {
namespace {

ByteVector random_bytes(std::size_t size, std::uint64_t seed) {
    ByteVector bytes(size);
    make_seeded_random(seed)->fill(bytes);
    return bytes;
}

// The definition itself, one bit at a time: reflected polynomial, inverted at both ends.
template <typename Word>
Word crc_by_bits(Bytes bytes, Word polynomial) {
    Word state = ~Word{0};
    for (const std::byte b : bytes) {
        state ^= std::to_integer<Word>(b);
        for (int i = 0; i < 8; ++i) {
            state = (state >> 1) ^ ((state & 1) != 0 ? polynomial : 0);
        }
    }
    return ~state;
}

TEST(Crc32c, MatchesPublishedVectors) {
    EXPECT_EQ(crc32c({}), 0U);
    EXPECT_EQ(crc32c(as_bytes("123456789")), 0xe3069283U);
    // RFC 3720, B.4.
    EXPECT_EQ(crc32c(ByteVector(32, std::byte{0})), 0x8a9136aaU);
    EXPECT_EQ(crc32c(ByteVector(32, std::byte{0xff})), 0x62a8ab43U);
}

TEST(Crc64Nvme, MatchesPublishedVectors) {
    EXPECT_EQ(crc64nvme({}), 0U);
    EXPECT_EQ(crc64nvme(as_bytes("a")), 0x8c2f8445b4cbfc3cULL);
    EXPECT_EQ(crc64nvme(as_bytes("123456789")), 0xae8b14860a799888ULL);
    EXPECT_EQ(crc64nvme(ByteVector(4096, std::byte{0})), 0x6482d367eb22b64eULL);
    EXPECT_EQ(crc64nvme(ByteVector(4096, std::byte{0xff})), 0xc0ddba7302eca3acULL);
}

TEST(Checksums, EqualTheirDefinitionAtEveryLengthAndAlignment) {
    const ByteVector bytes = random_bytes(2048, 1);
    for (std::size_t size = 0; size < 700; ++size) {
        const Bytes part = Bytes(bytes).subspan(size % 61, size);
        ASSERT_EQ(crc32c(part), crc_by_bits<std::uint32_t>(part, 0x82f63b78U)) << size;
        ASSERT_EQ(crc64nvme(part), crc_by_bits<std::uint64_t>(part, 0x9a6c9329ac4bc9b5ULL)) << size;
        ASSERT_EQ(crc64nvme(part), crc64nvme_portable(part)) << size;
    }
    const ByteVector large = random_bytes((1 << 20) + 37, 2);
    EXPECT_EQ(crc64nvme(large), crc64nvme_portable(large));
}

TEST(Checksums, ChainOverAnySplit) {
    const ByteVector bytes = random_bytes(5000, 3);
    const Bytes all(bytes);
    for (const std::size_t cut : {0UL, 1UL, 16UL, 127UL, 128UL, 4096UL, 4999UL, 5000UL}) {
        EXPECT_EQ(crc32c(all.subspan(cut), crc32c(all.first(cut))), crc32c(all)) << cut;
        EXPECT_EQ(crc64nvme(all.subspan(cut), crc64nvme(all.first(cut))), crc64nvme(all)) << cut;
    }
}

TEST(Checksums, ChangeWithEveryBit) {
    ByteVector bytes = random_bytes(300, 4);
    const std::uint32_t crc32 = crc32c(bytes);
    const std::uint64_t crc64 = crc64nvme(bytes);
    for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
        const auto flip = static_cast<std::byte>(1U << (bit % 8));
        bytes[bit / 8] ^= flip;
        ASSERT_NE(crc32c(bytes), crc32) << bit;
        ASSERT_NE(crc64nvme(bytes), crc64) << bit;
        bytes[bit / 8] ^= flip;
    }
}

TEST(Fingerprint, DependsOnTheSecretAndOnTheBytes) {
    FingerprintSecret secret{};
    make_seeded_random(5)->fill(secret);
    ByteVector block = random_bytes(65536, 6);
    const Fingerprint first = fingerprint(block, secret);
    EXPECT_EQ(fingerprint(block, secret), first);
    block[65535] ^= std::byte{1};
    EXPECT_NE(fingerprint(block, secret), first);
    block[65535] ^= std::byte{1};
    secret[100] ^= std::byte{1};
    EXPECT_NE(fingerprint(block, secret), first);
}

TEST(Fingerprint, KeepsItsValueAcrossVersionsAndMachines) {
    FingerprintSecret secret{};
    make_seeded_random(7)->fill(secret);
    // Stored in vaults: a change here is a change of the format.
    EXPECT_EQ(to_hex(fingerprint(ByteVector(65536, std::byte{0x5a}), secret)),
              "7e383b350192cddab4891d836162441a");
}

TEST(AllZero, SeesASingleByteAnywhere) {
    EXPECT_TRUE(all_zero({}));
    ByteVector bytes(1000, std::byte{0});
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        ASSERT_TRUE(all_zero(Bytes(bytes).first(i)));
        bytes[i] = std::byte{1};
        ASSERT_FALSE(all_zero(bytes)) << i;
        ASSERT_FALSE(all_zero(Bytes(bytes).first(i + 1))) << i;
        ASSERT_TRUE(all_zero(Bytes(bytes).first(i))) << i;
        bytes[i] = std::byte{0};
    }
}

}  // namespace
}  // namespace cw
