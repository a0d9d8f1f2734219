// Appends to a spool on a real file: 1 MiB records (SPOOL_BENCH_DIR, default the current
// directory). Reported: bytes per second, CPU seconds of this process per GiB, and the 99th
// percentile of the time from append to durable.
#include "base/checksum.h"
#include "base/log.h"
#include "bench/cpu_meter.h"
#include "cache/spool.h"
#include "pipeline/extent_table.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <map>

#include <benchmark/benchmark.h>
#include <unistd.h>

namespace cw::bench {
namespace {

using namespace cw::cache;

struct Setup {
    std::string path;
    std::unique_ptr<Clock> clock = make_system_clock();
    std::unique_ptr<Random> random = make_system_random();
    std::unique_ptr<MetricRegistry> metrics = make_metric_registry();
    Conditions conditions{*clock};
    std::unique_ptr<Disk> disk = make_best_disk(64);
    std::unique_ptr<pipeline::SlabPool> pool = *pipeline::SlabPool::create("bench", 64);

    Setup() {
        const char* dir = std::getenv("SPOOL_BENCH_DIR");
        path =
            std::string(dir != nullptr ? dir : ".") + "/cw_cache_bench_" + std::to_string(getpid());
        std::filesystem::remove_all(path);
    }
    ~Setup() { std::filesystem::remove_all(path); }

    SpoolOptions options(std::uint64_t bytes) const {
        SpoolOptions o;
        o.path = path;
        o.size_bytes = bytes;
        return o;
    }
    Result<std::unique_ptr<Spool>> open(std::uint64_t bytes) {
        return Spool::open(options(bytes), {*disk, *clock, *random, conditions, *metrics});
    }
};

Record make_record(pipeline::SlabPool& pool, Seq seq, std::uint32_t bytes) {
    Record record;
    record.header.key.machine.bytes[0] = std::byte{1};
    record.header.key.disk.bytes[0] = std::byte{1};
    record.header.key.generation = Generation{1};
    record.header.type = RecordType::write;
    record.header.seq = seq;
    record.header.seq_count = 1;
    record.header.data_bytes = bytes;
    record.header.table_bytes = block_bytes;
    record.slabs[0] = pool.try_take();
    record.table = pipeline::TableBuffer(block_bytes);
    pipeline::ExtentTable table;
    // Slabs come zeroed and nobody writes here: one checksum per size serves all records.
    static std::map<std::uint32_t, std::uint32_t> crcs;
    const auto [crc, fresh] = crcs.try_emplace(bytes, 0);
    if (fresh) {
        crc->second = crc32c(ByteVector(bytes));
    }
    table.extents.push_back({.length = bytes, .crc = crc->second});
    pipeline::write_extent_table(table, record.table.bytes());
    record.header.table_crc = crc32c(record.table.bytes());
    return record;
}

// Keeps `depth` records on their way, as a busy reactor does; 1 is one at a time.
void append(benchmark::State& state) {
    const auto record_bytes = static_cast<std::uint32_t>(state.range(0));
    const auto depth = static_cast<std::size_t>(state.range(1));
    set_log_level(LogLevel::error);
    Setup setup;
    auto spool = setup.open(gib);
    if (!spool) {
        state.SkipWithError(to_string(spool.error()).c_str());
        return;
    }
    std::uint64_t seq = 1, bytes = 0;
    std::size_t outstanding = 0;
    std::vector<std::int64_t> latencies;
    const double cpu = process_cpu_s();
    for (auto _ : state) {
        while (outstanding < depth) {
            Record record = make_record(*setup.pool, Seq{seq}, record_bytes);
            record.received = setup.clock->boot();
            if (!(*spool)->append(record)) {
                break;
            }
            ++seq;
            ++outstanding;
        }
        std::size_t done = 0;
        while (done == 0) {
            if ((*spool)->step(16) == pipeline::Progress::blocked) {
                setup.disk->wait(ns_per_ms);
            }
            while (auto stored = (*spool)->take_durable()) {
                latencies.push_back(setup.clock->boot() - stored->record.received);
                (*spool)->release(stored->lsn);
                bytes += record_bytes;
                ++done;
            }
        }
        outstanding -= done;
    }
    while (!(*spool)->idle()) {
        (*spool)->step(16);
        setup.disk->wait(ns_per_ms);
    }
    std::ranges::sort(latencies);
    state.SetBytesProcessed(static_cast<std::int64_t>(bytes));
    state.counters["cpu_s_per_gib"] = (process_cpu_s() - cpu) / (static_cast<double>(bytes) / gib);
    if (!latencies.empty()) {
        state.counters["p50_ms"] = static_cast<double>(latencies[latencies.size() / 2]) / ns_per_ms;
        state.counters["p99_ms"] =
            static_cast<double>(latencies[latencies.size() * 99 / 100]) / ns_per_ms;
    }
}
BENCHMARK(append)
    ->ArgNames({"record", "depth"})
    ->Args({mib, 1})
    ->Args({mib, 8})
    ->Args({256 * kib, 16})
    ->Args({64 * kib, 1})
    ->Args({64 * kib, 32})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

// Restart with a full spool of 1 MiB records: seconds until it serves (G20 asks 10 s for 10 GiB).
void restart(benchmark::State& state) {
    const std::uint64_t size = static_cast<std::uint64_t>(state.range(0)) * gib;
    set_log_level(LogLevel::error);
    Setup setup;
    std::uint64_t records = 0;
    {
        auto spool = setup.open(size);
        if (!spool) {
            state.SkipWithError(to_string(spool.error()).c_str());
            return;
        }
        std::uint64_t seq = 1;
        while (true) {
            Record record = make_record(*setup.pool, Seq{seq}, mib);
            const bool room = (*spool)->usage().room > 16 * mib;
            if (room && (*spool)->append(record)) {
                ++seq;
            } else if (!room && (*spool)->idle()) {
                break;
            }
            if ((*spool)->step(16) == pipeline::Progress::blocked) {
                setup.disk->wait(ns_per_ms);
            }
            while ((*spool)->take_durable()) {
                ++records;
            }
        }
    }
    for (auto _ : state) {
        auto spool = setup.open(size);
        std::uint64_t found = 0;
        while ((*spool)->next_recovered()) {
            ++found;
        }
        CW_ASSERT(found == records);
    }
    state.counters["records"] = static_cast<double>(records);
}
BENCHMARK(restart)->ArgNames({"gib"})->Arg(2)->Arg(10)->UseRealTime()->Unit(
    benchmark::kMillisecond);

}  // namespace
}  // namespace cw::bench

BENCHMARK_MAIN();
