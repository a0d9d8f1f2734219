// The spool's own work per record, without the device (that is cache_bench): batch headers, the
// index that readers share, how far each stream is durable.
#include "base/checksum.h"
#include "bench/micro.h"
#include "cache/ordinal_set.h"
#include "cache/spool_format.h"
#include "cache/spool_index.h"

namespace cw::bench {
namespace {

using namespace cw::cache;

RecordHeader write_record(std::uint64_t seq) {
    RecordHeader header;
    header.key.machine.bytes[0] = std::byte{1};
    header.key.disk.bytes[0] = std::byte{1};
    header.key.generation = Generation{1};
    header.type = RecordType::write;
    header.seq = Seq{seq};
    header.seq_count = 1;
    header.table_bytes = block_bytes;
    header.data_bytes = mib;
    return header;
}

BatchHeader make_batch(std::size_t records) {
    BatchHeader batch;
    batch.spool.bytes[0] = std::byte{1};
    batch.offset = 64 * mib;
    batch.epoch = 3;
    batch.number = 9;
    batch.durable_through = 8;
    for (std::uint64_t i = 0; i < records; ++i) {
        batch.records.push_back({.lsn = Lsn{i + 1}, .moved = false, .header = write_record(i + 1)});
    }
    return batch;
}

void batch_header_encode(benchmark::State& state) {
    const BatchHeader batch = make_batch(static_cast<std::size_t>(state.range(0)));
    ByteVector out(batch.header_bytes());
    for (auto _ : state) {
        encode_batch_header(batch, out);
        benchmark::DoNotOptimize(out.data());
    }
    count_items(state, batch.records.size());
}
BENCHMARK(batch_header_encode)->Arg(1)->Arg(8)->Arg(batch_records_max);

void batch_header_decode(benchmark::State& state) {
    const BatchHeader batch = make_batch(static_cast<std::size_t>(state.range(0)));
    ByteVector bytes(batch.header_bytes());
    encode_batch_header(batch, bytes);
    CW_ASSERT(decode_batch_header(bytes).has_value());
    for (auto _ : state) {
        benchmark::DoNotOptimize(decode_batch_header(bytes));
    }
    count_items(state, batch.records.size());
}
BENCHMARK(batch_header_decode)->Arg(1)->Arg(8)->Arg(batch_records_max);

// A record's life in the index, with `range(0)` others alive.
void spool_index_round(benchmark::State& state) {
    SpoolIndex index("log", 1024);
    const auto live = static_cast<std::uint64_t>(state.range(0));
    std::uint64_t next = 1;
    const auto insert = [&] {
        index.insert(Lsn{next}, {.region = static_cast<std::uint32_t>(next % 1024),
                                 .table_bytes = block_bytes,
                                 .data_bytes = mib,
                                 .table_offset = next * mib,
                                 .data_offset = next * mib + block_bytes});
        ++next;
    };
    while (next <= live) {
        insert();
    }
    for (auto _ : state) {
        insert();
        const auto place = index.acquire(Lsn{next - live / 2});
        CW_ASSERT(place.has_value());
        index.unpin(place->region);
        benchmark::DoNotOptimize(index.erase(Lsn{next - live - 1}));
    }
    count_items(state, 1);
}
BENCHMARK(spool_index_round)->Arg(64)->Arg(10'240)->Arg(262'144);

// `range(0)` streams that take turns.
void stream_table_round(benchmark::State& state) {
    StreamTable table;
    const auto streams = static_cast<std::uint64_t>(state.range(0));
    std::uint64_t round = 0;
    for (auto _ : state) {
        RecordHeader header = write_record(round / streams + 1);
        const std::uint64_t stream = round % streams;
        header.key.disk.bytes[8] = static_cast<std::byte>(stream & 0xff);
        header.key.disk.bytes[9] = static_cast<std::byte>(stream >> 8);
        ++round;
        CW_ASSERT(table.check(header) == Arrival::accept);
        table.append(header);
        table.make_durable(header);
    }
    count_items(state, 1);
}
BENCHMARK(stream_table_round)->Arg(1)->Arg(64)->Arg(4096);

// Super-chunks of initial sync over `range(0)` connections, each sending its part in order.
void ordinal_set_insert(benchmark::State& state) {
    const auto connections = static_cast<std::uint32_t>(state.range(0));
    constexpr std::uint32_t part = 1 << 16;
    OrdinalSet set;
    std::uint32_t at = 0;
    for (auto _ : state) {
        benchmark::DoNotOptimize(set.insert(at % connections * part + at / connections % part));
        if (++at == connections * part) {
            set.clear();
            at = 0;
        }
    }
    count_items(state, 1);
}
BENCHMARK(ordinal_set_insert)->Arg(1)->Arg(64);

}  // namespace
}  // namespace cw::bench
