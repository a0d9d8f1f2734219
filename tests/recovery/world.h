// World: one machine with one modelled disk in a vault in memory, for tests of the read path.
#pragma once

#include "base/assert.h"
#include "egress/vault/names.h"
#include "recovery/image_reader.h"
#include "tests/fakes/memory_vault.h"
#include "tests/recovery/disk_model.h"

namespace cw::recovery {

using fakes::DiskModel;
using fakes::VaultRig;

struct World {
    explicit World(std::uint64_t seed, std::uint64_t disk_bytes = 1 * mib + 37 * sector_bytes)
        : random(make_seeded_random(seed)),
          memory(clock, {.seed = seed, .shuffle = true}),
          factory(memory.factory()),
          store(factory->make()),
          kek(fakes::make_test_kek("k", *random)),
          machine(make_id<MachineId>(*random)),
          rig(*store, *kek, *random, machine),
          disk(make_id<DiskId>(*random)),
          model(rig, *random, disk, disk_bytes) {}

    // Of a server that the vault has not seen before.
    vault::ServerSigner new_signer() {
        auto made = vault::make_server_signer(*store, *kek, *random, make_id<ServerId>(*random));
        CW_ASSERT(made.has_value());
        return std::move(*made);
    }
    Catalog catalog() {
        auto opened = Catalog::open(*store, *kek, machine, {});
        CW_ASSERT(opened.has_value());
        return std::move(*opened);
    }
    Result<std::unique_ptr<ImageReader>> reader(const Catalog& from, const PointId& point) {
        CW_TRY_ASSIGN(const vault::PointEntry* entry, from.find_point(to_string(point)));
        CW_TRY_ASSIGN(const DiskAtPoint at, from.find_disk(*entry, ""));
        return ImageReader::open(*store, from, at, {});
    }

    ManualClock clock;
    std::unique_ptr<Random> random;
    fakes::MemoryVault memory;
    std::unique_ptr<blob::StoreFactory> factory;
    std::unique_ptr<blob::BlobStore> store;
    std::unique_ptr<vault::KeyService> kek;
    MachineId machine;
    VaultRig rig;
    DiskId disk;
    DiskModel model;
};

}  // namespace cw::recovery
