// Replica logs: the format, and what becomes of a directory of them.
#include "agent/hrl/hrl_source.h"
#include "agent/hrl/hrl_writer.h"
#include "tests/agent/harness.h"

#include <fstream>

namespace cw::agent::test {
namespace {

constexpr std::uint64_t disk_bytes = 16 * mib;

HrlId id_of(unsigned char number) {
    HrlId id{};
    id.fill(std::byte{number});
    return id;
}

struct Write {
    std::uint64_t offset;
    std::size_t length;
    std::uint8_t fill;
};

class Hrl : public testing::Test {
protected:
    Hrl() { std::filesystem::create_directories(logs_); }
    std::string path(const std::string& name) const { return logs_ + "/" + name + ".hrl"; }
    // A log `id` that continues `previous`.
    void make(const std::string& name, unsigned char id, unsigned char previous,
              const std::vector<Write>& writes) {
        HrlHeader header;
        header.id = id_of(id);
        header.previous = id_of(previous);
        auto log = HrlWriter::create(*h_.disk, path(name), header, 1000).value();
        for (const Write& write : writes) {
            const ByteVector data(write.length, std::byte{write.fill});
            ASSERT_TRUE(log.write(write.offset, data, 1001).has_value());
        }
        ASSERT_TRUE(log.close(1002).has_value());
    }
    void patch(const std::string& name, std::uint64_t at, std::uint8_t value) {
        std::fstream file(path(name), std::ios::in | std::ios::out | std::ios::binary);
        file.seekp(static_cast<std::streamoff>(at));
        file.put(static_cast<char>(value));
    }
    Result<std::unique_ptr<HrlSource>> open(std::optional<unsigned char> after = {}) {
        HrlSource::Options options{
            .directory = logs_, .state_path = h_.directory + "/hrl.last", .after = {}};
        if (after) {
            options.after = id_of(*after);
        }
        return HrlSource::open(options, {*h_.disk, *h_.replicator, *h_.captures[0], h_.clock});
    }
    bool run_until(HrlSource& source, const std::function<bool()>& done) {
        return h_.run_until([&] {
            source.step();
            return done();
        });
    }
    bool applies(HrlSource& source, unsigned char id) {
        return run_until(source, [&] { return source.last() == id_of(id); });
    }
    Errc trouble_of(HrlSource& source) {
        EXPECT_TRUE(run_until(source, [&] { return source.trouble().has_value(); }));
        return source.trouble()->code;
    }
    std::byte byte_at(std::uint64_t offset) { return h_.images[0]->copy()[offset]; }

