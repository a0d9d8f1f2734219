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

inline constexpr std::uint32_t chunk_bytes_max = 1024 * 1024;
inline constexpr std::uint32_t index_ordinal = 0xffffffff;  // Its nonce: no chunk uses it.
inline constexpr std::uint64_t segment_bytes_max = 64ULL << 20;
inline constexpr std::uint32_t fingerprint_block_bytes = 64 * 1024;
inline constexpr std::size_t segment_header_bytes = 64, segment_trailer_bytes = 32;

enum class Codec : std::uint8_t { none = 0, lz4 = 1, zstd = 2, zero = 3, discard = 4 };

struct Chunk {
    std::uint32_t ordinal = 0;
    std::uint64_t disk_offset = 0;   // Sector aligned.
    std::uint64_t raw_length = 0;    // <= chunk_bytes_max; zero and discard: any, no bytes stored.
    std::uint64_t stored_offset = 0; // From the start of the object.
    std::uint32_t stored_length = 0;
    Codec codec = Codec::none;
    Seq last_seq{};
    GcmTag tag{};
    // One per 64 KiB disk block that this chunk wrote whole: (block index on the disk, fingerprint).
    std::vector<std::pair<std::uint64_t, Fingerprint>> fingerprints;
};

// What a manifest says of a segment: enough to open it, and all that is believed.
struct SegmentRef {
    SegmentName name;
    std::array<std::byte, 16> segment_id{};  // Random.
    std::array<std::byte, 32> salt{};        // Of the segment key.
    std::uint32_t dek_version = 0;
    bool base = false;          // Lies beneath writes after first_seq (its fence).
    Seq last_seq{};             // Newest sequence within; for base: the fence.
    std::uint32_t chunk_count = 0;
    std::uint64_t object_bytes = 0;
    std::uint64_t index_offset = 0;
    std::uint32_t index_bytes = 0;  // Sealed size without tag.
    std::uint64_t raw_bytes = 0;    // For figures only.
    GcmTag index_tag{};
    Sha256 root{};  // SHA-256 over the chunk tags in ordinal order ‖ index tag.
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
// `chunks` in ordinal order (0..n-1); `body_bytes` = header + chunks as stored so far.
SegmentTail finish_segment(SegmentRef ref, SegmentCrypto& crypto, const std::vector<Chunk>& chunks,
                           std::uint64_t body_bytes);
// Opens the index bytes (as fetched from ref.index_offset, ref.index_bytes). Checks the root, every
// field's bounds, that chunks do not overlap in the object. Errors: object_corrupt.
Result<std::vector<Chunk>> open_index(const SegmentRef& ref, SegmentCrypto& crypto, Bytes sealed);
// Authenticates, then decompresses `sealed` into `out` (exactly fields.raw_length bytes).
// Errors: object_corrupt.
Result<void> open_chunk(SegmentCrypto& crypto, const Chunk& fields, Bytes sealed, MutableBytes out);

}  // namespace cw::vault
