// What the way out costs besides compressing and sealing chunks: request signing, segment indexes,
// manifests, index runs.
#include "base/clock.h"
#include "bench/micro.h"
#include "egress/blob/azure_sign.h"
#include "egress/vault/index_run.h"
#include "tests/fakes/memory_vault.h"
#include "tests/vault/vault_rig.h"

namespace cw::bench {
namespace {

using namespace cw::vault;

void shared_key_sign(benchmark::State& state) {
    const blob::HttpRequest request{
        .method = "PUT",
        .origin = "https://causewaytest.blob.core.windows.net",
        .path = "/vault/m/0123456789abcdef/segment",
        .query = {{"comp", "block"}, {"blockid", "AAAAAAAA"}, {"timeout", "60"}},
        .headers = {{"Content-Type", "application/octet-stream"},
                    {"If-None-Match", "*"},
                    {"x-ms-blob-type", "BlockBlob"},
                    {"x-ms-content-crc64", "AAAAAAAAAAA="},
                    {"x-ms-date", "Mon, 01 Jan 2024 00:00:00 GMT"},
                    {"x-ms-version", "2021-12-02"}},
        .body = {Bytes(micro_corpus()).first(4 * mib)}};
    const ByteVector key(64, std::byte{7});
    for (auto _ : state) {
        benchmark::DoNotOptimize(blob::shared_key_authorization(request, "causewaytest", key));
    }
    count_items(state, 1);
}
BENCHMARK(shared_key_sign);

// A vault in memory with one machine and one disk.
struct Vault {
    ManualClock clock;
    fakes::MemoryVault memory{clock, {}};
    std::unique_ptr<blob::StoreFactory> factory = memory.factory();
    std::unique_ptr<blob::BlobStore> store = factory->make();
    std::unique_ptr<Random> random = make_seeded_random(1);
    std::unique_ptr<KeyService> kek = fakes::make_test_kek("bench", *random);
    fakes::VaultRig rig{*store, *kek, *random, make_id<MachineId>(*random)};
    DiskId disk = make_id<DiskId>(*random);

    // As the manifest names them; nothing is stored.
    SegmentRef ref(std::uint64_t number) {
        SegmentRef ref;
        ref.name = {rig.keys.machine, disk, Generation{1}, Epoch{1}, Seq{number * 64 + 1}, {}};
        random->fill(ref.name.attempt);
        random->fill(ref.segment_id);
        random->fill(ref.salt);
        ref.dek_version = rig.keys.newest().version;
        ref.last_seq = Seq{number * 64 + 64};
        return ref;
    }
};

// Chunks of 1 MiB, compressed to a third, each with the fingerprints of its 16 blocks.
std::vector<Chunk> make_chunks(std::size_t count, Random& random) {
    std::vector<Chunk> chunks(count);
    std::uint64_t stored = segment_header_bytes;
    for (std::uint32_t i = 0; i < count; ++i) {
        Chunk& chunk = chunks[i];
        chunk.ordinal = i;
        chunk.disk_offset = i * mib;
        chunk.raw_length = mib;
        chunk.stored_offset = stored;
        chunk.stored_length = 350'000;
        chunk.codec = Codec::zstd;
        chunk.last_seq = Seq{i + 1};
        stored += chunk.stored_length;
        for (std::uint64_t block = 0; block < mib / fingerprint_block_bytes; ++block) {
            chunk.fingerprints.emplace_back(i * 16 + block, Fingerprint{});
            random.fill(chunk.fingerprints.back().second);
        }
    }
    return chunks;
}

struct IndexedSegment {
    Vault vault;
    std::vector<Chunk> chunks;
    SegmentRef ref = vault.ref(0);
    std::unique_ptr<SegmentCrypto> crypto;
    std::uint64_t body_bytes = 0;

    explicit IndexedSegment(std::size_t count) : chunks(make_chunks(count, *vault.random)) {
        ref.last_seq = Seq{count};
        crypto = SegmentCrypto::make(vault.rig.vault.id, ref, vault.rig.keys.newest());
        body_bytes = chunks.back().stored_offset + chunks.back().stored_length;
    }
};

void segment_finish(benchmark::State& state) {
    IndexedSegment segment(static_cast<std::size_t>(state.range(0)));
    for (auto _ : state) {
        benchmark::DoNotOptimize(
            finish_segment(segment.ref, *segment.crypto, segment.chunks, segment.body_bytes));
    }
    count_items(state, segment.chunks.size());
}
BENCHMARK(segment_finish)->Arg(16)->Arg(180);

void segment_index_open(benchmark::State& state) {
    IndexedSegment segment(static_cast<std::size_t>(state.range(0)));
    const SegmentTail tail =
        finish_segment(segment.ref, *segment.crypto, segment.chunks, segment.body_bytes);
    const Bytes sealed = Bytes(tail.bytes).first(tail.ref.index_bytes);
    CW_ASSERT(open_index(tail.ref, *segment.crypto, sealed).has_value());
    for (auto _ : state) {
        benchmark::DoNotOptimize(open_index(tail.ref, *segment.crypto, sealed));
    }
    count_items(state, segment.chunks.size());
}
BENCHMARK(segment_index_open)->Arg(16)->Arg(180);

// A manifest that adds `range(0)` segments: one for a step, hundreds for a checkpoint.
Manifest make_manifest(Vault& vault, std::int64_t segments) {
    DiskEntry& disk = vault.rig.disk(vault.disk);
    disk.size_bytes = 1024 * gib;
    disk.committed = Seq{static_cast<std::uint64_t>(segments) * 64};
    Manifest manifest = vault.rig.next();
    for (std::int64_t i = 0; i < segments; ++i) {
        manifest.added.push_back(vault.ref(static_cast<std::uint64_t>(i)));
    }
    return manifest;
}

void manifest_seal(benchmark::State& state) {
    Vault vault;
    const Manifest manifest = make_manifest(vault, state.range(0));
    for (auto _ : state) {
        benchmark::DoNotOptimize(vault.rig.seal_manifest(manifest));
    }
    count_items(state, 1);
}
BENCHMARK(manifest_seal)->Arg(1)->Arg(1024);

void manifest_open(benchmark::State& state) {
    Vault vault;
    const SealedManifest sealed = vault.rig.seal_manifest(make_manifest(vault, state.range(0)));
    const auto open = [&] { return open_manifest(sealed.bytes, vault.rig.vault, vault.rig.keys); };
    for (auto _ : state) {
        benchmark::DoNotOptimize(open());
    }
    count_items(state, 1);
}
BENCHMARK(manifest_open)->Arg(1)->Arg(1024);

void index_run_seal_open(benchmark::State& state) {
    Vault vault;
    IndexRun run;
    for (std::int64_t i = 0; i < state.range(0); ++i) {
        run.segments.push_back(vault.ref(static_cast<std::uint64_t>(i)));
    }
    IndexRunRef ref;
    ref.id = 1;
    ref.epoch = Epoch{1};
    for (auto _ : state) {
        const SealedRun sealed = seal_index_run(run, ref, vault.rig.keys, *vault.random);
        benchmark::DoNotOptimize(open_index_run(sealed.bytes, sealed.ref, vault.rig.keys));
    }
    count_items(state, run.segments.size());
}
BENCHMARK(index_run_seal_open)->Arg(4096);

}  // namespace
}  // namespace cw::bench