    Harness h_;
    const std::string logs_ = h_.directory + "/logs";
};

TEST_F(Hrl, ChainIsAppliedInItsOrderAndEachLogIsAPoint) {
    ASSERT_TRUE(h_.run_until_protected());
    // Names and arrival say nothing: the chain does.
    make("a", 3, 2, {{0, 4096, 3}, {8 * mib, 512, 3}});
    make("b", 2, 1, {{0, 8192, 2}});
    auto source = open(1).value();
    ASSERT_TRUE(applies(*source, 3));
    EXPECT_EQ(byte_at(0), std::byte{3});
    EXPECT_EQ(byte_at(4096), std::byte{2});
    EXPECT_EQ(byte_at(8 * mib), std::byte{3});
    ASSERT_TRUE(h_.run_until([&] { return h_.server.points.size() == 2; }));
    EXPECT_EQ(h_.server.points[0].point.tag, "b.hrl");
    EXPECT_EQ(h_.server.points[1].point.tag, "a.hrl");
    EXPECT_EQ(raw(h_.server.points[1].point.source_time), (hrl_epoch_s + 1002) * 1'000'000);
    const auto& cuts = h_.server.points[0].point.cuts;
    EXPECT_EQ(h_.server.materialise(h_.id_of(0), cuts[0].cut)[0], std::byte{2});
    EXPECT_TRUE(h_.server.materialise(h_.id_of(0), h_.server.points[1].point.cuts[0].cut) ==
                h_.images[0]->copy());
    // It remembers: what was applied is not applied again, and what follows is.
    source = open(1).value();
    EXPECT_EQ(source->last(), id_of(3));
    make("c", 4, 3, {{0, 512, 4}});
    ASSERT_TRUE(applies(*source, 4));
    h_.expect_no_violations();
}

TEST_F(Hrl, HoleInTheChainWaitsAndIsHealedByTheMissingLog) {
    ASSERT_TRUE(h_.run_until_protected());
    make("third", 3, 2, {{0, 512, 3}});
    auto source = open(1).value();
    EXPECT_EQ(trouble_of(*source), Errc::hrl_broken);
    EXPECT_EQ(byte_at(0), std::byte{0});
    make("second", 2, 1, {{512, 512, 2}});
    ASSERT_TRUE(applies(*source, 3));
    EXPECT_FALSE(source->trouble().has_value());
}

TEST_F(Hrl, TwoLogsThatContinueTheSameAreNotChosenFrom) {
    ASSERT_TRUE(h_.run_until_protected());
    make("one", 2, 1, {{0, 512, 2}});
    make("other", 3, 1, {{0, 512, 3}});
    auto source = open(1).value();
    EXPECT_EQ(trouble_of(*source), Errc::hrl_broken);
    EXPECT_EQ(byte_at(0), std::byte{0});
    EXPECT_TRUE(h_.server.points.empty());
}

TEST_F(Hrl, DamagedDataIsFoundBeforeAnyOfTheLogIsApplied) {
    ASSERT_TRUE(h_.run_until_protected());
    make("bad", 2, 1, {{0, 512, 2}, {mib, 4096, 2}});
    patch("bad", 2 * hrl_block_bytes + 512 + 77, 9);  // In the data of the second write.
    auto source = open(1).value();
    EXPECT_EQ(trouble_of(*source), Errc::hrl_broken);
    EXPECT_EQ(byte_at(0), std::byte{0});
    EXPECT_FALSE(source->applying());
}

TEST_F(Hrl, LogThatIsStillWrittenIsLeftAlone) {
    ASSERT_TRUE(h_.run_until_protected());
    HrlHeader header;
    header.id = id_of(2);
    header.previous = id_of(1);
    auto log = HrlWriter::create(*h_.disk, path("open"), header, 1).value();
    ASSERT_TRUE(log.write(0, ByteVector(512, std::byte{2}), 1).has_value());
    auto source = open(1).value();
    for (int i = 0; i < 50; ++i) {
        source->step();
        h_.clock.advance(ns_per_s);
    }
    EXPECT_FALSE(source->trouble().has_value());
    EXPECT_EQ(HrlReader::open(*h_.disk, path("open"), false).error().code, Errc::in_use);
    ASSERT_TRUE(log.close(2).has_value());
    ASSERT_TRUE(applies(*source, 2));
}

TEST_F(Hrl, KilledInTheMiddleAppliesTheLogAgainBeforeAnyPoint) {
    ASSERT_TRUE(h_.run_until_protected());
    make("big", 2, 1,
         {{0, mib, 2},
          {mib, mib, 2},
          {2 * mib, mib, 2},
          {3 * mib, mib, 2},
          {4 * mib, mib, 2},
          {5 * mib, mib, 2},
          {6 * mib, mib, 2},
          {7 * mib, mib, 2},
          {8 * mib, mib, 2},
          {9 * mib, mib, 2},
          {10 * mib, mib, 2}});
    auto source = open(1).value();
    ASSERT_TRUE(run_until(*source, [&] { return byte_at(0) == std::byte{2}; }));
    ASSERT_EQ(byte_at(10 * mib), std::byte{0});
    source = open(1).value();
    EXPECT_TRUE(source->applying());
    EXPECT_EQ(source->last(), id_of(1));
    ASSERT_TRUE(applies(*source, 2));
    EXPECT_FALSE(source->applying());
    EXPECT_EQ(byte_at(10 * mib), std::byte{2});
    ASSERT_TRUE(h_.run_until([&] { return h_.server.points.size() == 1; }));
}

TEST_F(Hrl, NeedsToKnowWhereTheImageEnds) {
    const auto source = open();
    ASSERT_FALSE(source.has_value());
    EXPECT_EQ(source.error().code, Errc::usage);
}

TEST_F(Hrl, EveryDamagedByteOfTheStructureIsRefusedOrHarmless) {
    std::vector<Write> writes;
    writes.reserve(130);
    for (std::uint64_t i = 0; i < 130; ++i) {  // Two metadata blocks.
        writes.push_back({i * 4096, 512, 1});
    }
    make("log", 2, 1, writes);
    const std::uint64_t size = std::filesystem::file_size(path("log"));
    for (std::uint64_t at = 0; at < 126; ++at) {  // The header's fields.
        const std::uint8_t before =
            std::to_integer<std::uint8_t>(read_file(*h_.disk, path("log"), size).value()[at]);
        patch("log", at, static_cast<std::uint8_t>(before ^ 0x5a));
        EXPECT_FALSE(HrlReader::open(*h_.disk, path("log"), true).has_value()) << at;
        patch("log", at, before);
    }
    for (std::uint64_t at = size - hrl_block_bytes; at < size;
         ++at) {  // The last block: 3 entries.
        const bool used = at - (size - hrl_block_bytes) < 32 + 3 * 32;
        const std::uint8_t before =
            std::to_integer<std::uint8_t>(read_file(*h_.disk, path("log"), size).value()[at]);
        patch("log", at, static_cast<std::uint8_t>(before ^ 0x5a));
        EXPECT_EQ(HrlReader::open(*h_.disk, path("log"), true).has_value(), !used) << at;
        patch("log", at, before);
    }
    auto whole = HrlReader::open(*h_.disk, path("log"), true).value();
    EXPECT_EQ(whole.next(100).error().code, Errc::hrl_broken);  // Not within a disk of that size.
}

TEST(HrlFormat, ChecksumsAndIdsAreThoseOfTheSpecification) {
    // Printed in [MS-HRL] 4: metadata blocks of 0 and of 58 entries, one entry without a checksum.
    const ByteVector empty = encode_hrl_block({});
    EXPECT_EQ(ByteReader(Bytes(empty).subspan(12), Errc::hrl_broken).u32().value(), 4294967295U);
    HrlBlock block{.back = 324096, .entries = std::vector<HrlEntry>(58)};
    const ByteVector full = encode_hrl_block(block);
    EXPECT_EQ(ByteReader(Bytes(full).subspan(12), Errc::hrl_broken).u32().value(), 4294966991U);
    block.entries[0] = {3626348544, 4096, 539842381, 0};
    const ByteVector entry = encode_hrl_block(block);
    EXPECT_EQ(ByteReader(Bytes(entry).subspan(32 + 8), Errc::hrl_broken).u32().value(),
              4294966608U);
    const char* const text = "572fc7ff-1f03-49ab-b3c5-30a665b8e20c";
    const HrlId id = parse_hrl_id(text).value();
    EXPECT_EQ(id[0], std::byte{0xff});
    EXPECT_EQ(id[8], std::byte{0xb3});
    EXPECT_EQ(hrl_id_text(id), text);
}

}  // namespace
}  // namespace cw::agent::test
