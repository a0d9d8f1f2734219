// Segments: immutable sealed objects holding many chunks of one disk. The byte layout is FORMAT.md.
//
// Object: header (format, key commitment) ‖ sealed chunks ‖ sealed index ‖ fixed-size trailer. The
// reader takes every segment field from the manifest's SegmentRef, never from the object; chunk
// fields come from the index after it has verified against the manifest's root.
#pragma once

#include "egress/vault/keys.h"
#include "egress/vault/names.h"

#include <memory>
#include <vector>

namespace cw::vault {

inline constexpr std::uint16_t segment_version = 1;
inline constexpr std::uint32_t chunk_bytes_max = 1024 * 1024;
inline constexpr std::uint32_t index_ordinal = 0xffffffff;  // Its nonce: no chunk uses it.
inline constexpr std::uint64_t segment_bytes_max = 64ULL << 20;
inline constexpr std::uint32_t fingerprint_block_bytes = 64 * 1024;
inline constexpr std::size_t segment_header_bytes = 64, segment_trailer_bytes = 32;

enum class Codec : std::uint8_t { none = 0, lz4 = 1, zstd = 2, zero = 3, discard = 4 };

// False for holes, which are index entries only.
constexpr bool has_bytes(Codec codec) noexcept {
    return codec != Codec::zero && codec != Codec::discard;
}

struct Chunk {
    std::uint32_t ordinal = 0;
    std::uint64_t disk_offset = 0;    // Sector aligned.
    std::uint64_t raw_length = 0;     // <= chunk_bytes_max; zero and discard: any, no bytes stored.
    std::uint64_t stored_offset = 0;  // From the start of the object.
    std::uint32_t stored_length = 0;
    Codec codec = Codec::none;
    Seq last_seq{};
    GcmTag tag{};
    // One per 64 KiB disk block that this chunk wrote whole: (block index on the disk,
    // fingerprint).
    std::vector<std::pair<std::uint64_t, Fingerprint>> fingerprints;
};

// Where a chain keeps what it says of something: entry `at` of index run `run`; run 0: in a
// manifest. Known to whoever has read the chain; never part of an entry's own bytes.
struct RunPlace {
    std::uint32_t run = 0;
    std::uint32_t at = 0;
};

// What a manifest says of a segment: enough to open it, and all that is believed.
struct SegmentRef {
    SegmentName name;
    std::array<std::byte, 16> segment_id{};  // Random.
    std::array<std::byte, 32> salt{};        // Of the segment key.
    std::uint32_t dek_version = 0;
    bool base = false;  // Lies beneath writes after first_seq (its fence).
    Seq last_seq{};     // Newest sequence within; for base: the fence.
    std::uint32_t chunk_count = 0;
    std::uint64_t object_bytes = 0;
    std::uint64_t index_offset = 0;
    std::uint32_t index_bytes = 0;  // Sealed size without tag.
    std::uint64_t raw_bytes = 0;    // For figures only.
    GcmTag index_tag{};
    Sha256 root{};  // SHA-256 over the chunk tags in ordinal order ‖ index tag.
    RunPlace place;
    std::uint64_t manifest = 0;  // That named it first, as far as who read the chain can tell.
};

// The keys and AADs of one segment. Thread-safe: many workers seal chunks of one segment at once.
class SegmentCrypto {
public:
    virtual ~SegmentCrypto() = default;
    // `ref` gives the fields bound by the AAD (name, id, salt, dek_version, base). `dek` is copied.
    static std::unique_ptr<SegmentCrypto> make(const VaultId& vault, const SegmentRef& ref,
                                               const Dek& dek);
    // The 64-byte object header with the key commitment.
    [[nodiscard]] virtual std::array<std::byte, segment_header_bytes> header() const = 0;
    virtual GcmTag seal(const Chunk& fields, Bytes plain, std::span<const MutableBytes> cipher) = 0;
    // Errors: object_corrupt.
    virtual Result<void> open(const Chunk& fields, std::span<const Bytes> cipher, const GcmTag& tag,
                              MutableBytes plain) = 0;
};

// The end of a segment: sealed index and trailer, and the finished ref.
struct SegmentTail {
    ByteVector bytes;  // Append after the chunks.
    SegmentRef ref;
};
// `chunks` in ordinal order (0..n-1), at least one, stored in that order; holes (zero, discard)
// have no stored offset, length or tag. `body_bytes` = header + chunks as stored so far. Fills
// every field of `ref` that describes the object; name, segment_id, salt, dek_version, base and
// last_seq are the caller's. Where chunks overlap on the disk, a later ordinal lies over an earlier
// one.
SegmentTail finish_segment(SegmentRef ref, SegmentCrypto& crypto, const std::vector<Chunk>& chunks,
                           std::uint64_t body_bytes);
// That the fields of a ref from a manifest agree with each other. Errors: object_corrupt.
Result<void> check_segment_ref(const SegmentRef& ref);
// The object's first segment_header_bytes: that it commits to our key. Errors: object_corrupt.
Result<void> check_segment_header(const SegmentCrypto& crypto, Bytes header);
// The object's last segment_trailer_bytes. Errors: object_corrupt.
Result<void> check_segment_trailer(const SegmentRef& ref, Bytes trailer);
// Opens the index bytes (as fetched from ref.index_offset, ref.index_bytes). Checks the root, every
// field's bounds, that chunks do not overlap in the object. Errors: object_corrupt.
Result<std::vector<Chunk>> open_index(const SegmentRef& ref, SegmentCrypto& crypto, Bytes sealed);
// Authenticates, then decompresses `sealed` into `out` (exactly fields.raw_length bytes).
// Errors: object_corrupt.
Result<void> open_chunk(SegmentCrypto& crypto, const Chunk& fields, Bytes sealed, MutableBytes out);

// Decompresses authenticated bytes into exactly out.size() bytes, never more (<= chunk_bytes_max;
// codec lz4 or zstd). Errors: object_corrupt. Thread-safe.
Result<void> decompress(Codec codec, Bytes packed, MutableBytes out);

}  // namespace cw::vault
