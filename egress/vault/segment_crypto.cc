// Keys, nonces and AADs of one segment: the definitions are in FORMAT.md.
#include "base/assert.h"
#include "egress/vault/segment.h"

#include <algorithm>
#include <mutex>

namespace cw::vault {
namespace {

constexpr std::uint32_t header_magic = 0x47535743;  // "CWSG"
constexpr std::size_t segment_aad_bytes = 96;
constexpr std::size_t chunk_aad_bytes = segment_aad_bytes + 32;

using SegmentAad = std::array<std::byte, segment_aad_bytes>;

SegmentAad segment_aad(const VaultId& vault, const SegmentRef& ref) {
    SegmentAad aad;
    ByteWriter out(aad);
    out.u16(segment_version);
    out.u8(ref.base ? 1 : 0);
    out.u8(0);
    out.bytes(vault.bytes);
    out.bytes(ref.name.machine.bytes);
    out.bytes(ref.name.disk.bytes);
    out.u64(raw(ref.name.generation));
    out.u64(raw(ref.name.epoch));
    out.u32(ref.dek_version);
    out.bytes(ref.segment_id);
    out.u64(raw(ref.name.first_seq));
    CW_ASSERT(out.remaining() == 0);
    return aad;
}

std::array<std::byte, chunk_aad_bytes> chunk_aad(const SegmentAad& segment, const Chunk& chunk) {
    std::array<std::byte, chunk_aad_bytes> aad;
    ByteWriter out(aad);
    out.bytes(segment);
    out.u32(chunk.ordinal);
    out.u64(chunk.disk_offset);
    out.u64(chunk.raw_length);
    out.u32(static_cast<std::uint32_t>(chunk.codec));
    out.u64(raw(chunk.last_seq));
    CW_ASSERT(out.remaining() == 0);
    return aad;
}

GcmNonce nonce_of(std::uint32_t ordinal) {
    GcmNonce nonce{};
    ByteWriter out(nonce);
    out.u32(ordinal);
    return nonce;
}

Key256 derive(const Dek& dek, const SegmentRef& ref, std::string_view label,
              const SegmentAad& aad) {
    ByteVector info(as_bytes(label).begin(), as_bytes(label).end());
    const Sha256 digest = sha256(aad);
    info.insert(info.end(), digest.begin(), digest.end());
    return hkdf_sha256(dek.key.reveal(), ref.salt, info);
}

class SegmentCryptoImpl final : public SegmentCrypto {
public:
    SegmentCryptoImpl(const VaultId& vault, const SegmentRef& ref, const Dek& dek)
        : aad_(segment_aad(vault, ref)),
          commitment_(derive(dek, ref, "causeway commitment", aad_)) {
        CW_ASSERT(dek.version == ref.dek_version);
        Key256 key = derive(dek, ref, "causeway segment", aad_);
        key_ = Secret<Key256>(key);
        wipe(key);
    }

    [[nodiscard]] std::array<std::byte, segment_header_bytes> header() const override {
        std::array<std::byte, segment_header_bytes> bytes;
        ByteWriter out(bytes);
        out.u32(header_magic);
        out.u16(segment_version);
        out.u16(0);
        out.bytes(commitment_);
        out.zeros(out.remaining());
        return bytes;
    }

    GcmTag seal(const Chunk& fields, Bytes plain, std::span<const MutableBytes> cipher) override {
        Lease gcm(*this);
        return gcm->seal(nonce_of(fields.ordinal), chunk_aad(aad_, fields), plain, cipher);
    }

    Result<void> open(const Chunk& fields, std::span<const Bytes> cipher, const GcmTag& tag,
                      MutableBytes plain) override {
        Lease gcm(*this);
        return gcm->open(nonce_of(fields.ordinal), chunk_aad(aad_, fields), cipher, tag, plain);
    }

private:
    // A cipher context belongs to one caller at a time and is costly to set up: as many are made as
    // workers meet here, then they are lent again.
    class Lease {
    public:
        explicit Lease(SegmentCryptoImpl& owner) : owner_(owner) {
            const std::lock_guard lock(owner_.mutex_);
            if (owner_.idle_.empty()) {
                gcm_ = std::make_unique<AesGcm>(owner_.key_.reveal());
            } else {
                gcm_ = std::move(owner_.idle_.back());
                owner_.idle_.pop_back();
            }
        }
        ~Lease() {
            const std::lock_guard lock(owner_.mutex_);
            owner_.idle_.push_back(std::move(gcm_));
        }
        Lease(const Lease&) = delete;
        Lease& operator=(const Lease&) = delete;
        AesGcm* operator->() const noexcept { return gcm_.get(); }

    private:
        SegmentCryptoImpl& owner_;
        std::unique_ptr<AesGcm> gcm_;
    };

    SegmentAad aad_;
    Key256 commitment_;
    Secret<Key256> key_;
    std::mutex mutex_;
    std::vector<std::unique_ptr<AesGcm>> idle_;  // Guarded by mutex_.
};

}  // namespace

std::unique_ptr<SegmentCrypto> SegmentCrypto::make(const VaultId& vault, const SegmentRef& ref,
                                                   const Dek& dek) {
    return std::make_unique<SegmentCryptoImpl>(vault, ref, dek);
}

Result<void> check_segment_header(const SegmentCrypto& crypto, Bytes header) {
    const auto expected = crypto.header();
    if (!equal_constant_time(header, expected)) {
        return fail(Errc::object_corrupt, "the segment's header does not commit to its key");
    }
    return {};
}

}  // namespace cw::vault
