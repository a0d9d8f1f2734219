#include "tests/vault/vault_rig.h"

#include "base/assert.h"
#include "egress/vault/names.h"

#include <algorithm>

#include <lz4.h>
#include <zstd.h>

namespace cw::fakes {
namespace {

using vault::Chunk;
using vault::Codec;

class TestKek final : public vault::KeyService {
public:
    TestKek(const std::string& name, Random& random)
        : key_(sha256(as_bytes("kek " + name))), random_(random) {}

    Result<ByteVector> wrap(Bytes plain, Bytes aad) override {
        GcmNonce nonce;
        random_.fill(nonce);
        ByteVector out(nonce.begin(), nonce.end());
        out.resize(nonce.size() + plain.size());
        const GcmTag tag =
            AesGcm(key_).seal(nonce, aad, plain, MutableBytes(out).subspan(nonce.size()));
        out.insert(out.end(), tag.begin(), tag.end());
        return out;
    }
    Result<ByteVector> unwrap(Bytes wrapped, Bytes aad) override {
        ByteReader in(wrapped, Errc::object_corrupt);
        CW_TRY_ASSIGN(const GcmNonce nonce, in.array<12>());
        if (in.remaining() < sizeof(GcmTag)) {
            return fail(Errc::object_corrupt, "short");
        }
        CW_TRY_ASSIGN(const Bytes cipher, in.take(in.remaining() - sizeof(GcmTag)));
        CW_TRY_ASSIGN(const GcmTag tag, in.array<16>());
        ByteVector plain(cipher.size());
        if (!AesGcm(key_).open(nonce, aad, cipher, tag, plain)) {
            return fail(Errc::key_unavailable, "another key");
        }
        return plain;
    }

private:
    Key256 key_;
    Random& random_;
};

// The stored form; `codec` becomes none if it did not shrink.
ByteVector compress(Bytes raw_bytes, Codec& codec) {
    ByteVector out(raw_bytes.size() + 4096);
    std::size_t n = 0;
    if (codec == Codec::lz4) {
        n = static_cast<std::size_t>(LZ4_compress_default(
            reinterpret_cast<const char*>(raw_bytes.data()), reinterpret_cast<char*>(out.data()),
            static_cast<int>(raw_bytes.size()), static_cast<int>(out.size())));
    } else if (codec == Codec::zstd) {
        n = ZSTD_compress(out.data(), out.size(), raw_bytes.data(), raw_bytes.size(), 1);
        CW_ASSERT(ZSTD_isError(n) == 0);
    }
    if (n == 0 || n >= raw_bytes.size()) {
        codec = Codec::none;
        return {raw_bytes.begin(), raw_bytes.end()};
    }
    out.resize(n);
    return out;
}

void add_fingerprints(Chunk& chunk, Bytes raw_bytes, const FingerprintSecret& secret) {
    constexpr std::uint64_t block = vault::fingerprint_block_bytes;
    for (std::uint64_t at = align_up(chunk.disk_offset, block);
         at + block <= chunk.disk_offset + raw_bytes.size(); at += block) {
        chunk.fingerprints.emplace_back(
            at / block, fingerprint(raw_bytes.subspan(at - chunk.disk_offset, block), secret));
    }
}

}  // namespace

std::unique_ptr<vault::KeyService> make_test_kek(const std::string& name, Random& random) {
    return std::make_unique<TestKek>(name, random);
}

VaultRig::VaultRig(blob::BlobStore& store_in, vault::KeyService& kek_in, Random& random_in,
                   MachineId machine)
    : store(store_in), kek(kek_in), random(random_in) {
    auto identity = vault::open_vault(store);
    if (!identity) {
        identity = vault::create_vault(store, kek, random);
    }
    CW_ASSERT(identity.has_value());
    vault = *identity;
    auto opened = open_machine_keys(store, kek, vault, machine, &random);
    CW_ASSERT(opened.has_value());
    keys = std::move(*opened);
    auto made = make_server_signer(store, kek, random, make_id<ServerId>(random));
    CW_ASSERT(made.has_value());
    signer = std::move(*made);
    new_deks_.push_back(make_dek(keys, vault, random));
}

SealedSegment VaultRig::seal(const RigSegment& plan) {
    SealedSegment out;
    out.ref.name = {keys.machine, plan.disk, plan.generation, Epoch{1}, plan.first, {}};
    random.fill(out.ref.name.attempt);
    random.fill(out.ref.segment_id);
    random.fill(out.ref.salt);
    out.ref.dek_version = keys.newest().version;
    out.ref.base = plan.base;
    out.ref.last_seq = plan.last;
    const auto crypto = vault::SegmentCrypto::make(vault.id, out.ref, keys.newest());
    const auto header = crypto->header();
    out.object.assign(header.begin(), header.end());
    for (const RigExtent& extent : plan.extents) {
        Chunk chunk;
        chunk.ordinal = static_cast<std::uint32_t>(out.chunks.size());
        chunk.disk_offset = extent.offset;
        chunk.last_seq = extent.seq;
        chunk.codec = extent.codec;
        chunk.raw_length = extent.hole_bytes;
        if (!extent.bytes.empty()) {
            const ByteVector packed = compress(extent.bytes, chunk.codec);
            chunk.raw_length = extent.bytes.size();
            chunk.stored_offset = out.object.size();
            chunk.stored_length = static_cast<std::uint32_t>(packed.size());
            add_fingerprints(chunk, extent.bytes, keys.fingerprint_secret);
            out.object.resize(out.object.size() + packed.size());
            const MutableBytes cipher = MutableBytes(out.object).subspan(chunk.stored_offset);
            chunk.tag = crypto->seal(chunk, packed, std::span(&cipher, 1));
        }
        out.chunks.push_back(std::move(chunk));
    }
    vault::SegmentTail tail = finish_segment(out.ref, *crypto, out.chunks, out.object.size());
    out.object.insert(out.object.end(), tail.bytes.begin(), tail.bytes.end());
    out.ref = tail.ref;
    return out;
}

vault::SegmentRef VaultRig::put(const RigSegment& plan) {
    const SealedSegment sealed = seal(plan);
    store_object(segment_blob(sealed.ref.name), sealed.object);
    return sealed.ref;
}

void VaultRig::store_object(const blob::BlobName& name, Bytes bytes) {
    const auto put = blob::put_and_wait(store, {.name = name, .body = {bytes}});
    CW_ASSERT(put.outcome == blob::PutOutcome::stored);
}

vault::DiskEntry& VaultRig::disk(const DiskId& id) {
    const auto at = std::ranges::find(disks, id, &vault::DiskEntry::disk);
    if (at != disks.end()) {
        return *at;
    }
    vault::DiskEntry entry;
    entry.disk = id;
    entry.generation = Generation{1};
    entry.protected_ = true;
    return disks.emplace_back(entry);
}

void VaultRig::take_over() {
    takeover_ = true;
}

vault::Manifest VaultRig::next() {
    const vault::Manifest& newest = state.newest;
    vault::Manifest manifest;
    manifest.machine = keys.machine;
    manifest.machine_name = "rig";
    manifest.number = newest.number + 1;
    manifest.previous = state.hash;
    manifest.boundary = newest.boundary;
    manifest.checkpoint = newest.checkpoint;
    if (takeover_) {
        random.fill(writer_);
    }
    manifest.kind = takeover_ ? vault::ManifestKind::takeover : vault::ManifestKind::regular;
    manifest.epoch = Epoch{raw(newest.epoch) + (takeover_ ? 1 : 0)};
    manifest.writer = writer_;
    takeover_ = false;
    random.fill(manifest.nonce);
    manifest.disks = disks;
    manifest.deks = std::move(new_deks_);
    new_deks_.clear();
    return manifest;
}

vault::SealedManifest VaultRig::seal_manifest(const vault::Manifest& manifest) {
    return vault::seal_manifest(manifest, vault, keys, signer, random);
}

void VaultRig::publish(const vault::Manifest& manifest) {
    const vault::SealedManifest sealed = seal_manifest(manifest);
    store_object(vault::manifest_blob(keys.machine, manifest.number), sealed.bytes);
    if (manifest.number == 1) {
        auto begun = vault::begin_chain(manifest, sealed.hash);
        CW_ASSERT(begun.has_value());
        state = std::move(*begun);
    } else {
        const auto applied = apply_manifest(state, manifest, sealed.hash);
        CW_ASSERT(applied.has_value());
    }
    const vault::HeadHint head{manifest.number, sealed.hash, manifest.epoch, manifest.writer, {}};
    CW_ASSERT(advance_head(store, vault, keys.machine, head, signer).has_value());
}

PointId VaultRig::publish_point(std::vector<vault::SegmentRef> added, WallMicros time,
                                vault::PointKind kind) {
    vault::PointEntry point;
    point.id = make_id<PointId>(random);
    point.kind = kind;
    point.source_time = point.valid_until = time;
    for (const vault::DiskEntry& entry : disks) {
        point.cuts.push_back({entry.disk, entry.generation, entry.committed, {}, entry.size_bytes});
    }
    vault::Manifest manifest = next();
    manifest.time = time;
    manifest.added = std::move(added);
    manifest.points.push_back(point);
    publish(std::move(manifest));
    return point.id;
}

void put_gc_boundary(blob::BlobStore& store, const MachineId& machine,
                     const vault::GcBoundary& boundary, const vault::ServerSigner& signer) {
    const ByteVector bytes = encode_gc_boundary(boundary, machine, signer);
    const blob::PutResult put = blob::put_and_wait(store, {.name = vault::gc_boundary_blob(machine),
                                                           .body = {bytes},
                                                           .condition = blob::PutCondition::none});
    CW_ASSERT(put.outcome == blob::PutOutcome::stored);
}

ByteVector random_bytes(Random& random, std::size_t count) {
    ByteVector out(count);
    random.fill(out);
    return out;
}

ByteVector text_bytes(std::uint64_t tag, std::size_t count) {
    const std::string word = "line " + std::to_string(tag) + " of a log that repeats itself; ";
    ByteVector out(count);
    for (std::size_t i = 0; i < count; ++i) {
        out[i] = static_cast<std::byte>(word[i % word.size()]);
    }
    return out;
}

}  // namespace cw::fakes
