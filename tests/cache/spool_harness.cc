#include "tests/cache/spool_harness.h"

#include <algorithm>

namespace cw::cache::testing {
namespace {

// Content of block `index` of a record.
std::uint64_t pattern(const RecordHeader& header, std::uint32_t block) {
    const auto id = static_cast<std::uint64_t>(header.key.disk.bytes[0]) << 8 |
                    static_cast<std::uint64_t>(header.key.machine.bytes[0]);
    return (id * 1'000'003 + raw(header.seq)) * 1'000'033 + header.ordinal * 97 + block * 7 + 1;
}

void fill(const RecordHeader& header, std::uint32_t block, MutableBytes out) {
    std::uint64_t value = pattern(header, block);
    for (std::size_t at = 0; at + 8 <= out.size(); at += 8) {
        std::memcpy(out.data() + at, &value, 8);
        value = value * 6'364'136'223'846'793'005ULL + 1;
    }
}

MutableBytes block_of(const Record& record, std::uint32_t block) {
    const std::uint64_t at = block * block_bytes;
    return record.slabs[at / pipeline::slab_bytes].bytes().subspan(at % pipeline::slab_bytes,
                                                                   block_bytes);
}

void fill_payload(Record& record, std::uint32_t blocks) {
    RecordHeader& header = record.header;
    header.data_bytes = static_cast<std::uint32_t>(blocks * block_bytes);
    for (std::size_t i = 0; i < record.slab_count(); ++i) {
        record.slabs[i] = slabs().try_take();
        CW_ASSERT(static_cast<bool>(record.slabs[i]));
    }
    std::uint32_t crc = 0;
    for (std::uint32_t block = 0; block < blocks; ++block) {
        fill(header, block, block_of(record, block));
        crc = crc32c(block_of(record, block), crc);
    }
    pipeline::ExtentTable table;
    table.extents.push_back(
        {.offset = raw(header.seq) * block_bytes, .length = header.data_bytes, .crc = crc});
    header.table_bytes = pipeline::extent_table_bytes(1);
    record.table = pipeline::TableBuffer(header.table_bytes);
    pipeline::write_extent_table(table, record.table.bytes());
    header.table_crc = crc32c(record.table.bytes());
}

// Each disk has a size of its own.
std::uint64_t size_of(const StreamKey& key) {
    return (raw(key.generation) + static_cast<std::uint8_t>(key.disk.bytes[0])) * mib;
}

}  // namespace

pipeline::SlabPool& slabs() {
    static const auto pool = *pipeline::SlabPool::create("test", 256);
    return *pool;
}

StreamKey make_key(std::uint8_t machine, std::uint8_t disk, std::uint64_t generation) {
    StreamKey key;
    key.machine.bytes[0] = std::byte{machine};
    key.disk.bytes[0] = std::byte{disk};
    key.generation = Generation{generation};
    return key;
}

Record make_write(const StreamKey& key, Seq seq, std::uint32_t blocks) {
    Record record;
    record.header.key = key;
    record.header.type = RecordType::write;
    record.header.aux = size_of(key);
    record.header.seq = seq;
    record.header.seq_count = 1;
    fill_payload(record, blocks);
    return record;
}

Record make_base(const StreamKey& key, Seq fence, std::uint32_t ordinal, std::uint32_t blocks) {
    Record record;
    record.header.key = key;
    record.header.type = RecordType::base;
    record.header.seq = fence;
    record.header.ordinal = ordinal;
    record.header.aux = size_of(key);
    fill_payload(record, blocks);
    return record;
}

Record make_control(const StreamKey& key, RecordType type, Seq seq) {
    Record record;
    record.header.key = key;
    record.header.type = type;
    record.header.seq = seq;
    record.header.seq_count = consumes_sequence(type) ? 1 : 0;
    record.header.table_bytes = block_bytes;
    record.table = pipeline::TableBuffer(block_bytes);
    record.header.table_crc = crc32c(record.table.bytes());
    return record;
}

bool payload_is_genuine(const Record& record) {
    if (record.header.aux != size_of(record.header.key)) {
        return false;
    }
    ByteVector expected(block_bytes);
    for (std::uint32_t block = 0; block < record.header.data_bytes / block_bytes; ++block) {
        fill(record.header, block, expected);
        if (!std::ranges::equal(expected, block_of(record, block))) {
            return false;
        }
    }
    return true;
}

SpoolOptions small_options(std::uint32_t regions) {
    SpoolOptions options;
    options.path = directory;
    options.size_bytes = regions * region_bytes;
    options.region_bytes = region_bytes;
    options.batch_bytes_max = 64 * kib;
    options.prewrite = false;
    return options;
}

Process::Process(fakes::SimStorage& storage, ManualClock& clock, Random& random,
                 SpoolOptions options)
    : disk(storage.make_disk()),
      reader_disk(storage.make_disk()),
      conditions(std::make_unique<Conditions>(clock)),
      metrics(make_metric_registry()) {
    auto opened = Spool::open(std::move(options), {*disk, clock, random, *conditions, *metrics});
    if (!opened) {
        refused = opened.error();
        return;
    }
    spool = std::move(*opened);
    auto reading = SpoolReader::open(*spool, *reader_disk);
    if (reading) {
        reader = std::move(*reading);
    }
}

Process::~Process() {
    reader.reset();
    spool.reset();
}

std::vector<StoredRecord> Process::recovered() {
    std::vector<StoredRecord> out;
    while (auto record = spool->next_recovered()) {
        out.push_back(std::move(*record));
    }
    return out;
}

std::vector<StoredRecord> Process::settle(int steps_max) {
    std::vector<StoredRecord> out;
    for (int i = 0; i < steps_max && (i == 0 || !spool->idle()); ++i) {
        spool->step(100);
        while (auto record = spool->take_durable()) {
            out.push_back(std::move(*record));
        }
    }
    return out;
}

Result<void> Process::read_back(Lsn lsn, Record& record) {
    for (std::size_t i = 0; i < record.slab_count(); ++i) {
        record.slabs[i] = slabs().try_take();
        CW_ASSERT(static_cast<bool>(record.slabs[i]));
    }
    std::optional<Result<void>> outcome;
    reader->read(lsn, record, [&](Result<void> result) { outcome = std::move(result); });
    for (int i = 0; i < 1000 && !outcome; ++i) {
        reader->poll();
    }
    CW_ASSERT(outcome.has_value());
    return *outcome;
}

}  // namespace cw::cache::testing
