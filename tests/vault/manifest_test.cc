#include "egress/vault/manifest.h"

#include "egress/vault/control.h"
#include "tests/fakes/memory_vault.h"
#include "tests/vault/vault_rig.h"

#include <gtest/gtest.h>

namespace cw::vault {
namespace {

using fakes::VaultRig;

class Manifests : public testing::Test {
protected:
    // A manifest with something in every list.
    Manifest full() {
        DiskEntry& disk = rig_.disk(disk_);
        disk.name = "vda \"quoted\"";
        disk.size_bytes = 64 * mib;
        disk.generation = Generation{2};
        disk.parent_generation = Generation{1};
        disk.parent_seq = Seq{77};
        disk.committed = Seq{120};
        disk.base_done = {std::byte{1}, std::byte{2}};
        Manifest manifest = rig_.next();
        manifest.time = WallMicros{-5};
        manifest.time_uncertainty_us = 9;
        manifest.added.push_back(
            rig_.seal({disk_,
                       Generation{2},
                       Seq{1},
                       Seq{2},
                       false,
                       {{0, fakes::random_bytes(*random_, 512), Seq{2}, Codec::none, 0}}})
                .ref);
        manifest.dropped.push_back(manifest.added.front().name);
        PointEntry point;
        point.id = make_id<PointId>(*random_);
        point.kind = PointKind::app;
        point.group = make_id<GroupId>(*random_);
        point.source_time = WallMicros{1'700'000'000'123'456};
        point.valid_until = WallMicros{1'700'000'001'000'000};
        point.uncertainty_us = 12;
        point.tag = "before upgrade";
        point.cuts.push_back({disk_, Generation{2}, Seq{120}, sha256(as_bytes("h")), 64 * mib});
        manifest.points.push_back(point);
        manifest.pruned.push_back(make_id<PointId>(*random_));
        manifest.lineage.push_back({disk_, Generation{1}, {}, {}, 32 * mib});
        return manifest;
    }

    ManualClock clock_;
    fakes::MemoryVault memory_{clock_, {}};
    std::unique_ptr<blob::StoreFactory> factory_ = memory_.factory();
    std::unique_ptr<blob::BlobStore> store_ = factory_->make();
    std::unique_ptr<Random> random_ = make_seeded_random(3);
    std::unique_ptr<KeyService> kek_ = fakes::make_test_kek("k", *random_);
    DiskId disk_ = make_id<DiskId>(*random_);
    VaultRig rig_{*store_, *kek_, *random_, make_id<MachineId>(*random_)};
};

TEST_F(Manifests, GiveBackWhatWasSealed) {
    const Manifest m = full();
    const SealedManifest sealed = rig_.seal_manifest(m);
    EXPECT_EQ(sealed.hash, sha256(sealed.bytes));
    const auto opened = open_manifest(sealed.bytes, rig_.vault, rig_.keys);
    ASSERT_TRUE(opened) << to_string(opened.error());
    const Manifest& o = *opened;
    EXPECT_EQ(std::tie(o.machine, o.number, o.previous, o.epoch, o.writer, o.nonce, o.kind),
              std::tie(m.machine, m.number, m.previous, m.epoch, m.writer, m.nonce, m.kind));
    EXPECT_EQ(std::tie(o.time, o.time_uncertainty_us, o.boundary, o.checkpoint, o.machine_name),
              std::tie(m.time, m.time_uncertainty_us, m.boundary, m.checkpoint, m.machine_name));
    ASSERT_EQ(o.disks.size(), 1U);
    const DiskEntry &a = o.disks[0], &b = m.disks[0];
    EXPECT_EQ(std::tie(a.disk, a.name, a.size_bytes, a.generation, a.parent_generation,
                       a.parent_seq, a.committed, a.protected_, a.open_fence, a.base_done),
              std::tie(b.disk, b.name, b.size_bytes, b.generation, b.parent_generation,
                       b.parent_seq, b.committed, b.protected_, b.open_fence, b.base_done));
    ASSERT_EQ(o.added.size(), 1U);
    EXPECT_EQ(o.added[0].name, m.added[0].name);
    EXPECT_EQ(o.added[0].root, m.added[0].root);
    EXPECT_EQ(o.dropped, m.dropped);
    ASSERT_EQ(o.points.size(), 1U);
    const PointEntry &p = o.points[0], &q = m.points[0];
    EXPECT_EQ(
        std::tie(p.id, p.kind, p.group, p.source_time, p.valid_until, p.uncertainty_us, p.tag),
        std::tie(q.id, q.kind, q.group, q.source_time, q.valid_until, q.uncertainty_us, q.tag));
    EXPECT_EQ(p.manifest, m.number);
    EXPECT_EQ(p.cuts[0].stream_hash, q.cuts[0].stream_hash);
    EXPECT_EQ(p.cuts[0].size_bytes, 64 * mib);
    EXPECT_EQ(o.pruned, m.pruned);
    EXPECT_EQ(o.deks.size(), m.deks.size());
    EXPECT_EQ(o.lineage.at(0).size_bytes, 32 * mib);
}

TEST_F(Manifests, HeaderCanBeCheckedWithoutAnyKey) {
    const Manifest m = full();
    const SealedManifest sealed = rig_.seal_manifest(m);
    const auto header = check_manifest(sealed.bytes, rig_.vault);
    ASSERT_TRUE(header);
    EXPECT_EQ(header->number, m.number);
    EXPECT_EQ(header->epoch, m.epoch);
    EXPECT_EQ(header->certificate.server, rig_.signer.certificate.server);
}

TEST_F(Manifests, H8_EveryFlippedByteIsSeen) {
    const SealedManifest sealed = rig_.seal_manifest(full());
    for (std::size_t at = 0; at < sealed.bytes.size(); ++at) {
        ByteVector bad = sealed.bytes;
        bad[at] ^= std::byte{0x10};
        const auto opened = open_manifest(bad, rig_.vault, rig_.keys);
        ASSERT_FALSE(opened) << "byte " << at;
        const bool version = at == 4 || at == 5;
        EXPECT_EQ(opened.error().code, version ? Errc::format_unsupported : Errc::object_corrupt)
            << "byte " << at;
    }
}

TEST_F(Manifests, CutShortOrGrownAreSeen) {
    const SealedManifest sealed = rig_.seal_manifest(full());
    for (std::size_t size = 0; size < sealed.bytes.size(); size += 7) {
        EXPECT_EQ(
            open_manifest(Bytes(sealed.bytes).first(size), rig_.vault, rig_.keys).error().code,
            Errc::object_corrupt);
    }
    ByteVector grown = sealed.bytes;
    grown.push_back({});
    EXPECT_FALSE(open_manifest(grown, rig_.vault, rig_.keys));
}

TEST_F(Manifests, OfAnotherMachineDoNotOpen) {
    VaultRig other(*store_, *kek_, *random_, make_id<MachineId>(*random_));
    const SealedManifest sealed = other.seal_manifest(other.next());
    EXPECT_TRUE(check_manifest(sealed.bytes, rig_.vault));  // The same vault certified it.
    EXPECT_EQ(open_manifest(sealed.bytes, rig_.vault, rig_.keys).error().code,
              Errc::object_corrupt);
}

TEST_F(Manifests, F5_SignedByAServerOfAnotherVaultAreRefused) {  // F5
    fakes::MemoryVault foreign(clock_, {});
    const auto factory = foreign.factory();
    const auto store = factory->make();
    VaultRig thief(*store, *kek_, *random_, rig_.keys.machine);
    thief.keys.machine_key = rig_.keys.machine_key.clone();  // Even with the machine's key.
    const SealedManifest sealed = thief.seal_manifest(thief.next());
    EXPECT_EQ(open_manifest(sealed.bytes, rig_.vault, rig_.keys).error().code,
              Errc::object_corrupt);
}

TEST_F(Manifests, ControlNotesAreSignedAndBound) {
    const MachineId machine = rig_.keys.machine;
    const HeadHint head{5, sha256(as_bytes("x")), Epoch{2}, {}, {}};
    const ByteVector note = encode_head(head, machine, rig_.signer);
    const auto opened = decode_head(note, rig_.vault, machine);
    ASSERT_TRUE(opened);
    EXPECT_EQ(opened->number, 5U);
    EXPECT_EQ(opened->hash, head.hash);
    EXPECT_EQ(opened->server, rig_.signer.certificate.server);
    EXPECT_FALSE(decode_head(note, rig_.vault, make_id<MachineId>(*random_)));
    EXPECT_FALSE(decode_gc_boundary(note, rig_.vault, machine));
    for (std::size_t at = 0; at < note.size(); ++at) {
        ByteVector bad = note;
        bad[at] ^= std::byte{1};
        EXPECT_FALSE(decode_head(bad, rig_.vault, machine)) << at;
    }
    GcBoundary boundary{17, Epoch{3}, std::vector<AttemptId>(2)};
    boundary.sweep[1][0] = std::byte{9};
    const auto read =
        decode_gc_boundary(encode_gc_boundary(boundary, machine, rig_.signer), rig_.vault, machine);
    ASSERT_TRUE(read);
    EXPECT_EQ(read->boundary, 17U);
    EXPECT_EQ(read->sweep, boundary.sweep);
}

}  // namespace
}  // namespace cw::vault
