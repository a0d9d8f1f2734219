// Signed records: what operators leave in the vault (states of machines, runs of plans) and on
// paper (receipts of drills). Signed by a key that the vault has certified, so that whoever can
// write to `control` can lose a record but not invent one. Format: RECORDS.md.
#pragma once

#include "egress/vault/keys.h"

#include <array>
#include <string>

namespace cw::appliance {

enum class RecordKind : std::uint16_t { machine = 1, plan = 2, receipt = 3 };
inline constexpr std::size_t record_bytes_max = 1 * mib;

using RecordSubject = std::array<std::byte, 16>;  // The machine's id, the plan's id …

ByteVector seal_record(RecordKind kind, const RecordSubject& subject,
                       const vault::ServerSigner& signer, Bytes payload);

struct OpenedRecord {
    ServerId signer;
    RecordSubject subject{};
    Bytes payload;  // Borrowed from the object.
};
// Errors: object_corrupt (damaged, of another kind, not certified by this vault),
// format_unsupported.
Result<OpenedRecord> open_record(RecordKind kind, Bytes object, const vault::VaultIdentity& vault);

// The same in the vault's `control`, changed only under the condition that it is still what was
// read. Blocking.
struct StoredRecord {
    ByteVector payload;
    std::string etag;  // Empty: there is none.
};
// Errors: those of the store and of open_record.
Result<StoredRecord> read_record(blob::BlobStore& store, const vault::VaultIdentity& vault,
                                 RecordKind kind, const blob::BlobName& name,
                                 const RecordSubject& subject);
// False: somebody else was first, or nobody knows: read it again before deciding anything.
// Errors: those of the store.
Result<bool> write_record(blob::BlobStore& store, const blob::BlobName& name,
                          const ByteVector& object, const std::string& etag);

}  // namespace cw::appliance
