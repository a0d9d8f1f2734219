// Segment indexes, past their seal: the input is an index as a holder of the key might have written
// it. Whatever is accepted keeps the bounds that readers rely on and is written back alike. Then
// the decompressors, which must never write past their output.
#include "base/assert.h"
#include "egress/vault/segment.h"

#include <algorithm>

namespace {

using cw::vault::Chunk;
using cw::vault::SegmentRef;

cw::vault::Dek fixed_dek() {
    cw::vault::Dek dek;
    dek.version = 1;
    dek.key = cw::Secret<cw::Key256>(cw::Key256{});
    return dek;
}

// SHA-256 over the tags at their places, as far as the bytes make sense.
cw::Sha256 root_of(cw::Bytes plain, const cw::GcmTag& index_tag) {
    cw::Sha256Stream hash;
    for (std::size_t at = 12; at + 56 <= plain.size();) {
        hash.update(plain.subspan(at + 40, 16));
        const auto low = std::to_integer<std::size_t>(plain[at + 30]);
        const auto high = std::to_integer<std::size_t>(plain[at + 31]);
        at += 56 + 20 * (low | high << 8);
    }
    hash.update(index_tag);
    return hash.finish();
}

Chunk index_binding(const SegmentRef& ref) {
    Chunk binding;
    binding.ordinal = cw::vault::index_ordinal;
    binding.disk_offset = ref.chunk_count;
    binding.raw_length = ref.index_bytes;
    binding.last_seq = ref.last_seq;
    return binding;
}

// An index that was accepted is not, cut short, changed, or beside another root.
void check_damage(const SegmentRef& ref, cw::vault::SegmentCrypto& crypto, cw::Bytes sealed) {
    CW_ASSERT(!cw::vault::open_index(ref, crypto, sealed.first(sealed.size() - 1)));
    cw::ByteVector changed(sealed.begin(), sealed.end());
    changed[sealed.size() / 2] ^= std::byte{1};
    CW_ASSERT(!cw::vault::open_index(ref, crypto, changed));
    SegmentRef other = ref;
    other.root[0] ^= std::byte{1};
    CW_ASSERT(!cw::vault::open_index(other, crypto, sealed));
}

// A manifest that counts one chunk more than the index does.
void check_other_count(SegmentRef ref, cw::Bytes plain) {
    ref.chunk_count += 1;
    const auto crypto = cw::vault::SegmentCrypto::make({}, ref, fixed_dek());
    cw::ByteVector sealed(plain.size());
    const cw::MutableBytes to = sealed;
    ref.index_tag = crypto->seal(index_binding(ref), plain, std::span(&to, 1));
    ref.root = root_of(plain, ref.index_tag);
    CW_ASSERT(!cw::vault::open_index(ref, *crypto, sealed));
}

void check_index(cw::Bytes plain) {
    SegmentRef ref;
    ref.dek_version = 1;
    ref.last_seq = cw::Seq{1'000'000};
    ref.index_offset = 1 << 20;
    ref.index_bytes = static_cast<std::uint32_t>(plain.size());
    ref.object_bytes = ref.index_offset + ref.index_bytes + cw::vault::segment_trailer_bytes;
    std::memcpy(&ref.chunk_count, plain.data() + 8, sizeof ref.chunk_count);
    const auto crypto = cw::vault::SegmentCrypto::make({}, ref, fixed_dek());
    cw::ByteVector sealed(plain.size());
    const cw::MutableBytes to = sealed;
    ref.index_tag = crypto->seal(index_binding(ref), plain, std::span(&to, 1));
    ref.root = root_of(plain, ref.index_tag);
    CW_ASSERT(cw::vault::check_segment_header(*crypto, crypto->header()).has_value());
    const auto chunks = cw::vault::open_index(ref, *crypto, sealed);
    if (!chunks) {
        check_other_count(ref, plain);
        return;
    }
    check_damage(ref, *crypto, sealed);
    for (const Chunk& chunk : *chunks) {
        CW_ASSERT(chunk.stored_offset + chunk.stored_length <= ref.index_offset);
        CW_ASSERT(chunk.stored_length == 0 || chunk.raw_length <= cw::vault::chunk_bytes_max);
        CW_ASSERT(chunk.disk_offset + chunk.raw_length > chunk.disk_offset);
    }
    const auto tail = cw::vault::finish_segment(ref, *crypto, *chunks, ref.index_offset);
    CW_ASSERT(tail.ref.root == ref.root && tail.ref.index_bytes == ref.index_bytes);
    CW_ASSERT(std::equal(sealed.begin(), sealed.end(), tail.bytes.begin()));
    cw::ByteVector trailer(tail.bytes.end() - cw::vault::segment_trailer_bytes, tail.bytes.end());
    CW_ASSERT(cw::vault::check_segment_trailer(tail.ref, trailer).has_value());
    trailer[plain.size() % trailer.size()] ^= std::byte{1};
    CW_ASSERT(!cw::vault::check_segment_trailer(tail.ref, trailer));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const cw::Bytes bytes(reinterpret_cast<const std::byte*>(data), size);
    if (size >= 12 && size < (1 << 20)) {
        check_index(bytes);
    }
    cw::ByteVector out(4096);
    for (const auto codec : {cw::vault::Codec::lz4, cw::vault::Codec::zstd}) {
        if (size <= cw::vault::chunk_bytes_max) {
            static_cast<void>(cw::vault::decompress(codec, bytes, out));
        }
    }
    return 0;
}
