#include "ingest/wire/messages.h"

#include "base/random.h"
#include "ingest/wire/frame.h"
#include "tests/wire/samples.h"

#include <typeinfo>

#include <gtest/gtest.h>

namespace cw::wire {
namespace {

template <typename T>
void poke(ByteVector& bytes, std::size_t at, T value) {
    ASSERT_LE(at + sizeof value, bytes.size());
    std::memcpy(bytes.data() + at, &value, sizeof value);
}

template <typename Message>
void expect_refused(const ByteVector& bytes, const char* what) {
    const auto decoded = decode<Message>(bytes);
    ASSERT_FALSE(decoded) << what;
    EXPECT_EQ(decoded.error().code, Errc::frame_malformed) << what;
}

TEST(Messages, SurviveARoundTrip) {
    samples::for_each([]<typename Message>(const Message& message) {
        const ByteVector bytes = encode(message);
        const auto decoded = decode<Message>(bytes);
        ASSERT_TRUE(decoded) << typeid(Message).name() << to_string(decoded.error());
        EXPECT_EQ(encode(*decoded), bytes) << typeid(Message).name();
    });
}

TEST(Messages, EveryTruncationAndEveryExtraByteIsRefused) {
    samples::for_each([]<typename Message>(const Message& message) {
        ByteVector bytes = encode(message);
        for (std::size_t length = 0; length < bytes.size(); ++length) {
            ASSERT_FALSE(decode<Message>(Bytes(bytes).first(length)))
                << typeid(Message).name() << " " << length;
        }
        bytes.push_back(std::byte{0});
        expect_refused<Message>(bytes, typeid(Message).name());
    });
}

// Whatever decodes must encode to the same bytes: one meaning has one form, and the bounds that
// decode checks are at least those that encode asserts.
TEST(Messages, EveryAcceptedMutationIsCanonical) {
    const auto random = make_seeded_random(7);
    samples::for_each([&]<typename Message>(const Message& message) {
        const ByteVector good = encode(message);
        for (int round = 0; round < 3000; ++round) {
            ByteVector bytes = good;
            for (std::uint64_t flips = 1 + random->below(3); flips > 0; --flips) {
                bytes[random->below(bytes.size())] = static_cast<std::byte>(random->below(256));
            }
            if (const auto decoded = decode<Message>(bytes); decoded) {
                ASSERT_EQ(encode(*decoded), bytes) << typeid(Message).name();
            } else {
                ASSERT_EQ(decoded.error().code, Errc::frame_malformed);
            }
        }
    });
}

TEST(Messages, HelloFieldsOutOfRangeAreRefused) {
    const ByteVector good = encode(samples::hello());
    const std::size_t texts = 16 + 2 + 20 + 2 + 4;  // Up to and with the two texts.
    const std::size_t count_at = texts + 8 + 8 + 32, disk = count_at + 2;
    const auto spoiled = [&](std::size_t at, auto value) {
        ByteVector bytes = good;
        poke(bytes, at, value);
        return bytes;
    };
    ASSERT_EQ(good[count_at], std::byte{2});
    expect_refused<Hello>(spoiled(0, std::uint16_t{0}), "version 0");
    expect_refused<Hello>(spoiled(0, std::uint16_t{2}), "version min above max");
    expect_refused<Hello>(spoiled(12, std::uint32_t{9}), "a bulk connection that lists disks");
    expect_refused<Hello>(spoiled(16, std::uint16_t{257}), "software name too long");
    expect_refused<Hello>(spoiled(16, std::uint16_t{0xffff}), "software name huge");
    expect_refused<Hello>(spoiled(count_at, std::uint16_t{0}), "no disk");
    expect_refused<Hello>(spoiled(count_at, std::uint16_t{257}), "too many disks");
    expect_refused<Hello>(spoiled(disk + 16, std::uint64_t{0}), "disk of size 0");
    expect_refused<Hello>(spoiled(disk + 16, std::uint64_t{513}), "size not in sectors");
    expect_refused<Hello>(spoiled(disk + 16, disk_bytes_max + 512), "disk too large");
    expect_refused<Hello>(spoiled(disk + 32, std::uint64_t{0}), "next sequence 0");
    expect_refused<Hello>(spoiled(disk + 40, std::uint64_t{101}), "oldest above next");
    expect_refused<Hello>(spoiled(disk + 40, std::uint64_t{0}), "oldest 0");
    expect_refused<Hello>(spoiled(disk + 48, std::uint8_t{2}), "truth value 2");
    Hello twice = samples::hello();
    twice.disks[1].id = twice.disks[0].id;
    expect_refused<Hello>(encode(twice), "a disk twice");
    ByteVector nil = good;
    std::fill_n(nil.begin() + static_cast<std::ptrdiff_t>(disk), 16, std::byte{0});
    expect_refused<Hello>(nil, "nil disk id");
}

TEST(Messages, HelloOfABulkConnectionListsNoDisks) {
    Hello bulk = samples::hello();
    bulk.disks.clear();
    bulk.joins = SessionId{77};
    const auto decoded = decode<Hello>(encode(bulk));
    ASSERT_TRUE(decoded);
    EXPECT_EQ(decoded->joins, SessionId{77});
}

TEST(Messages, WelcomeThatContradictsItselfIsRefused) {
    const ByteVector good = encode(samples::welcome());
    const std::size_t disk = 2 + 8 + 4 + 8 + 4 + fingerprint_secret_bytes + 8 + 32 + 2;
    const auto spoiled = [&](std::size_t at, auto value) {
        ByteVector bytes = good;
        poke(bytes, at, value);
        return bytes;
    };
    expect_refused<Welcome>(spoiled(0, std::uint16_t{2}), "a version we do not speak");
    expect_refused<Welcome>(spoiled(10, std::uint32_t{0}), "session 0");
    expect_refused<Welcome>(spoiled(22, std::uint32_t{65}), "bulk connections");
    expect_refused<Welcome>(spoiled(disk - 2, std::uint16_t{257}), "disk count");
    expect_refused<Welcome>(spoiled(disk, std::uint8_t{0}), "action 0");
    expect_refused<Welcome>(spoiled(disk, std::uint8_t{6}), "action 6");
    expect_refused<Welcome>(spoiled(disk + 17, std::uint64_t{100}), "committed above durable");
    expect_refused<Welcome>(spoiled(disk + 25, std::uint8_t{1}), "open resync without a fence");
    expect_refused<Welcome>(spoiled(disk + 26, std::uint64_t{1}), "fence without a resync");
    expect_refused<Welcome>(spoiled(disk + 34, std::uint32_t{0xffffffff}), "bitmap of 4 GiB");
}

TEST(Messages, LargeBitmapsAreShortenedToFitTheFrame) {
    Welcome welcome = samples::welcome();
    welcome.disks[0].resync_open = true;
    welcome.disks[0].fence = Seq{1};
    welcome.disks[0].base_durable.assign(900'000, std::byte{0xff});
    welcome.disks[1].base_durable.assign(900'000, std::byte{0xff});
    fit_to_frame(welcome);
    const ByteVector bytes = encode(welcome);
    EXPECT_EQ(bytes.size(), control_payload_bytes_max);
    EXPECT_TRUE(decode<Welcome>(bytes));
    EXPECT_EQ(welcome.disks[1].base_durable.size(), 900'000U);
}

TEST(Messages, AckWatermarksAndOrdinalsAreBounded) {
    const ByteVector good = encode(samples::ack());
    const std::size_t disk = 8 + 32 + 2;
    const auto spoiled = [&](std::size_t at, auto value) {
        ByteVector bytes = good;
        poke(bytes, at, value);
        return bytes;
    };
    expect_refused<Ack>(spoiled(disk, std::uint16_t{256}), "slot");
    expect_refused<Ack>(spoiled(disk + 18, std::uint64_t{111}), "committed above spooled");
    expect_refused<Ack>(spoiled(disk + 34, std::uint32_t{0xffffffff}), "ordinals of 16 GiB");
    const std::size_t second = disk + 42;
    expect_refused<Ack>(spoiled(second + 26, std::uint64_t{0}), "ordinals without a fence");
    expect_refused<Ack>(spoiled(second + 38, std::uint32_t{1U << 24}), "ordinal beyond any disk");
    Ack full = samples::ack();
    full.disks[1].base_spooled.assign(ack_ordinals_max, 1);
    full.disks[1].base_committed.clear();
    EXPECT_TRUE(decode<Ack>(encode(full)));
    EXPECT_LE(encode(full).size(), control_payload_bytes_max);
}

TEST(Messages, SmallMessagesCheckEachField) {
    const auto refuse = []<typename Message>(Message message, std::size_t at, auto value) {
        ByteVector bytes = encode(message);
        poke(bytes, at, value);
        expect_refused<Message>(bytes, typeid(Message).name());
    };
    refuse(samples::nak(), 0, std::uint16_t{256});
    refuse(samples::nak(), 2, std::uint8_t{0});
    refuse(samples::nak(), 2, std::uint8_t{7});
    refuse(samples::nak(), 3, std::uint64_t{0});
    refuse(samples::nak(), 11, std::uint16_t{513});
    refuse(samples::point_status(), 16, std::uint8_t{5});
    refuse(samples::mode(), 0, std::uint8_t{4});
    refuse(samples::error(), 2, std::uint32_t{86'401});
    refuse(samples::goodbye(), 0, std::uint8_t{2});
    refuse(samples::goodbye(), 1, std::uint16_t{257});
    refuse(samples::goodbye(), 3, std::uint16_t{256});
    refuse(samples::resync_begin(), 0, std::uint8_t{5});
    refuse(Resize{4096}, 0, std::uint64_t{0});
    refuse(Resize{4096}, 0, std::uint64_t{100});
    refuse(Resize{4096}, 0, std::uint64_t{0} - 512);
    refuse(samples::policy(), 0, std::uint64_t{interval_ms_min - 1});
    refuse(SummariesRequest{0, 1}, 4, std::uint32_t{0});
    refuse(SummariesRequest{0, 1}, 4, std::uint32_t{summaries_max + 1});
    refuse(SummariesRequest{0, 1}, 0, std::uint32_t{disk_bytes_max / super_chunk_bytes});
    refuse(samples::summaries(), 4, std::uint32_t{4});
    refuse(samples::summaries(), 8, std::uint64_t{0});  // A digest of no block.
    refuse(samples::policy(), 0, std::uint64_t{interval_ms_max + 1});
    refuse(samples::policy(), 8, std::uint64_t{app_interval_ms_max + 1});
    ByteVector nil = encode(samples::point_status());
    std::fill_n(nil.begin(), 16, std::byte{0});
    expect_refused<PointStatus>(nil, "nil point");
}

TEST(Messages, RangesOfBlocksAndExtentsAreBounded) {
    const auto refuse = []<typename Message>(Message message, std::size_t at, auto value) {
        ByteVector bytes = encode(message);
        poke(bytes, at, value);
        expect_refused<Message>(bytes, typeid(Message).name());
    };
    refuse(HashesRequest{0, 1}, 8, std::uint32_t{0});
    refuse(HashesRequest{0, 1}, 8, std::uint32_t{4097});
    refuse(HashesRequest{0, 1}, 0, std::uint64_t{0} - 1);
    refuse(HashesRequest{0, 2}, 0, disk_bytes_max / hash_block_bytes - 1);
    refuse(samples::hashes(), 8, std::uint32_t{4097});
    refuse(samples::hashes(), 13, std::uint8_t{0x81});  // A bit beyond the last block.
    refuse(samples::extents(), 0, std::uint32_t{4097});
    refuse(samples::extents(), 4 + 16, std::uint64_t{0});        // Overlaps the first range.
    refuse(samples::extents(), 4 + 8, std::uint64_t{0});         // Empty.
    refuse(samples::extents(), 4 + 40, std::uint64_t{0} - 512);  // Wraps around.
    refuse(samples::extents(), 4 + 32, std::uint64_t{100});      // Not in sectors.
}

}  // namespace
}  // namespace cw::wire
