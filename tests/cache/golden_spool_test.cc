// Spools as released versions left them: each is still opened, read and gone on with. They lie in
// tests/cache/golden/v<n>; a new one is made by `CAUSEWAY_WRITE_GOLDEN=v<n> cache_test
// --gtest_filter=GoldenSpool.*`, when the format has a new version, and is never written again.
#include "tests/cache/spool_harness.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

namespace cw::cache::testing {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t seed = 20261122;
const char* const file_names[] = {"spool.id", "spool.log"};

// In the order in which they were appended.
std::vector<Record> golden_records() {
    const StreamKey writes = make_key(1, 1), fenced = make_key(2, 3, 4);
    std::vector<Record> out;
    out.push_back(make_write(writes, Seq{1}, 1));
    out.push_back(make_write(writes, Seq{2}, 2));
    out.push_back(make_control(fenced, RecordType::resync_begin, Seq{1}));
    out.push_back(make_base(fenced, Seq{1}, 0, 1));
    out.push_back(make_base(fenced, Seq{1}, 1, 1));
    out.push_back(make_write(fenced, Seq{2}, 1));
    Record end = make_control(fenced, RecordType::resync_end, Seq{3});
    end.header.ordinal = 2;
    out.push_back(std::move(end));
    out.push_back(make_write(writes, Seq{3}, 1));  // Behind the last checkpoint.
    out.push_back(make_control(writes, RecordType::flush, Seq{3}));
    return out;
}
constexpr std::size_t before_the_checkpoint = 7;

class GoldenSpool : public ::testing::Test {
protected:
    Process start(fakes::SimStorage& storage) {
        return {storage, clock_, *random_, small_options()};
    }
    void append(Process& process, std::vector<Record> records, std::size_t from, std::size_t to) {
        ASSERT_FALSE(process.refused) << to_string(*process.refused);
        (void)process.recovered();
        for (std::size_t i = from; i < to; ++i) {
            ASSERT_TRUE(process.spool->append(records[i]));
        }
        ASSERT_EQ(process.settle().size(), to - from);
    }
    // Of each file its size and its blocks that are not empty: u64 offset, then the block.
    static void save(fakes::SimStorage& storage, const fs::path& root) {
        const auto disk = storage.make_disk();
        fs::create_directories(root);
        for (const char* name : file_names) {
            const auto bytes = read_file(*disk, std::string(directory) + '/' + name, 64 * mib);
            ASSERT_TRUE(bytes);
            std::ofstream out(root / name, std::ios::binary);
            const auto number = [&out](std::uint64_t value) {
                std::array<std::byte, 8> text;
                ByteWriter(text).u64(value);
                out.write(reinterpret_cast<const char*>(text.data()), text.size());
            };
            number(bytes->size());
            for (std::size_t at = 0; at < bytes->size(); at += block_bytes) {
                const Bytes block = Bytes(*bytes).subspan(at, block_bytes);
                if (!all_zero(block)) {
                    number(at);
                    out.write(as_text(block).data(), block_bytes);
                }
            }
        }
    }
    void load(const fs::path& root) {
        const auto disk = storage_.make_disk();
        ASSERT_TRUE(disk->create_directories(directory));
        for (const char* name : file_names) {
            std::ifstream in(root / name, std::ios::binary);
            const std::string text((std::istreambuf_iterator<char>(in)), {});
            ASSERT_FALSE(text.empty()) << root / name;
            ByteReader reader(as_bytes(text), Errc::object_corrupt);
            const auto file = disk->open(std::string(directory) + '/' + name,
                                         {.write = true, .create = true, .exclusive = true});
            ASSERT_TRUE(file);
            ASSERT_TRUE(disk->resize(**file, *reader.u64(), false));
            while (!reader.at_end()) {
                const std::uint64_t at = *reader.u64();
                ASSERT_TRUE(write_at(*disk, **file, at, *reader.take(block_bytes), true));
            }
        }
        ASSERT_TRUE(disk->sync_directory(directory));
    }
    void expect_read(const std::string& version);

    ManualClock clock_;
    std::unique_ptr<Random> random_ = make_seeded_random(seed);
    fakes::SimStorage storage_{seed};
};

void GoldenSpool::expect_read(const std::string& version) {
    const fs::path root = fs::path(CAUSEWAY_GOLDEN_SPOOL_DIR) / version;
    if (const char* wanted = std::getenv("CAUSEWAY_WRITE_GOLDEN");
        wanted != nullptr && version == wanted && !fs::exists(root)) {
        fakes::SimStorage made(seed);
        {
            Process process = start(made);
            append(process, golden_records(), 0, before_the_checkpoint);
            ASSERT_TRUE(process.spool->close());
        }
        Process process = start(made);  // It dies without a word.
        append(process, golden_records(), before_the_checkpoint, golden_records().size());
        save(made, root);
    }
    load(root);
    Process process = start(storage_);
    ASSERT_FALSE(process.refused) << to_string(*process.refused);
    EXPECT_TRUE(process.spool->damaged().empty());
    std::vector<StoredRecord> recovered = process.recovered();
    const std::vector<Record> wanted = golden_records();
    ASSERT_EQ(recovered.size(), wanted.size());
    for (std::size_t i = 0; i < wanted.size(); ++i) {
        Record& got = recovered[i].record;
        EXPECT_EQ(got.header.key, wanted[i].header.key) << i;
        EXPECT_EQ(got.header.type, wanted[i].header.type) << i;
        EXPECT_EQ(got.header.seq, wanted[i].header.seq) << i;
        EXPECT_EQ(got.header.seq_count, wanted[i].header.seq_count) << i;
        EXPECT_EQ(got.header.ordinal, wanted[i].header.ordinal) << i;
        EXPECT_EQ(got.header.aux, wanted[i].header.aux) << i;
        EXPECT_EQ(got.header.table_crc, wanted[i].header.table_crc) << i;
        if (got.header.data_bytes > 0) {
            ASSERT_TRUE(process.read_back(recovered[i].lsn, got)) << i;
            EXPECT_TRUE(payload_is_genuine(got)) << i;
        }
    }
    // And gone on with.
    std::vector<Record> more;
    more.push_back(make_write(make_key(1, 1), Seq{4}, 1));
    append(process, std::move(more), 0, 1);
}

TEST_F(GoldenSpool, G8_Version1IsStillRead) {
    expect_read("v1");
}

}  // namespace
}  // namespace cw::cache::testing
