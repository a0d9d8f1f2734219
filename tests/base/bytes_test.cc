#include "base/bytes.h"

#include "base/ids.h"
#include "base/random.h"

#include <gtest/gtest.h>

namespace cw {
namespace {

TEST(Hex, RoundTripsAndRefusesNonsense) {
    const ByteVector bytes{std::byte{0x00}, std::byte{0xab}, std::byte{0xff}};
    EXPECT_EQ(to_hex(bytes), "00abff");
    EXPECT_EQ(from_hex("00ABff").value(), bytes);
    EXPECT_EQ(from_hex("0").error().code, Errc::usage);
    EXPECT_EQ(from_hex("0g").error().code, Errc::usage);
}

TEST(Base64, MatchesRfc4648AndRefusesNonsense) {
    const std::pair<const char*, const char*> vectors[] = {{"", ""},
                                                           {"f", "Zg=="},
                                                           {"fo", "Zm8="},
                                                           {"foo", "Zm9v"},
                                                           {"foob", "Zm9vYg=="},
                                                           {"fooba", "Zm9vYmE="},
                                                           {"foobar", "Zm9vYmFy"}};
    for (const auto& [plain, coded] : vectors) {
        EXPECT_EQ(to_base64(as_bytes(plain)), coded);
        EXPECT_EQ(as_text(from_base64(coded).value()), plain);
    }
    for (const char* bad : {"Zg=", "Z===", "====", "Zg==Zg==", "Zm9*", "Zm=v"}) {
        EXPECT_FALSE(from_base64(bad)) << bad;
    }
}

TEST(ByteReader, ReportsTheGivenCodeAtEveryShortLength) {
    ByteVector bytes;
    ByteAppender out(bytes);
    out.u8(1);
    out.u16(2);
    out.u32(3);
    out.u64(4);
    out.text16("five");
    const auto read_all = [](Bytes from) -> Result<void> {
        ByteReader in(from, Errc::record_corrupt);
        CW_TRY_ASSIGN(const auto a, in.u8());
        CW_TRY_ASSIGN(const auto b, in.u16());
        CW_TRY_ASSIGN(const auto c, in.u32());
        CW_TRY_ASSIGN(const auto d, in.u64());
        CW_TRY_ASSIGN(const auto e, in.text16(10));
        EXPECT_TRUE(a == 1 && b == 2 && c == 3 && d == 4 && e == "five" && in.at_end());
        return {};
    };
    EXPECT_TRUE(read_all(bytes));
    for (std::size_t size = 0; size < bytes.size(); ++size) {
        const auto result = read_all(Bytes(bytes).first(size));
        ASSERT_FALSE(result) << size;
        EXPECT_EQ(result.error().code, Errc::record_corrupt);
    }
}

TEST(ByteReader, BoundsTheLengthOfTexts) {
    ByteVector bytes;
    ByteAppender(bytes).text16("123456");
    EXPECT_FALSE(ByteReader(bytes, Errc::frame_malformed).text16(5));
}

TEST(ByteWriterDeathTest, AbortsInsteadOfRunningOverTheEnd) {
    std::array<std::byte, 4> space{};
    ByteWriter out(space);
    out.u16(0x0201);
    out.zeros(1);
    EXPECT_EQ(out.remaining(), 1U);
    EXPECT_EQ(space[0], std::byte{1});
    EXPECT_DEATH(out.u16(1), "invariant broken");
}

TEST(Uuid, RoundTripsAndRefusesOtherForms) {
    const auto random = make_seeded_random(1);
    const auto id = make_id<MachineId>(*random);
    const std::string text = to_string(id);
    EXPECT_EQ(text.size(), 36U);
    EXPECT_EQ(text[14], '4');  // Version.
    EXPECT_EQ(parse_id<MachineId>(text).value(), id);
    for (const std::string& bad : {std::string(), text.substr(1), text + "0", "x" + text.substr(1),
                                   std::string(36, '-'), "{" + text.substr(0, 34) + "}"}) {
        EXPECT_EQ(parse_id<MachineId>(bad).error().code, Errc::usage) << bad;
    }
}

}  // namespace
}  // namespace cw
