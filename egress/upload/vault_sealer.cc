#include "egress/upload/vault_sealer.h"

namespace cw::upload {
namespace {

// The two rooms do not know each other; their codecs are the same numbers.
constexpr bool same(pipeline::Codec a, vault::Codec b) {
    return static_cast<int>(a) == static_cast<int>(b);
}
static_assert(same(pipeline::Codec::none, vault::Codec::none));
static_assert(same(pipeline::Codec::lz4, vault::Codec::lz4));
static_assert(same(pipeline::Codec::zstd, vault::Codec::zstd));
static_assert(same(pipeline::Codec::zero, vault::Codec::zero));
static_assert(same(pipeline::Codec::discard, vault::Codec::discard));

vault::Chunk bound_fields(const pipeline::ChunkBinding& chunk) {
    vault::Chunk fields;
    fields.ordinal = chunk.ordinal;
    fields.disk_offset = chunk.disk_offset;
    fields.raw_length = chunk.raw_length;
    fields.codec = static_cast<vault::Codec>(chunk.codec);
    fields.last_seq = chunk.last_seq;
    return fields;
}

}  // namespace

GcmTag VaultSealer::seal(const pipeline::ChunkBinding& chunk, Bytes plain,
                         std::span<const MutableBytes> cipher) {
    return crypto_->seal(bound_fields(chunk), plain, cipher);
}

Result<void> VaultSealer::open(const pipeline::ChunkBinding& chunk, std::span<const Bytes> cipher,
                               const GcmTag& tag, MutableBytes plain) {
    return crypto_->open(bound_fields(chunk), cipher, tag, plain);
}

}  // namespace cw::upload
