#include "pipeline/chunk_worker.h"

#include "base/checksum.h"

#include <cstring>

namespace cw::pipeline {
namespace {

// Sum of the compress bounds of a group's parts: each adds a little to its length.
constexpr std::size_t packed_bytes_max = group_bytes_max + 64 * kib;
constexpr std::uint32_t verify_sample_every = 16;

ChunkBinding binding_of(const SealedChunk& chunk) noexcept {
    return {.ordinal = chunk.ordinal,
            .disk_offset = chunk.disk_offset,
            .raw_length = static_cast<std::uint32_t>(chunk.raw_length),
            .codec = chunk.codec,
            .last_seq = chunk.last_seq};
}

std::unique_ptr<std::byte[]> scratch(std::size_t bytes) {
    return std::make_unique_for_overwrite<std::byte[]>(bytes);
}

bool verify_wanted(VerifyMode mode, const SealedChunk& chunk) noexcept {
    return mode == VerifyMode::full ||
           (mode == VerifyMode::sampled && chunk.ordinal % verify_sample_every == 0);
}

}  // namespace

ChunkWorker::ChunkWorker()
    : gathered_(scratch(group_bytes_max)),
      packed_(scratch(packed_bytes_max)),
      opened_(scratch(chunk_bytes_max)),
      unpacked_(scratch(chunk_bytes_max)) {}

Result<GroupOutput> ChunkWorker::run(const GroupContext& context, const ChunkGroup& group) {
    gathered_bytes_ = 0;
    packed_bytes_ = 0;
    parts_.clear();
    GroupOutput out;
    const std::span chunks(context.request.plan.chunks);
    for (const PlannedChunk& chunk : chunks.subspan(group.first_chunk, group.chunk_count)) {
        split(context, chunk, materialise(context, chunk), out);
    }
    seal(context, out);
    for (const Part& part : parts_) {
        if (verify_wanted(context.request.verify, part.fields)) {
            CW_TRY(verify(context, part));
        }
    }
    out.sealed.reserve(parts_.size());
    for (Part& part : parts_) {
        out.sealed.push_back(std::move(part.fields));
    }
    return out;
}

// The chunk's bytes as one stretch of memory. Notes the CRC of every fragment on the way, taken
// from the very bytes that will be transformed: after the copy, where there is one.
Bytes ChunkWorker::materialise(const GroupContext& context, const PlannedChunk& chunk) {
    const SegmentPlan& plan = context.request.plan;
    const PayloadSource& payload = *context.request.payload;
    const auto fragment_bytes = [&](std::size_t index) {
        const Fragment& fragment = plan.fragments[index];
        const std::uint32_t record = plan.sources[fragment.source].record;
        return payload.data(record, fragment.data_position, fragment.length);
    };
    const std::size_t first = chunk.first_fragment, end = first + chunk.fragment_count;
    Bytes raw;
    if (chunk.gather) {
        CW_ASSERT(gathered_bytes_ + chunk.length <= group_bytes_max);
        raw = {gathered_.get() + gathered_bytes_, chunk.length};
        for (std::size_t i = first; i < end; ++i) {
            const Bytes bytes = fragment_bytes(i);
            std::memcpy(gathered_.get() + gathered_bytes_, bytes.data(), bytes.size());
            gathered_bytes_ += bytes.size();
        }
    } else {
        const Fragment& fragment = plan.fragments[first];
        raw = payload.data(plan.sources[fragment.source].record, fragment.data_position,
                           chunk.length);
    }
    std::size_t at = 0;
    for (std::size_t i = first; i < end; ++i) {
        const std::size_t length = plan.fragments[i].length;
        CW_ASSERT(chunk.gather || fragment_bytes(i).data() == raw.data() + at);
        context.fragment_crcs[i] = crc32c(raw.subspan(at, length));
        at += length;
    }
    CW_ASSERT(at == chunk.length);
    return raw;
}

// Leaves out zeros, in whole fingerprint blocks of the disk: a run cut at any other place would
// cost its neighbours their fingerprints, and the compressor makes short ones vanish anyway.
void ChunkWorker::split(const GroupContext& context, const PlannedChunk& chunk, Bytes raw,
                        GroupOutput& out) {
    const auto add_hole = [&](std::size_t from, std::size_t length) {
        out.holes.push_back({.codec = Codec::zero,
                             .disk_offset = chunk.disk_offset + from,
                             .length = length,
                             .last_seq = chunk.last_seq});
    };
    if (all_zero(raw)) {
        add_hole(0, raw.size());
        return;
    }
    std::size_t data_begin = 0;
    std::size_t block = align_up(chunk.disk_offset, fingerprint_block_bytes) - chunk.disk_offset;
    for (; block + fingerprint_block_bytes <= raw.size(); block += fingerprint_block_bytes) {
        if (!all_zero(raw.subspan(block, fingerprint_block_bytes))) {
            continue;
        }
        if (block > data_begin) {
            add_part(context, chunk, data_begin, raw.subspan(data_begin, block - data_begin));
        }
        add_hole(block, fingerprint_block_bytes);
        data_begin = block + fingerprint_block_bytes;
    }
    if (data_begin < raw.size()) {
        add_part(context, chunk, data_begin, raw.subspan(data_begin));
    }
}

void ChunkWorker::add_part(const GroupContext& context, const PlannedChunk& chunk, std::size_t from,
                           Bytes raw) {
    Part part{.raw = raw, .stored = raw, .fields = {}};
    part.fields.disk_offset = chunk.disk_offset + from;
    part.fields.raw_length = raw.size();
    part.fields.last_seq = chunk.last_seq;
    const std::uint64_t first = align_up(part.fields.disk_offset, fingerprint_block_bytes);
    const std::uint64_t end = part.fields.disk_offset + raw.size();
    const FingerprintSecret& secret = context.request.sealer->fingerprint_secret();
    for (std::uint64_t at = first; at + fingerprint_block_bytes <= end;
         at += fingerprint_block_bytes) {
        const Bytes block = raw.subspan(at - part.fields.disk_offset, fingerprint_block_bytes);
        part.fields.fingerprints.emplace_back(at / fingerprint_block_bytes,
                                              fingerprint(block, secret));
    }
    const MutableBytes room(packed_.get() + packed_bytes_, packed_bytes_max - packed_bytes_);
    const Compressor::Outcome packed = compressor_.compress(raw, context.request.codec, room);
    if (packed.codec != Codec::none) {
        part.stored = room.first(packed.bytes);
        packed_bytes_ += packed.bytes;
    }
    part.fields.codec = packed.codec;
    part.fields.stored_length = static_cast<std::uint32_t>(part.stored.size());
    parts_.push_back(std::move(part));
}

// One place for the whole group, so that its CRC is one pass while the bytes are hot.
void ChunkWorker::seal(const GroupContext& context, GroupOutput& out) {
    std::uint64_t raw_bytes = 0;
    for (const Part& part : parts_) {
        out.body_bytes += part.stored.size();
        raw_bytes += part.raw.size();
    }
    for (const PlannedHole& hole : out.holes) {
        raw_bytes += hole.length;
    }
    const BodySpace::Place place = context.space.allocate(static_cast<std::uint32_t>(parts_.size()),
                                                          out.body_bytes, raw_bytes);
    out.body_offset = place.offset;
    std::uint32_t ordinal = place.ordinal;
    std::uint64_t offset = place.offset;
    for (Part& part : parts_) {
        part.fields.ordinal = ordinal++;
        part.fields.stored_offset = offset;
        const BodyPieces pieces = context.space.pieces(offset, part.stored.size());
        part.fields.tag =
            context.request.sealer->seal(binding_of(part.fields), part.stored, pieces.writable());
        for (const Bytes bytes : pieces.readable()) {
            out.crc64 = crc64nvme(bytes, out.crc64);
        }
        offset += part.stored.size();
    }
}

Result<void> ChunkWorker::verify(const GroupContext& context, const Part& part) {
    const SealedChunk& fields = part.fields;
    const auto broken = [&](std::string_view what) {
        return fail(Errc::internal, "verify-after-transform: the chunk at disk offset " +
                                        std::to_string(fields.disk_offset) + " " +
                                        std::string(what));
    };
    const BodyPieces pieces = context.space.pieces(fields.stored_offset, fields.stored_length);
    const MutableBytes opened(opened_.get(), fields.stored_length);
    if (!context.request.sealer->open(binding_of(fields), pieces.readable(), fields.tag, opened)) {
        return broken("does not authenticate");
    }
    Bytes result = opened;
    if (fields.codec != Codec::none) {
        const MutableBytes unpacked(unpacked_.get(), part.raw.size());
        if (!compressor_.decompress(fields.codec, opened, unpacked)) {
            return broken("does not decompress");
        }
        result = unpacked;
    }
    if (result.size() != part.raw.size() ||
        std::memcmp(result.data(), part.raw.data(), result.size()) != 0) {
        return broken("differs from the original");
    }
    return {};
}

}  // namespace cw::pipeline
