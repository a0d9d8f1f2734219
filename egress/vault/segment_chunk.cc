// Opening one chunk: authenticate, then decompress to exactly its authenticated length.
#include "base/assert.h"
#include "egress/vault/segment.h"

#include <algorithm>

#include <lz4.h>
#include <zstd.h>

namespace cw::vault {
namespace {

// One per thread: a context costs more to make than a small chunk to decompress.
ZSTD_DCtx* zstd_context() {
    struct Free {
        void operator()(ZSTD_DCtx* context) const noexcept { ZSTD_freeDCtx(context); }
    };
    static thread_local const std::unique_ptr<ZSTD_DCtx, Free> context(ZSTD_createDCtx());
    CW_ASSERT(context != nullptr);
    return context.get();
}

}  // namespace

Result<void> decompress(Codec codec, Bytes packed, MutableBytes out) {
    std::uint64_t produced = 0;
    if (codec == Codec::lz4) {
        CW_ASSERT(packed.size() <= chunk_bytes_max && out.size() <= chunk_bytes_max);
        const int n = LZ4_decompress_safe(
            reinterpret_cast<const char*>(packed.data()), reinterpret_cast<char*>(out.data()),
            static_cast<int>(packed.size()), static_cast<int>(out.size()));
        produced = n < 0 ? UINT64_MAX : static_cast<std::uint64_t>(n);
    } else {
        CW_ASSERT(codec == Codec::zstd);
        const std::size_t n = ZSTD_decompressDCtx(zstd_context(), out.data(), out.size(),
                                                  packed.data(), packed.size());
        produced = ZSTD_isError(n) != 0 ? UINT64_MAX : n;
    }
    if (produced != out.size()) {
        return fail(Errc::object_corrupt, "the chunk does not decompress to its length");
    }
    return {};
}

Result<void> open_chunk(SegmentCrypto& crypto, const Chunk& fields, Bytes sealed,
                        MutableBytes out) {
    CW_ASSERT(out.size() == fields.raw_length);
    if (!has_bytes(fields.codec)) {
        std::ranges::fill(out, std::byte{0});
        return {};
    }
    CW_ASSERT(fields.raw_length <= chunk_bytes_max && fields.stored_length <= chunk_bytes_max);
    if (sealed.size() != fields.stored_length) {
        return fail(Errc::object_corrupt, "the object is shorter than its index says");
    }
    const auto evidence = [&fields](const Error& error) {
        return fail(error.code, "chunk " + std::to_string(fields.ordinal) + ": " + error.detail);
    };
    if (fields.codec == Codec::none) {
        const auto opened = crypto.open(fields, std::span(&sealed, 1), fields.tag, out);
        return opened ? Result<void>{} : evidence(opened.error());
    }
    static thread_local ByteVector packed(chunk_bytes_max);
    const MutableBytes plain = MutableBytes(packed).first(sealed.size());
    auto opened = crypto.open(fields, std::span(&sealed, 1), fields.tag, plain);
    if (opened) {
        opened = decompress(fields.codec, plain, out);
    }
    return opened ? Result<void>{} : evidence(opened.error());
}

}  // namespace cw::vault
