#include "appliance/operator/signed_record.h"

#include "base/assert.h"

namespace cw::appliance {
namespace {

constexpr std::uint32_t record_magic = 0x4f525743;  // "CWRO"
constexpr std::uint16_t record_version = 1;

}  // namespace

ByteVector seal_record(RecordKind kind, const RecordSubject& subject,
                       const vault::ServerSigner& signer, Bytes payload) {
    CW_ASSERT(payload.size() < record_bytes_max / 2);
    ByteVector bytes;
    ByteAppender out(bytes);
    out.u32(record_magic);
    out.u16(record_version);
    out.u16(raw(kind));
    out.bytes(subject);
    out.bytes(signer.certificate.server.bytes);
    out.bytes(signer.certificate.key);
    out.bytes(signer.certificate.by_vault);
    out.u32(static_cast<std::uint32_t>(payload.size()));
    out.bytes(payload);
    const Signature signature = sign_ed25519(signer.key.reveal(), bytes);
    out.bytes(signature);
    return bytes;
}

Result<OpenedRecord> open_record(RecordKind kind, Bytes object, const vault::VaultIdentity& vault) {
    ByteReader in(object, Errc::object_corrupt);
    vault::ServerCertificate certificate;
    OpenedRecord record;
    CW_TRY_ASSIGN(const std::uint32_t magic, in.u32());
    CW_TRY_ASSIGN(const std::uint16_t version, in.u16());
    if (magic != record_magic) {
        return fail(Errc::object_corrupt, "not a record");
    }
    if (version != record_version) {
        return fail(Errc::format_unsupported, "record version " + std::to_string(version));
    }
    CW_TRY_ASSIGN(const std::uint16_t seen_kind, in.u16());
    CW_TRY_ASSIGN(record.subject, in.array<16>());
    CW_TRY_ASSIGN(certificate.server.bytes, in.array<16>());
    CW_TRY_ASSIGN(certificate.key, in.array<32>());
    CW_TRY_ASSIGN(certificate.by_vault, in.array<64>());
    CW_TRY_ASSIGN(const std::uint32_t payload_bytes, in.u32());
    CW_TRY_ASSIGN(record.payload, in.take(payload_bytes));
    const Bytes covered = object.first(in.position());
    CW_TRY_ASSIGN(const Signature signature, in.array<64>());
    if (!in.at_end() || seen_kind != raw(kind)) {
        return fail(Errc::object_corrupt, "a record of another kind or length");
    }
    CW_TRY(vault::check_certificate(certificate, vault));
    if (!verify_ed25519(certificate.key, covered, signature)) {
        return fail(Errc::object_corrupt, "the record's signature does not match");
    }
    record.signer = certificate.server;
    return record;
}

Result<StoredRecord> read_record(blob::BlobStore& store, const vault::VaultIdentity& vault,
                                 RecordKind kind, const blob::BlobName& name,
                                 const RecordSubject& subject) {
    auto got = blob::get_and_wait(store, {.name = name, .length = record_bytes_max});
    if (!got) {
        if (got.error().code == Errc::blob_not_found) {
            return StoredRecord{};
        }
        return std::unexpected(std::move(got).error());
    }
    CW_TRY_ASSIGN(const OpenedRecord opened, open_record(kind, got->bytes, vault));
    if (opened.subject != subject) {
        return fail(Errc::object_corrupt, to_string(name) + " is a record of something else");
    }
    return StoredRecord{{opened.payload.begin(), opened.payload.end()},
                        std::move(got->properties.etag)};
}

Result<bool> write_record(blob::BlobStore& store, const blob::BlobName& name,
                          const ByteVector& object, const std::string& etag) {
    blob::PutRequest request{.name = name, .body = {object}};
    request.condition = etag.empty() ? blob::PutCondition::if_absent : blob::PutCondition::if_match;
    request.etag = etag;
    const blob::PutResult put = blob::put_and_wait(store, std::move(request));
    if (put.outcome == blob::PutOutcome::refused && put.error->code != Errc::blob_conflict) {
        return std::unexpected(*put.error);
    }
    return put.outcome == blob::PutOutcome::stored;
}

}  // namespace cw::appliance
