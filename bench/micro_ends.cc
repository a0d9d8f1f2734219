// The two ends of the path: how the agent finds and packs what changed, and how a reader lays the
// layers of a disk over each other.
#include "agent/stream/digest_table.h"
#include "agent/stream/dirty_map.h"
#include "agent/stream/record_builder.h"
#include "base/disk.h"
#include "bench/micro.h"
#include "bench/temporary_directory.h"
#include "recovery/layer_map.h"

namespace cw::bench {
namespace {

// --- The agent ---

// One super-chunk after the other against its row of the table, as a scan does; nothing differs.
void digest_scan(benchmark::State& state) {
    using agent::DigestTable;
    const TemporaryDirectory directory(std::filesystem::temp_directory_path());
    const auto disk = make_best_disk(4);
    const auto random = make_seeded_random(1);
    auto table =
        DigestTable::open(*disk, *random, directory.path() + "/digests", micro_corpus_bytes, true);
    CW_ASSERT(table.has_value());
    const auto block_of = [](Bytes super, std::size_t i) {
        return super.subspan(i * agent::map_block_bytes, agent::map_block_bytes);
    };
    Walk fill(agent::super_bytes);
    constexpr std::uint32_t supers = micro_corpus_bytes / agent::super_bytes;
    for (std::uint32_t ordinal = 0; ordinal < supers; ++ordinal) {
        const Bytes super = fill.next();
        CW_ASSERT(table->load(ordinal).has_value());
        for (std::size_t i = 0; i < DigestTable::blocks_per_super; ++i) {
            table->set(i, block_of(super, i));
        }
        CW_ASSERT(table->store().has_value());
    }
    Walk walk(agent::super_bytes);
    std::uint32_t ordinal = 0;
    for (auto _ : state) {
        const Bytes super = walk.next();
        CW_ASSERT(table->load(ordinal++ % supers).has_value());
        for (std::size_t i = 0; i < DigestTable::blocks_per_super; ++i) {
            CW_ASSERT(!table->different(i, block_of(super, i)));
        }
        CW_ASSERT(table->store().has_value());
    }
    count_bytes(state, agent::super_bytes);
}
BENCHMARK(digest_scan);

// Random writes of 4 KiB, an interval closed every thousand: what a writer waits for. `range(0)`:
// GiB of disk; the more, the more of the marks are new.
void dirty_map_mark(benchmark::State& state) {
    const TemporaryDirectory directory(std::filesystem::temp_directory_path());
    const auto disk = make_best_disk(4);
    const auto random = make_seeded_random(2);
    const auto size = static_cast<std::uint64_t>(state.range(0)) * gib;
    agent::DirtyMap::Target target{
        .path = directory.path() + "/map", .disk = make_id<DiskId>(*random), .size_bytes = size};
    auto map = agent::DirtyMap::create(*disk, target);
    CW_ASSERT(map.has_value());
    map->begin_fence(true);
    map->end_fence(Seq{1});
    CW_ASSERT(map->committed(Seq{1}).has_value());
    std::uint64_t seq = 1;
    for (auto _ : state) {
        CW_ASSERT(map->mark(random->below(size / 4096) * 4096, 4096).has_value());
        if (++seq % 1000 == 0) {
            map->close_interval(Seq{seq});
            CW_ASSERT(map->committed(Seq{seq - 999}).has_value());
        }
    }
    count_items(state, 1);
}
BENCHMARK(dirty_map_mark)->Arg(1)->Arg(1024);

void record_build(benchmark::State& state) {
    const auto bytes = static_cast<std::size_t>(state.range(0));
    const auto pool = *pipeline::SlabPool::create("bench", 2 * pipeline::slabs_per_record_max);
    agent::RecordBuilder builder(*pool);
    Walk walk(bytes);
    std::uint64_t at = 0;
    for (auto _ : state) {
        const Bytes data = walk.next();
        at = (at + bytes) % gib;
        while (builder.add_write(at, data, WallMicros{1}) != agent::RecordBuilder::Added::ok) {
            benchmark::DoNotOptimize(builder.close());
        }
    }
    count_bytes(state, bytes);
}
BENCHMARK(record_build)->Arg(4096)->Arg(64 * kib)->Arg(mib);

// --- The reader ---

struct Segments {
    std::vector<vault::SegmentRef> refs;
    std::vector<std::vector<vault::Chunk>> chunks;
};

// `layers` segments of 64 random writes of 64 KiB each, over one of initial sync that covers all.
Segments make_layers(std::size_t layers, std::uint64_t disk_bytes) {
    const auto random = make_seeded_random(3);
    Segments out;
    for (std::uint64_t layer = 0; layer <= layers; ++layer) {
        const bool base = layer == 0;
        vault::SegmentRef ref;
        ref.base = base;
        ref.name.generation = Generation{1};
        ref.name.first_seq = Seq{base ? 1 : layer * 64};
        ref.last_seq = Seq{base ? 1 : layer * 64 + 63};
        std::vector<vault::Chunk> chunks;
        const std::uint64_t count = base ? disk_bytes / mib : 64;
        for (std::uint32_t i = 0; i < count; ++i) {
            vault::Chunk chunk;
            chunk.ordinal = i;
            chunk.disk_offset = base ? i * mib : random->below(disk_bytes / 65'536) * 65'536;
            chunk.raw_length = base ? mib : 65'536;
            chunk.stored_length = 1000;
            chunk.codec = vault::Codec::zstd;
            chunk.last_seq = base ? Seq{1} : Seq{layer * 64 + i};
            chunks.push_back(std::move(chunk));
        }
        out.refs.push_back(ref);
        out.chunks.push_back(std::move(chunks));
    }
    return out;
}

recovery::LayerMap lay(const Segments& segments, std::uint64_t disk_bytes) {
    std::vector<const vault::SegmentRef*> pointers;
    pointers.reserve(segments.refs.size());
    for (const vault::SegmentRef& ref : segments.refs) {
        pointers.push_back(&ref);
    }
    recovery::LayerMap map(disk_bytes);
    for (const recovery::Layer& layer : recovery::order_layers(pointers)) {
        const auto at = static_cast<std::size_t>(layer.ref - segments.refs.data());
        map.lay_under(static_cast<std::uint32_t>(at), layer, segments.chunks[at]);
    }
    return map;
}

void layer_map_build(benchmark::State& state) {
    const Segments segments = make_layers(static_cast<std::size_t>(state.range(0)), 4 * gib);
    std::size_t chunks = 0;
    for (const auto& of_segment : segments.chunks) {
        chunks += of_segment.size();
    }
    for (auto _ : state) {
        const recovery::LayerMap map = lay(segments, 4 * gib);
        CW_ASSERT(map.complete());
    }
    count_items(state, chunks);
}
BENCHMARK(layer_map_build)->Arg(16)->Arg(1024)->Unit(benchmark::kMicrosecond);

void layer_map_pieces(benchmark::State& state) {
    const auto random = make_seeded_random(4);
    const recovery::LayerMap map =
        lay(make_layers(static_cast<std::size_t>(state.range(0)), 4 * gib), 4 * gib);
    for (auto _ : state) {
        benchmark::DoNotOptimize(map.pieces(random->below(4 * kib) * mib, mib));
    }
    count_items(state, 1);
}
BENCHMARK(layer_map_pieces)->Arg(16)->Arg(1024);

}  // namespace
}  // namespace cw::bench
