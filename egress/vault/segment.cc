#include "egress/vault/segment.h"

#include "base/assert.h"

#include <algorithm>

namespace cw::vault {
namespace {

constexpr std::uint32_t index_magic = 0x49535743, trailer_magic = 0x54535743;  // "CWSI", "CWST"
constexpr std::size_t index_head_bytes = 12, index_entry_bytes = 56, index_fingerprint_bytes = 20;
constexpr std::uint64_t disk_bytes_max = 1ULL << 62;

// What the index's own authentication covers, in the form of a chunk.
Chunk index_binding(const SegmentRef& ref) {
    Chunk binding;
    binding.ordinal = index_ordinal;
    binding.disk_offset = ref.chunk_count;
    binding.raw_length = ref.index_bytes;
    binding.last_seq = ref.last_seq;
    return binding;
}

Sha256 root_of(const std::vector<Chunk>& chunks, const GcmTag& index_tag) {
    Sha256Stream hash;
    for (const Chunk& chunk : chunks) {
        hash.update(chunk.tag);
    }
    hash.update(index_tag);
    return hash.finish();
}

// Why `chunk` cannot stand at this place; nullptr if it can. `stored_end` is where the object's
// bytes used so far end. Used for what we write (asserted) and for what we read (checked).
const char* fault_in(const Chunk& chunk, const SegmentRef& ref, std::uint64_t stored_end) {
    if (chunk.disk_offset % sector_bytes != 0 || chunk.raw_length % sector_bytes != 0 ||
        chunk.raw_length == 0) {
        return "range is not whole sectors";
    }
    if (chunk.disk_offset > disk_bytes_max || chunk.raw_length > disk_bytes_max) {
        return "range lies beyond any disk";
    }
    if (chunk.last_seq < ref.name.first_seq || chunk.last_seq > ref.last_seq) {
        return "sequence lies outside the segment";
    }
    if (!has_bytes(chunk.codec)) {
        const bool bare =
            chunk.stored_offset == 0 && chunk.stored_length == 0 && chunk.tag == GcmTag{};
        return bare ? nullptr : "a hole with stored bytes";
    }
    if (chunk.raw_length > chunk_bytes_max || chunk.stored_length == 0 ||
        chunk.stored_length > chunk.raw_length) {
        return "lengths are impossible";
    }
    if (chunk.codec == Codec::none && chunk.stored_length != chunk.raw_length) {
        return "stored raw with another length";
    }
    if (chunk.stored_offset < stored_end || chunk.stored_offset > segment_bytes_max ||
        chunk.stored_offset + chunk.stored_length > ref.index_offset) {
        return "stored bytes overlap or lie outside the object's body";
    }
    return nullptr;
}

const char* fault_in_fingerprints(const Chunk& chunk) {
    const std::uint64_t end = chunk.disk_offset + chunk.raw_length;
    std::uint64_t next_block = 0;
    for (const auto& [block, print] : chunk.fingerprints) {
        if (block < next_block || block > disk_bytes_max / fingerprint_block_bytes) {
            return "fingerprints are not in order";
        }
        const std::uint64_t at = block * fingerprint_block_bytes;
        if (at < chunk.disk_offset || at + fingerprint_block_bytes > end) {
            return "a fingerprint of a block that was not written whole";
        }
        next_block = block + 1;
    }
    return nullptr;
}

void append_chunk(ByteAppender& out, const Chunk& chunk) {
    CW_ASSERT(chunk.fingerprints.size() <= 0xffff);
    out.u64(chunk.disk_offset);
    out.u64(chunk.raw_length);
    out.u64(chunk.stored_offset);
    out.u32(chunk.stored_length);
    out.u8(static_cast<std::uint8_t>(chunk.codec));
    out.u8(0);
    out.u16(static_cast<std::uint16_t>(chunk.fingerprints.size()));
    out.u64(raw(chunk.last_seq));
    out.bytes(chunk.tag);
    const std::uint64_t first_block = chunk.disk_offset / fingerprint_block_bytes;
    for (const auto& [block, print] : chunk.fingerprints) {
        out.u32(static_cast<std::uint32_t>(block - first_block));
        out.bytes(print);
    }
}

Result<Chunk> read_chunk(ByteReader& in, std::uint32_t ordinal) {
    Chunk chunk;
    chunk.ordinal = ordinal;
    CW_TRY_ASSIGN(chunk.disk_offset, in.u64());
    CW_TRY_ASSIGN(chunk.raw_length, in.u64());
    CW_TRY_ASSIGN(chunk.stored_offset, in.u64());
    CW_TRY_ASSIGN(chunk.stored_length, in.u32());
    CW_TRY_ASSIGN(const std::uint8_t codec, in.u8());
    CW_TRY_ASSIGN(const std::uint8_t zero, in.u8());
    CW_TRY_ASSIGN(const std::uint16_t prints, in.u16());
    CW_TRY_ASSIGN(const std::uint64_t last_seq, in.u64());
    CW_TRY_ASSIGN(chunk.tag, in.array<sizeof(GcmTag)>());
    if (codec > static_cast<std::uint8_t>(Codec::discard) || zero != 0 ||
        prints > in.remaining() / index_fingerprint_bytes) {
        return fail(Errc::object_corrupt, "index entry " + std::to_string(ordinal));
    }
    chunk.codec = Codec{codec};
    chunk.last_seq = Seq{last_seq};
    chunk.fingerprints.reserve(prints);
    const std::uint64_t first_block = chunk.disk_offset / fingerprint_block_bytes;
    for (std::uint16_t i = 0; i < prints; ++i) {
        CW_TRY_ASSIGN(const std::uint32_t relative, in.u32());
        CW_TRY_ASSIGN(const Fingerprint print, in.array<sizeof(Fingerprint)>());
        chunk.fingerprints.emplace_back(first_block + relative, print);
    }
    return chunk;
}

ByteVector encode_index(const std::vector<Chunk>& chunks) {
    ByteVector bytes;
    ByteAppender out(bytes);
    out.u32(index_magic);
    out.u16(segment_version);
    out.u16(0);
    out.u32(static_cast<std::uint32_t>(chunks.size()));
    for (const Chunk& chunk : chunks) {
        append_chunk(out, chunk);
    }
    return bytes;
}

Result<std::vector<Chunk>> decode_index(const SegmentRef& ref, Bytes plain) {
    ByteReader in(plain, Errc::object_corrupt);
    CW_TRY_ASSIGN(const std::uint32_t magic, in.u32());
    CW_TRY_ASSIGN(const std::uint16_t version, in.u16());
    CW_TRY_ASSIGN(const std::uint16_t zero, in.u16());
    CW_TRY_ASSIGN(const std::uint32_t count, in.u32());
    if (magic != index_magic || zero != 0) {
        return fail(Errc::object_corrupt, "not a segment index");
    }
    if (version != segment_version) {
        return fail(Errc::format_unsupported, "segment version " + std::to_string(version));
    }
    if (count != ref.chunk_count || count > in.remaining() / index_entry_bytes) {
        return fail(Errc::object_corrupt, "the index counts other chunks than the manifest");
    }
    std::vector<Chunk> chunks;
    chunks.reserve(count);
    std::uint64_t stored_end = segment_header_bytes;
    for (std::uint32_t ordinal = 0; ordinal < count; ++ordinal) {
        CW_TRY_ASSIGN(Chunk chunk, read_chunk(in, ordinal));
        const char* fault = fault_in(chunk, ref, stored_end);
        fault = fault != nullptr ? fault : fault_in_fingerprints(chunk);
        if (fault != nullptr) {
            return fail(Errc::object_corrupt, "chunk " + std::to_string(ordinal) + ": " + fault);
        }
        if (has_bytes(chunk.codec)) {
            stored_end = chunk.stored_offset + chunk.stored_length;
        }
        chunks.push_back(std::move(chunk));
    }
    if (!in.at_end()) {
        return fail(Errc::object_corrupt, "bytes after the last index entry");
    }
    return chunks;
}

std::array<std::byte, segment_trailer_bytes> trailer_of(const SegmentRef& ref) {
    std::array<std::byte, segment_trailer_bytes> bytes;
    ByteWriter out(bytes);
    out.u32(trailer_magic);
    out.u16(segment_version);
    out.u16(0);
    out.u32(ref.chunk_count);
    out.u32(ref.index_bytes);
    out.bytes(ref.index_tag);
    CW_ASSERT(out.remaining() == 0);
    return bytes;
}

}  // namespace

SegmentTail finish_segment(SegmentRef ref, SegmentCrypto& crypto, const std::vector<Chunk>& chunks,
                           std::uint64_t body_bytes) {
    CW_ASSERT(!chunks.empty() && body_bytes >= segment_header_bytes);
    CW_ASSERT(ref.dek_version >= 1 && ref.name.first_seq <= ref.last_seq);
    CW_ASSERT(!ref.base || ref.name.first_seq == ref.last_seq);
    ref.index_offset = body_bytes;
    ref.chunk_count = static_cast<std::uint32_t>(chunks.size());
    ref.raw_bytes = 0;
    std::uint64_t stored_end = segment_header_bytes;
    for (std::size_t i = 0; i < chunks.size(); ++i) {
        const Chunk& chunk = chunks[i];
        CW_ASSERT(chunk.ordinal == i);
        CW_ASSERT(fault_in(chunk, ref, stored_end) == nullptr);
        CW_ASSERT(fault_in_fingerprints(chunk) == nullptr);
        stored_end =
            has_bytes(chunk.codec) ? chunk.stored_offset + chunk.stored_length : stored_end;
        ref.raw_bytes += chunk.raw_length;
    }
    const ByteVector plain = encode_index(chunks);
    ref.index_bytes = static_cast<std::uint32_t>(plain.size());
    ref.object_bytes = ref.index_offset + ref.index_bytes + segment_trailer_bytes;
    CW_ASSERT(ref.object_bytes <= segment_bytes_max);

    SegmentTail tail;
    tail.bytes.resize(plain.size() + segment_trailer_bytes);
    const MutableBytes cipher = MutableBytes(tail.bytes).first(plain.size());
    ref.index_tag = crypto.seal(index_binding(ref), plain, std::span(&cipher, 1));
    ref.root = root_of(chunks, ref.index_tag);
    const auto trailer = trailer_of(ref);
    std::copy(trailer.begin(), trailer.end(),
              tail.bytes.begin() + static_cast<std::ptrdiff_t>(plain.size()));
    tail.ref = ref;
    return tail;
}

Result<void> check_segment_ref(const SegmentRef& ref) {
    const bool sizes_fit =
        ref.index_offset >= segment_header_bytes && ref.index_offset <= segment_bytes_max &&
        ref.index_bytes >= index_head_bytes && ref.object_bytes <= segment_bytes_max &&
        ref.index_offset + ref.index_bytes + segment_trailer_bytes == ref.object_bytes;
    const bool counts_fit =
        ref.chunk_count >= 1 &&
        ref.chunk_count <= (ref.index_bytes - index_head_bytes) / index_entry_bytes;
    const bool sequences_fit =
        ref.name.first_seq <= ref.last_seq && (!ref.base || ref.name.first_seq == ref.last_seq);
    if (!sizes_fit || !counts_fit || !sequences_fit || ref.dek_version == 0) {
        return fail(Errc::object_corrupt, "a segment reference contradicts itself");
    }
    return {};
}

Result<void> check_segment_trailer(const SegmentRef& ref, Bytes trailer) {
    if (!std::ranges::equal(trailer, trailer_of(ref))) {
        return fail(Errc::object_corrupt, "the segment's trailer does not match the manifest");
    }
    return {};
}

Result<std::vector<Chunk>> open_index(const SegmentRef& ref, SegmentCrypto& crypto, Bytes sealed) {
    CW_TRY(check_segment_ref(ref));
    if (sealed.size() != ref.index_bytes) {
        return fail(Errc::object_corrupt, "the object is shorter than the manifest says");
    }
    ByteVector plain(sealed.size());
    if (!crypto.open(index_binding(ref), std::span(&sealed, 1), ref.index_tag, plain)) {
        return fail(Errc::object_corrupt, "the segment's index fails its authentication");
    }
    CW_TRY_ASSIGN(std::vector<Chunk> chunks, decode_index(ref, plain));
    if (root_of(chunks, ref.index_tag) != ref.root) {
        return fail(Errc::object_corrupt, "the chunks' tags do not match the manifest's root");
    }
    return chunks;
}

}  // namespace cw::vault
