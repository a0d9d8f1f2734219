// The pipeline's moving parts without its codecs: rings, slabs, the coalescer, tables of extents.
#include "base/random.h"
#include "bench/micro.h"
#include "pipeline/coalesce.h"
#include "pipeline/crc_combine.h"
#include "pipeline/extent_table.h"
#include "pipeline/ring.h"
#include "pipeline/slab.h"

#include <atomic>
#include <thread>

namespace cw::bench {
namespace {

void ring_push_pop(benchmark::State& state) {
    pipeline::Ring<std::uint64_t> ring(1024);
    std::uint64_t value = 0;
    for (auto _ : state) {
        ring.try_push(value);
        ring.try_pop(value);
        benchmark::DoNotOptimize(value);
    }
}
BENCHMARK(ring_push_pop);

// Items handed from one thread to another; both spin, so this is the ring and not the waiting.
void ring_hand_over(benchmark::State& state) {
    pipeline::Ring<std::uint64_t> ring(1024);
    std::atomic<bool> done = false;
    std::jthread consumer([&] {
        std::uint64_t value = 0;
        while (!done.load(std::memory_order_relaxed)) {
            if (!ring.try_pop(value)) {
                std::this_thread::yield();
            }
        }
    });
    std::uint64_t value = 0;
    for (auto _ : state) {
        while (!ring.try_push(value)) {
            std::this_thread::yield();
        }
        ++value;
    }
    done = true;
    count_items(state, 1);
}
BENCHMARK(ring_hand_over)->UseRealTime();

void slab_take_return(benchmark::State& state) {
    auto pool = pipeline::SlabPool::create("bench", 8);
    for (auto _ : state) {
        pipeline::Slab slab = (*pool)->try_take();
        benchmark::DoNotOptimize(slab.data());
    }
}
BENCHMARK(slab_take_return);

std::vector<pipeline::PlanInput> random_writes(std::size_t count) {
    const auto random = make_seeded_random(2);
    std::vector<pipeline::PlanInput> inputs;
    inputs.reserve(count);
    for (std::uint32_t i = 0; i < count; ++i) {
        inputs.push_back({.record = i / 256,
                          .extent_index = i % 256,
                          .seq = Seq{i + 1},
                          .extent = {.offset = random->below(1 << 20) * 4096,
                                     .length = 4096,
                                     .data_position = i % 256 * 4096}});
    }
    return inputs;
}

void coalesce(benchmark::State& state) {
    const auto inputs = random_writes(static_cast<std::size_t>(state.range(0)));
    for (auto _ : state) {
        benchmark::DoNotOptimize(pipeline::build_plan(inputs));
    }
    count_bytes(state, inputs.size() * 4096);
}
BENCHMARK(coalesce)->Arg(256)->Arg(8192);

void extent_table_read(benchmark::State& state) {
    pipeline::ExtentTable table;
    table.extents.resize(static_cast<std::size_t>(state.range(0)),
                         {.length = 4096, .op = pipeline::ExtentOp::zero});
    ByteVector bytes(pipeline::extent_table_bytes(table.extents.size()));
    pipeline::write_extent_table(table, bytes);
    for (auto _ : state) {
        benchmark::DoNotOptimize(pipeline::read_extent_table(bytes, 0, UINT64_MAX));
    }
    state.SetItemsProcessed(static_cast<std::int64_t>(state.iterations() * table.extents.size()));
}
BENCHMARK(extent_table_read)->Arg(1)->Arg(256);

void crc64_combine(benchmark::State& state) {
    std::uint64_t crc = 1;
    for (auto _ : state) {
        crc = pipeline::crc64nvme_combine(crc, 7, 1'000'003);
        benchmark::DoNotOptimize(crc);
    }
}
BENCHMARK(crc64_combine);

}  // namespace
}  // namespace cw::bench
