#include "tests/pipeline/rig.h"

#include "base/checksum.h"

#include <algorithm>
#include <cstring>

#include <gtest/gtest.h>
#include <poll.h>

namespace cw::pipeline {
namespace {

GcmNonce nonce_of(const ChunkBinding& chunk) {
    GcmNonce nonce{};
    std::memcpy(nonce.data(), &chunk.ordinal, sizeof chunk.ordinal);
    return nonce;
}

ByteVector aad_of(const ChunkBinding& chunk) {
    ByteVector aad;
    ByteAppender out(aad);
    out.u32(chunk.ordinal);
    out.u64(chunk.disk_offset);
    out.u32(chunk.raw_length);
    out.u8(static_cast<std::uint8_t>(chunk.codec));
    out.u64(raw(chunk.last_seq));
    return aad;
}

void check_fingerprints(const SealedChunk& chunk, Bytes raw, const FingerprintSecret& secret) {
    std::uint64_t block = align_up(chunk.disk_offset, fingerprint_block_bytes);
    for (const auto& [index, value] : chunk.fingerprints) {
        EXPECT_EQ(index, block / fingerprint_block_bytes);
        const Bytes bytes = raw.subspan(block - chunk.disk_offset, fingerprint_block_bytes);
        EXPECT_EQ(value, fingerprint(bytes, secret));
        block += fingerprint_block_bytes;
    }
    // Every block that was written whole has one.
    EXPECT_GT(block + fingerprint_block_bytes, chunk.disk_offset + chunk.raw_length);
}

}  // namespace

TestSealer::TestSealer() {
    key_.fill(std::byte{0x42});
    secret_.fill(std::byte{0x17});
}

GcmTag TestSealer::seal(const ChunkBinding& chunk, Bytes plain,
                        std::span<const MutableBytes> cipher) {
    {
        const std::lock_guard lock(mutex_);
        EXPECT_TRUE(ordinals_.insert(chunk.ordinal).second) << "nonce " << chunk.ordinal;
    }
    GcmTag tag = AesGcm(key_).seal(nonce_of(chunk), aad_of(chunk), plain, cipher);
    if (after_seal) {
        after_seal(chunk, cipher, tag);
    }
    return tag;
}

Result<void> TestSealer::open(const ChunkBinding& chunk, std::span<const Bytes> cipher,
                              const GcmTag& tag, MutableBytes plain) {
    return AesGcm(key_).open(nonce_of(chunk), aad_of(chunk), cipher, tag, plain);
}

void DiskWrites::next_record() {
    records_.emplace_back();
}

void DiskWrites::write(std::uint64_t offset, Bytes bytes) {
    if (records_.empty()) {
        next_record();
    }
    Record& record = records_.back().record;
    const std::uint32_t position = record.header.data_bytes;
    const auto end = position + static_cast<std::uint32_t>(bytes.size());
    record.header.data_bytes = static_cast<std::uint32_t>(align_up(end, block_bytes));
    for (std::size_t i = 0; i < record.slab_count(); ++i) {
        if (!record.slabs[i]) {
            record.slabs[i] = pool_.try_take();
            CW_ASSERT(record.slabs[i]);
        }
    }
    for (std::size_t at = 0; at < bytes.size(); ++at) {
        record.slabs[(position + at) / slab_bytes].data()[(position + at) % slab_bytes] = bytes[at];
    }
    std::copy(bytes.begin(), bytes.end(), disk_.begin() + static_cast<std::ptrdiff_t>(offset));
    const auto number = static_cast<std::uint32_t>(records_.size() - 1);
    const std::uint32_t index =
        inputs_.empty() || inputs_.back().record != number ? 0 : inputs_.back().extent_index + 1;
    inputs_.push_back({.record = number,
                       .extent_index = index,
                       .seq = Seq{++seq_},
                       .extent = {.offset = offset,
                                  .length = static_cast<std::uint32_t>(bytes.size()),
                                  .data_position = position,
                                  .crc = crc32c(bytes)}});
}

void DiskWrites::hole(ExtentOp op, std::uint64_t offset, std::uint32_t length) {
    next_record();
    std::fill_n(disk_.begin() + static_cast<std::ptrdiff_t>(offset), length, std::byte{0});
    inputs_.push_back({.record = static_cast<std::uint32_t>(records_.size() - 1),
                       .extent_index = 0,
                       .seq = Seq{++seq_},
                       .extent = {.offset = offset, .length = length, .op = op}});
}

std::byte& DiskWrites::payload_byte(std::uint32_t record, std::uint32_t index, std::uint32_t at) {
    for (const PlanInput& input : inputs_) {
        if (input.record == record && input.extent_index == index) {
            const std::uint32_t position = input.extent.data_position + at;
            return records_[record].record.slabs[position / slab_bytes].data()[position %
                                                                               slab_bytes];
        }
    }
    CW_ASSERT(false && "no such extent");
}

TransformRequest DiskWrites::request(std::shared_ptr<Sealer> sealer, CodecChoice codec,
                                     VerifyMode verify) {
    return {.plan = build_plan(inputs_),
            .payload = std::make_unique<ResidentPayload>(std::move(records_)),
            .sealer = std::move(sealer),
            .codec = codec,
            .verify = verify,
            .cookie = 77};
}

TransformRig::TransformRig(std::unique_ptr<Executor> workers, std::size_t slabs)
    : segment_slabs(make_pool(slabs)), executor(std::move(workers)) {
    transformer = std::make_unique<Transformer>(*executor, *segment_slabs, *metrics);
}

TransformRig::~TransformRig() {
    executor.reset();
}  // First: it ends every task.

TransformOutcome TransformRig::run(TransformRequest request) {
    CW_ASSERT(start(request));
    auto outcome = wait();
    CW_ASSERT(outcome.has_value());
    return std::move(*outcome);
}

std::optional<TransformOutcome> TransformRig::wait() {
    for (int i = 0; i < 6'000; ++i) {
        bell.prepare();
        if (auto outcome = queue->take()) {
            bell.cancel();
            return outcome;
        }
        pollfd ready{.fd = bell.fd(), .events = POLLIN, .revents = 0};
        ::poll(&ready, 1, 100);
        bell.consume();
    }
    return std::nullopt;
}

std::unique_ptr<SlabPool> make_pool(std::size_t count) {
    auto pool = SlabPool::create("test", count);
    CW_ASSERT(pool.has_value());
    return std::move(*pool);
}

ByteVector restore(const SealedBody& body, Sealer& sealer, std::size_t disk_bytes) {
    ByteVector disk(disk_bytes, std::byte{0xcc}), flat;
    for (const Bytes piece : body.pieces()) {
        flat.insert(flat.end(), piece.begin(), piece.end());
    }
    EXPECT_EQ(flat.size(), body.stored_bytes);
    EXPECT_EQ(crc64nvme(flat), body.crc64);
    Compressor compressor;
    std::uint64_t stored = 0;
    for (std::size_t i = 0; i < body.chunks.size(); ++i) {
        const SealedChunk& chunk = body.chunks[i];
        EXPECT_EQ(chunk.ordinal, i);
        const MutableBytes target(disk.data() + chunk.disk_offset, chunk.raw_length);
        if (chunk.codec == Codec::zero || chunk.codec == Codec::discard) {
            EXPECT_EQ(chunk.stored_length, 0U);
            std::ranges::fill(target, std::byte{0});
            continue;
        }
        EXPECT_EQ(chunk.stored_offset, stored);
        stored += chunk.stored_length;
        const Bytes cipher[] = {Bytes(flat).subspan(chunk.stored_offset, chunk.stored_length)};
        ByteVector opened(chunk.stored_length);
        const ChunkBinding binding{.ordinal = chunk.ordinal,
                                   .disk_offset = chunk.disk_offset,
                                   .raw_length = static_cast<std::uint32_t>(chunk.raw_length),
                                   .codec = chunk.codec,
                                   .last_seq = chunk.last_seq};
        EXPECT_TRUE(sealer.open(binding, cipher, chunk.tag, opened)) << "chunk " << i;
        EXPECT_TRUE(compressor.decompress(chunk.codec, opened, target)) << "chunk " << i;
        check_fingerprints(chunk, target, sealer.fingerprint_secret());
    }
    EXPECT_EQ(stored, body.stored_bytes);
    return disk;
}

ByteVector text_like(std::size_t bytes, std::uint64_t seed) {
    const auto random = make_seeded_random(seed);
    static constexpr std::string_view words[] = {"recovery ", "point ", "segment ",  "0x7f",
                                                 "\n",        "cache ", "manifest ", "vault ",
                                                 "= ",        "disk "};
    ByteVector out;
    out.reserve(bytes + 16);
    while (out.size() < bytes) {
        const Bytes word = as_bytes(words[random->below(std::size(words))]);
        out.insert(out.end(), word.begin(), word.end());
    }
    out.resize(bytes);
    return out;
}

ByteVector noise(std::size_t bytes, std::uint64_t seed) {
    ByteVector out(bytes);
    make_seeded_random(seed)->fill(out);
    return out;
}

}  // namespace cw::pipeline
