#include "pipeline/extent_table.h"

#include "base/checksum.h"
#include "base/random.h"

#include <gtest/gtest.h>

namespace cw::pipeline {
namespace {

constexpr std::uint64_t disk_bytes = 1 * gib;

ExtentTable two_writes_and_a_zero() {
    ExtentTable table{.base_time = WallMicros{1'700'000'000'000'000}, .extents = {}};
    table.extents.push_back({.offset = 0, .length = 4096, .data_position = 0, .crc = 1});
    table.extents.push_back({.offset = 512, .length = 8192, .op = ExtentOp::zero});
    table.extents.push_back(
        {.offset = 1024, .length = 512, .data_position = 4096, .crc = 2, .time_delta_us = 9});
    return table;
}

ByteVector encoded(const ExtentTable& table) {
    ByteVector bytes(extent_table_bytes(table.extents.size()));
    write_extent_table(table, bytes);
    return bytes;
}

Errc error_of(const ByteVector& bytes, std::uint32_t data_bytes = 8192) {
    const auto read = read_extent_table(bytes, data_bytes, disk_bytes);
    EXPECT_FALSE(read.has_value());
    return read ? Errc::internal : read.error().code;
}

void put_u32(ByteVector& bytes, std::size_t at, std::uint32_t value) {
    std::memcpy(bytes.data() + at, &value, sizeof value);
}
void put_u64(ByteVector& bytes, std::size_t at, std::uint64_t value) {
    std::memcpy(bytes.data() + at, &value, sizeof value);
}

TEST(ExtentTable, ReadsWhatWasWritten) {
    const ExtentTable table = two_writes_and_a_zero();
    const auto read = read_extent_table(encoded(table), 8192, disk_bytes);
    ASSERT_TRUE(read) << to_string(read.error());
    EXPECT_EQ(read->base_time, table.base_time);
    ASSERT_EQ(read->extents.size(), 3U);
    for (std::size_t i = 0; i < 3; ++i) {
        EXPECT_EQ(read->extents[i].offset, table.extents[i].offset);
        EXPECT_EQ(read->extents[i].length, table.extents[i].length);
        EXPECT_EQ(read->extents[i].op, table.extents[i].op);
        EXPECT_EQ(read->extents[i].data_position, table.extents[i].data_position);
        EXPECT_EQ(read->extents[i].crc, table.extents[i].crc);
        EXPECT_EQ(read->extents[i].time_delta_us, table.extents[i].time_delta_us);
    }
}

TEST(ExtentTable, HoldsAsManyExtentsAsItsLimitSays) {
    ExtentTable table;
    table.extents.resize(extents_per_record_max, {.length = 512, .op = ExtentOp::discard});
    const ByteVector bytes = encoded(table);
    EXPECT_EQ(bytes.size(), table_bytes_max);
    EXPECT_TRUE(read_extent_table(bytes, 0, disk_bytes));
}

TEST(ExtentTable, RefusesEveryFieldOutOfBounds) {
    constexpr std::size_t first = extent_table_head_bytes, last = first + 2 * extent_entry_bytes;
    const ByteVector good = encoded(two_writes_and_a_zero());
    struct Case {
        const char* what;
        std::size_t at;
        std::uint32_t value;
    };
    const Case cases[] = {
        {"magic", 0, 0},
        {"no extents", 4, 0},
        {"more extents than the table holds", 4, 200},
        {"zero length", first + 8, 0},
        {"length not a sector multiple", first + 8, 513},
        {"length above 8 MiB", first + 8, 9 * 1024 * 1024},
        {"unknown operation", first + 12, 3},
        {"data position not a block multiple", last + 16, 512},
        {"data positions overlap", last + 16, 0},
        {"data beyond the record", last + 16, 8192},
        {"reserved field", first + 28, 1},
        {"zero with a CRC", first + extent_entry_bytes + 20, 1},
        {"padding", 4092, 1},
    };
    for (const Case& c : cases) {
        ByteVector bytes = good;
        put_u32(bytes, c.at, c.value);
        EXPECT_EQ(error_of(bytes), Errc::frame_malformed) << c.what;
    }
    ByteVector unaligned = good;
    put_u64(unaligned, first, 100);
    EXPECT_EQ(error_of(unaligned), Errc::frame_malformed);
    ByteVector beyond = good;
    put_u64(beyond, first, disk_bytes - 512);
    EXPECT_EQ(error_of(beyond), Errc::size_mismatch);
    ByteVector overflow = good;
    put_u64(overflow, first, UINT64_MAX - 511);
    EXPECT_EQ(error_of(overflow), Errc::size_mismatch);
}

TEST(ExtentTable, RefusesEveryShorterTable) {
    const ByteVector good = encoded(two_writes_and_a_zero());
    for (const std::size_t size : {0UL, 3UL, 15UL, 16UL, 47UL, 4095UL}) {
        const ByteVector bytes(good.begin(), good.begin() + static_cast<std::ptrdiff_t>(size));
        EXPECT_EQ(error_of(bytes), Errc::frame_malformed) << size;
    }
}

TEST(ExtentTable, ChecksDataAcrossSlabs) {
    auto pool = SlabPool::create("test", 2);
    ASSERT_TRUE(pool);
    const auto random = make_seeded_random(7);
    Record record;
    record.header.data_bytes = 2 * slab_bytes;
    for (int i = 0; i < 2; ++i) {
        record.slabs[static_cast<std::size_t>(i)] = (*pool)->try_take();
        random->fill(record.slabs[static_cast<std::size_t>(i)].bytes());
    }
    constexpr std::uint32_t position = slab_bytes - 4096, length = 8192;
    std::uint32_t crc = crc32c(record.data_in_slab(position, 4096));
    crc = crc32c(record.data_in_slab(slab_bytes, 4096), crc);
    ExtentTable table;
    table.extents.push_back({.offset = 0, .length = length, .data_position = position, .crc = crc});
    EXPECT_TRUE(check_extents(record, table));
    record.slabs[1].data()[4095] ^= std::byte{1};
    const auto flipped = check_extents(record, table);
    ASSERT_FALSE(flipped);
    EXPECT_EQ(flipped.error().code, Errc::payload_corrupt);
}

}  // namespace
}  // namespace cw::pipeline
