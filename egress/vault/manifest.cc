#include "egress/vault/manifest.h"

#include "base/assert.h"
#include "egress/vault/manifest_body.h"

#include <algorithm>

namespace cw::vault {
namespace {

constexpr std::uint32_t manifest_magic = 0x464d5743;  // "CWMF"
constexpr std::uint16_t manifest_version = 2, manifest_version_oldest = 1;
constexpr std::size_t header_bytes = 256;
constexpr std::size_t overhead_bytes = header_bytes + sizeof(GcmTag) + sizeof(Signature);

struct Parsed {
    ManifestHeader header;
    std::uint16_t version = 0;
    std::array<std::byte, 32> salt{};
    Bytes clear;   // The header's bytes: the body's AAD.
    Bytes sealed;  // The body's ciphertext.
    GcmTag tag{};
};

Secret<Key256> body_key(const MachineKeys& keys, Bytes salt) {
    Key256 key = hkdf_sha256(keys.machine_key.reveal(), salt, as_bytes("manifest"));
    Secret<Key256> out(key);
    wipe(key);
    return out;
}

void append_header(ByteAppender& out, const Manifest& manifest, const ServerCertificate& server,
                   Bytes salt, std::uint32_t body_bytes) {
    out.u32(manifest_magic);
    out.u16(manifest_version);
    out.u8(static_cast<std::uint8_t>(manifest.kind));
    out.u8(0);
    out.bytes(manifest.machine.bytes);
    out.u64(manifest.number);
    out.bytes(manifest.previous);
    out.u64(raw(manifest.epoch));
    out.bytes(manifest.writer);
    out.bytes(manifest.nonce);
    out.bytes(salt);
    out.bytes(server.server.bytes);
    out.bytes(server.key);
    out.bytes(server.by_vault);
    out.u32(body_bytes);
    out.u32(0);
}

Result<Parsed> parse(Bytes object, const VaultIdentity& vault) {
    ByteReader in(object, Errc::object_corrupt);
    Parsed parsed;
    ManifestHeader& header = parsed.header;
    CW_TRY_ASSIGN(const std::uint32_t magic, in.u32());
    CW_TRY_ASSIGN(parsed.version, in.u16());
    CW_TRY_ASSIGN(const std::uint8_t kind, in.u8());
    CW_TRY_ASSIGN(const std::uint8_t zero, in.u8());
    CW_TRY_ASSIGN(header.machine.bytes, in.array<16>());
    CW_TRY_ASSIGN(header.number, in.u64());
    CW_TRY_ASSIGN(header.previous, in.array<32>());
    CW_TRY_ASSIGN(const std::uint64_t epoch, in.u64());
    CW_TRY_ASSIGN(header.writer, in.array<16>());
    CW_TRY_ASSIGN(header.nonce, in.array<16>());
    CW_TRY_ASSIGN(parsed.salt, in.array<32>());
    CW_TRY_ASSIGN(header.certificate.server.bytes, in.array<16>());
    CW_TRY_ASSIGN(header.certificate.key, in.array<32>());
    CW_TRY_ASSIGN(header.certificate.by_vault, in.array<64>());
    CW_TRY_ASSIGN(const std::uint32_t body_bytes, in.u32());
    CW_TRY_ASSIGN(const std::uint32_t reserved, in.u32());
    if (magic != manifest_magic) {
        return fail(Errc::object_corrupt, "not a manifest");
    }
    if (parsed.version < manifest_version_oldest || parsed.version > manifest_version) {
        return fail(Errc::format_unsupported, "manifest version " + std::to_string(parsed.version));
    }
    CW_ASSERT(in.position() == header_bytes);
    parsed.clear = object.first(header_bytes);
    CW_TRY_ASSIGN(parsed.sealed, in.take(body_bytes));
    CW_TRY_ASSIGN(parsed.tag, in.array<16>());
    const Bytes covered = object.first(in.position());
    CW_TRY_ASSIGN(const Signature signature, in.array<64>());
    if (!in.at_end() || zero != 0 || reserved != 0) {
        return fail(Errc::object_corrupt, "the manifest has the wrong length or form");
    }
    CW_TRY(check_certificate(header.certificate, vault));
    if (!verify_ed25519(header.certificate.key, covered, signature)) {
        return fail(Errc::object_corrupt, "the manifest's signature does not match");
    }
    if (kind < 1 || kind > static_cast<std::uint8_t>(ManifestKind::checkpoint) ||
        header.number == 0 || epoch == 0) {
        return fail(Errc::object_corrupt, "the manifest's header is impossible");
    }
    header.kind = ManifestKind{kind};
    header.epoch = Epoch{epoch};
    return parsed;
}

}  // namespace

std::size_t manifest_object_bytes(const Manifest& manifest) {
    return encode_manifest_body(manifest).size() + overhead_bytes;
}

SealedManifest seal_manifest(const Manifest& manifest, const VaultIdentity& vault,
                             const MachineKeys& keys, const ServerSigner& signer, Random& random) {
    CW_ASSERT(manifest.number >= 1 && raw(manifest.epoch) >= 1);
    CW_ASSERT(manifest.machine == keys.machine && !vault.id.is_nil());
    std::array<std::byte, 32> salt;
    random.fill(salt);
    const ByteVector body = encode_manifest_body(manifest);
    CW_ASSERT(body.size() <= manifest_bytes_max - overhead_bytes);

    SealedManifest sealed;
    sealed.bytes.reserve(body.size() + overhead_bytes);
    ByteAppender out(sealed.bytes);
    append_header(out, manifest, signer.certificate, salt, static_cast<std::uint32_t>(body.size()));
    CW_ASSERT(sealed.bytes.size() == header_bytes);
    const ByteVector header = sealed.bytes;
    out.zeros(body.size());
    const GcmTag tag =
        AesGcm(body_key(keys, salt).reveal())
            .seal(GcmNonce{}, header, body, MutableBytes(sealed.bytes).subspan(header_bytes));
    out.bytes(tag);
    const Signature signature = sign_ed25519(signer.key.reveal(), sealed.bytes);
    out.bytes(signature);
    sealed.hash = sha256(sealed.bytes);
    return sealed;
}

Result<ManifestHeader> check_manifest(Bytes object, const VaultIdentity& vault) {
    CW_TRY_ASSIGN(const Parsed parsed, parse(object, vault));
    return parsed.header;
}

Result<Manifest> open_manifest(Bytes object, const VaultIdentity& vault, const MachineKeys& keys) {
    CW_TRY_ASSIGN(const Parsed parsed, parse(object, vault));
    if (parsed.header.machine != keys.machine) {
        return fail(Errc::object_corrupt,
                    "the manifest is of machine " + to_string(parsed.header.machine));
    }
    ByteVector body(parsed.sealed.size());
    if (!AesGcm(body_key(keys, parsed.salt).reveal())
             .open(GcmNonce{}, parsed.clear, parsed.sealed, parsed.tag, body)) {
        return fail(Errc::object_corrupt, "the manifest's body fails its authentication");
    }
    Manifest manifest;
    manifest.machine = parsed.header.machine;
    manifest.number = parsed.header.number;
    manifest.previous = parsed.header.previous;
    manifest.epoch = parsed.header.epoch;
    manifest.writer = parsed.header.writer;
    manifest.nonce = parsed.header.nonce;
    manifest.kind = parsed.header.kind;
    CW_TRY(decode_manifest_body(body, parsed.version, manifest));
    return manifest;
}

}  // namespace cw::vault
