#include "egress/vault/control.h"

#include "base/assert.h"
#include "egress/vault/names.h"

#include <algorithm>

namespace cw::vault {
namespace {

constexpr std::uint32_t note_magic = 0x4e435743;  // "CWCN"
constexpr std::uint16_t note_version = 1;
constexpr std::size_t note_bytes_max = 4ULL << 20;

enum class NoteKind : std::uint16_t { head = 1, gc_boundary = 2 };

struct Note {
    ServerId signer;
    Bytes payload;
};

ByteVector seal_note(NoteKind kind, const MachineId& machine, const ServerSigner& signer,
                     Bytes payload) {
    ByteVector bytes;
    ByteAppender out(bytes);
    out.u32(note_magic);
    out.u16(note_version);
    out.u16(static_cast<std::uint16_t>(kind));
    out.bytes(machine.bytes);
    out.bytes(signer.certificate.server.bytes);
    out.bytes(signer.certificate.key);
    out.bytes(signer.certificate.by_vault);
    out.u32(static_cast<std::uint32_t>(payload.size()));
    out.bytes(payload);
    const Signature signature = sign_ed25519(signer.key.reveal(), bytes);
    out.bytes(signature);
    CW_ASSERT(bytes.size() <= note_bytes_max);
    return bytes;
}

Result<Note> open_note(NoteKind kind, Bytes object, const VaultIdentity& vault,
                       const MachineId& machine) {
    ByteReader in(object, Errc::object_corrupt);
    ServerCertificate certificate;
    CW_TRY_ASSIGN(const std::uint32_t magic, in.u32());
    CW_TRY_ASSIGN(const std::uint16_t version, in.u16());
    CW_TRY_ASSIGN(const std::uint16_t seen_kind, in.u16());
    CW_TRY_ASSIGN(const auto seen_machine, in.array<16>());
    CW_TRY_ASSIGN(certificate.server.bytes, in.array<16>());
    CW_TRY_ASSIGN(certificate.key, in.array<32>());
    CW_TRY_ASSIGN(certificate.by_vault, in.array<64>());
    CW_TRY_ASSIGN(const std::uint32_t payload_bytes, in.u32());
    CW_TRY_ASSIGN(const Bytes payload, in.take(payload_bytes));
    const Bytes covered = object.first(in.position());
    CW_TRY_ASSIGN(const Signature signature, in.array<64>());
    if (magic != note_magic || !in.at_end()) {
        return fail(Errc::object_corrupt, "not a control note");
    }
    if (version != note_version) {
        return fail(Errc::format_unsupported, "control note version " + std::to_string(version));
    }
    CW_TRY(check_certificate(certificate, vault));
    if (!verify_ed25519(certificate.key, covered, signature)) {
        return fail(Errc::object_corrupt, "the control note's signature does not match");
    }
    if (seen_kind != static_cast<std::uint16_t>(kind) || seen_machine != machine.bytes) {
        return fail(Errc::object_corrupt, "a control note of another kind or machine");
    }
    return Note{certificate.server, payload};
}

// The note as it is, or nullopt if there is none.
Result<std::optional<blob::GetResult>> get_note(blob::BlobStore& store,
                                                const blob::BlobName& name) {
    auto got = blob::get_and_wait(store, {.name = name, .length = note_bytes_max});
    if (got) {
        return std::move(*got);
    }
    if (got.error().code == Errc::blob_not_found) {
        return std::nullopt;
    }
    return std::unexpected(std::move(got).error());
}

}  // namespace

ByteVector encode_head(const HeadHint& head, const MachineId& machine, const ServerSigner& signer) {
    ByteVector payload;
    ByteAppender out(payload);
    out.u64(head.number);
    out.bytes(head.hash);
    out.u64(raw(head.epoch));
    out.bytes(head.writer);
    return seal_note(NoteKind::head, machine, signer, payload);
}

Result<HeadHint> decode_head(Bytes object, const VaultIdentity& vault, const MachineId& machine) {
    CW_TRY_ASSIGN(const Note note, open_note(NoteKind::head, object, vault, machine));
    ByteReader in(note.payload, Errc::object_corrupt);
    HeadHint head;
    head.server = note.signer;
    CW_TRY_ASSIGN(head.number, in.u64());
    CW_TRY_ASSIGN(head.hash, in.array<32>());
    CW_TRY_ASSIGN(const std::uint64_t epoch, in.u64());
    CW_TRY_ASSIGN(head.writer, in.array<16>());
    head.epoch = Epoch{epoch};
    if (!in.at_end()) {
        return fail(Errc::object_corrupt, "the head hint has the wrong length");
    }
    return head;
}

ByteVector encode_gc_boundary(const GcBoundary& boundary, const MachineId& machine,
                              const ServerSigner& signer) {
    CW_ASSERT(boundary.sweep.size() <= sweep_attempts_max);
    ByteVector payload;
    ByteAppender out(payload);
    out.u64(boundary.boundary);
    out.u64(raw(boundary.sweep_epoch));
    out.u32(static_cast<std::uint32_t>(boundary.sweep.size()));
    for (const AttemptId& attempt : boundary.sweep) {
        out.bytes(attempt);
    }
    return seal_note(NoteKind::gc_boundary, machine, signer, payload);
}

Result<GcBoundary> decode_gc_boundary(Bytes object, const VaultIdentity& vault,
                                      const MachineId& machine) {
    CW_TRY_ASSIGN(const Note note, open_note(NoteKind::gc_boundary, object, vault, machine));
    ByteReader in(note.payload, Errc::object_corrupt);
    GcBoundary boundary;
    CW_TRY_ASSIGN(boundary.boundary, in.u64());
    CW_TRY_ASSIGN(const std::uint64_t epoch, in.u64());
    CW_TRY_ASSIGN(const std::uint32_t count, in.u32());
    boundary.sweep_epoch = Epoch{epoch};
    if (count > sweep_attempts_max || in.remaining() != count * sizeof(AttemptId)) {
        return fail(Errc::object_corrupt, "the sweep list has the wrong length");
    }
    for (std::uint32_t i = 0; i < count; ++i) {
        CW_TRY_ASSIGN(const AttemptId attempt, in.array<sizeof(AttemptId)>());
        boundary.sweep.push_back(attempt);
    }
    return boundary;
}

Result<void> advance_head(blob::BlobStore& store, const VaultIdentity& vault,
                          const MachineId& machine, const HeadHint& head,
                          const ServerSigner& signer) {
    constexpr int attempts = 4;
    const ByteVector bytes = encode_head(head, machine, signer);
    Error last{Errc::blob_conflict, "the head note changes all the time"};
    for (int attempt = 0; attempt < attempts; ++attempt) {
        CW_TRY_ASSIGN(const auto there, get_note(store, head_blob(machine)));
        if (there) {
            const auto known = decode_head(there->bytes, vault, machine);
            if (known && known->number >= head.number) {
                return {};
            }
        }
        blob::PutResult put = blob::put_and_wait(
            store,
            {.name = head_blob(machine),
             .body = {bytes},
             .condition = there ? blob::PutCondition::if_match : blob::PutCondition::if_absent,
             .etag = there ? there->properties.etag : std::string()});
        if (put.outcome == blob::PutOutcome::stored) {
            return {};
        }
        CW_ASSERT(put.error.has_value());
        last = std::move(*put.error);
        if (last.code != Errc::blob_conflict) {
            break;
        }
    }
    return std::unexpected(std::move(last));
}

Result<std::optional<HeadHint>> read_head(blob::BlobStore& store, const VaultIdentity& vault,
                                          const MachineId& machine) {
    CW_TRY_ASSIGN(const auto note, get_note(store, head_blob(machine)));
    if (!note) {
        return std::nullopt;
    }
    return decode_head(note->bytes, vault, machine);
}

Result<std::optional<GcBoundary>> read_gc_boundary(blob::BlobStore& store,
                                                   const VaultIdentity& vault,
                                                   const MachineId& machine) {
    CW_TRY_ASSIGN(const auto note, get_note(store, gc_boundary_blob(machine)));
    if (!note) {
        return std::nullopt;
    }
    return decode_gc_boundary(note->bytes, vault, machine);
}

Result<std::optional<ManifestHeader>> newest_header(blob::BlobStore& store,
                                                    const VaultIdentity& vault,
                                                    const MachineId& machine) {
    const auto head = read_head(store, vault, machine);
    if (!head && head.error().code != Errc::object_corrupt) {
        return std::unexpected(head.error());
    }
    const bool led = head && *head;
    std::uint64_t number = led ? (*head)->number : 0;
    if (!led) {
        CW_TRY_ASSIGN(const auto entries,
                      blob::list_all(store, blob::Container::manifest, manifest_prefix(machine)));
        for (const auto& entry : entries) {
            const auto listed = parse_manifest_number({blob::Container::manifest, entry.name});
            number = std::max(number, listed.value_or(0));
        }
        if (number == 0) {
            return std::nullopt;
        }
    }
    std::optional<ManifestHeader> newest;
    while (true) {
        const auto found = blob::get_and_wait(
            store, {.name = manifest_blob(machine, number), .length = manifest_bytes_max});
        if (!found && found.error().code == Errc::blob_not_found) {
            break;
        }
        CW_TRY(found);
        CW_TRY_ASSIGN(newest, check_manifest(found->bytes, vault));
        ++number;
    }
    if (!newest) {
        return fail(Errc::vault_rolled_back, "machine " + to_string(machine) + ": manifest " +
                                                 std::to_string(number) +
                                                 " was committed and is gone");
    }
    return newest;
}

}  // namespace cw::vault
