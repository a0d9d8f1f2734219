// G18: objects written by earlier builds stay readable. golden/v<n> was written by
// `CAUSEWAY_WRITE_GOLDEN=v<n> vault_test --gtest_filter=Golden.*`; it is never written again.
#include "egress/vault/index_run.h"
#include "egress/vault/names.h"
#include "tests/fakes/memory_vault.h"
#include "tests/vault/vault_rig.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

namespace cw::vault {
namespace {

namespace fs = std::filesystem;
using blob::Container;
using fakes::VaultRig;

constexpr std::uint64_t golden_seed = 20261120;

// What every golden vault holds: one disk, a base, writes of each codec, a checkpoint, a new
// generation.
fakes::RigSegment base_plan(const DiskId& disk) {
    return {disk,
            Generation{1},
            Seq{1},
            Seq{1},
            true,
            {{0, fakes::text_bytes(1, 256 * kib), Seq{1}, Codec::zstd, 0},
             {256 * kib, {}, Seq{1}, Codec::zero, 768 * kib}}};
}
fakes::RigSegment write_plan(const DiskId& disk) {
    return {disk,
            Generation{1},
            Seq{3},
            Seq{5},
            false,
            {{4096, fakes::text_bytes(2, 8192), Seq{3}, Codec::lz4, 0},
             {64 * kib, fakes::text_bytes(3, 512), Seq{4}, Codec::none, 0},
             {128 * kib, {}, Seq{5}, Codec::discard, 4096}}};
}

void write_golden(VaultRig& rig, const DiskId& disk) {
    DiskEntry& entry = rig.disk(disk);
    entry.name = "vda";
    entry.size_bytes = mib;
    entry.committed = Seq{2};
    rig.publish_point({rig.put(base_plan(disk))}, WallMicros{1'700'000'000'000'000});
    rig.disk(disk).committed = Seq{5};
    rig.publish_point({rig.put(write_plan(disk))}, WallMicros{1'700'000'300'000'000},
                      PointKind::app);
    rig.publish(make_checkpoint(rig.state));
    rig.take_over();
    rig.disk(disk).generation = Generation{2};
    rig.disk(disk).parent_generation = Generation{1};
    rig.disk(disk).parent_seq = Seq{5};
    rig.disk(disk).committed = Seq{0};
    rig.publish(rig.next());
}

// From version 2 of manifests on: a checkpoint whose entries lie in an index run.
void write_run(VaultRig& rig) {
    CheckpointPlan plan =
        plan_checkpoint(rig.state, {.inline_bytes = 100, .run_bytes = 64 * kib, .runs_max = 1});
    ASSERT_EQ(plan.fresh.size(), 1U);
    IndexRunRef ref;
    ref.id = plan.manifest.run_counter;
    ref.epoch = plan.manifest.epoch;
    const SealedRun sealed = seal_index_run(plan.fresh[0], ref, rig.keys, rig.random);
    rig.store_object(segment_blob(index_run_name(rig.keys.machine, sealed.ref)), sealed.bytes);
    plan.manifest.runs.push_back(sealed.ref);
    rig.random.fill(plan.manifest.nonce);
    rig.store_object(manifest_blob(rig.keys.machine, plan.manifest.number),
                     rig.seal_manifest(plan.manifest).bytes);
}

void save(const fakes::MemoryVault& memory, const fs::path& root) {
    for (const blob::BlobName& name : memory.names()) {
        const fs::path path = root / to_string(name);
        fs::create_directories(path.parent_path());
        const ByteVector bytes = *memory.bytes(name);
        std::ofstream(path, std::ios::binary)
            .write(reinterpret_cast<const char*>(bytes.data()),
                   static_cast<std::streamsize>(bytes.size()));
    }
}

void load(blob::BlobStore& store, const fs::path& root) {
    for (const Container container :
         {Container::data, Container::manifest, Container::keys, Container::control}) {
        const fs::path top = root / name_of(container);
        for (const auto& entry : fs::recursive_directory_iterator(top)) {
            if (!entry.is_regular_file()) {
                continue;
            }
            std::ifstream in(entry.path(), std::ios::binary);
            const std::string text((std::istreambuf_iterator<char>(in)), {});
            const blob::BlobName name{container, fs::relative(entry.path(), top).string()};
            const Bytes bytes = as_bytes(text);
            ASSERT_EQ(blob::put_and_wait(store, {.name = name, .body = {bytes}}).outcome,
                      blob::PutOutcome::stored);
        }
    }
}

// `newest`: the number its chain ends with.
void expect_read(const std::string& version, std::uint64_t newest, std::size_t runs) {
    const fs::path root = fs::path(CAUSEWAY_GOLDEN_DIR) / version;
    ManualClock clock;
    const auto random = make_seeded_random(golden_seed);
    const auto kek = fakes::make_test_kek("golden", *random);
    const auto machine = make_id<MachineId>(*random);
    const auto disk = make_id<DiskId>(*random);
    const char* const wanted = std::getenv("CAUSEWAY_WRITE_GOLDEN");
    if (wanted != nullptr && wanted == version) {
        ASSERT_FALSE(fs::exists(root)) << "golden files are never written twice";
        fakes::MemoryVault memory(clock, {});
        const auto factory = memory.factory();
        const auto store = factory->make();
        VaultRig rig(*store, *kek, *random, machine);
        write_golden(rig, disk);
        if (runs > 0) {
            write_run(rig);
        }
        save(memory, root);
    }
    fakes::MemoryVault memory(clock, {});
    memory.create_containers();
    const auto factory = memory.factory();
    const auto store = factory->make();
    ASSERT_NO_FATAL_FAILURE(load(*store, root));

    const auto vault = open_vault(*store);
    ASSERT_TRUE(vault) << to_string(vault.error());
    auto keys = open_machine_keys(*store, *kek, *vault, machine, nullptr);
    ASSERT_TRUE(keys) << to_string(keys.error());
    const auto chain = read_chain(*store, *vault, *keys, {});
    ASSERT_TRUE(chain && *chain);
    const ChainState& state = **chain;
    EXPECT_EQ(state.newest.number, newest);
    EXPECT_EQ(state.runs.size(), runs);
    EXPECT_EQ(state.newest.epoch, Epoch{2});
    EXPECT_EQ(state.points.size(), 2U);
    EXPECT_EQ(state.lineage.at({disk, Generation{2}}).parent_seq, Seq{5});
    ASSERT_EQ(state.segments.size(), 2U);
    for (const auto& [name, ref] : state.segments) {
        const auto plan = ref.base ? base_plan(disk) : write_plan(disk);
        const auto object = blob::get_and_wait(*store, {.name = segment_blob(name)});
        ASSERT_TRUE(object);
        const Bytes bytes = object->bytes;
        const auto crypto = SegmentCrypto::make(vault->id, ref, keys->deks.at(ref.dek_version));
        EXPECT_TRUE(check_segment_header(*crypto, bytes.first(segment_header_bytes)));
        EXPECT_TRUE(check_segment_trailer(ref, bytes.last(segment_trailer_bytes)));
        const auto chunks =
            open_index(ref, *crypto, bytes.subspan(ref.index_offset, ref.index_bytes));
        ASSERT_TRUE(chunks) << to_string(chunks.error());
        ASSERT_EQ(chunks->size(), plan.extents.size());
        for (std::size_t i = 0; i < chunks->size(); ++i) {
            const Chunk& chunk = (*chunks)[i];
            const auto& extent = plan.extents[i];
            ByteVector out(chunk.raw_length);
            ASSERT_TRUE(open_chunk(*crypto, chunk,
                                   bytes.subspan(chunk.stored_offset, chunk.stored_length), out));
            EXPECT_EQ(out, extent.bytes.empty() ? ByteVector(extent.hole_bytes) : extent.bytes);
            EXPECT_EQ(chunk.disk_offset, extent.offset);
            EXPECT_EQ(chunk.last_seq, extent.seq);
        }
    }
}

TEST(Golden, G8_Version1IsStillRead) {
    expect_read("v1", 4, 0);
}

TEST(Golden, Version2IsStillRead) {
    expect_read("v2", 5, 1);
}

}  // namespace
}  // namespace cw::vault
