// Page blobs: disks in the vault's account that Azure can attach or import. Not part of the vault:
// any container of the account, with the vault's credential.
//
// As BlobStore: asynchronous, callbacks inside poll(), one object belongs to one thread.
#pragma once

#include "egress/blob/azure_store.h"

namespace cw::blob {

struct PageBlobName {
    std::string container;  // [a-z0-9-]{3,63}
    std::string name;       // As BlobName::name.
};
// "container/name". Errors: usage.
Result<PageBlobName> parse_page_blob_name(std::string_view text);

inline constexpr std::uint64_t page_bytes = 512, page_write_bytes_max = 4ULL << 20;

struct PageCreate {
    PageBlobName blob;
    std::uint64_t bytes = 0;     // A multiple of page_bytes.
    std::uint64_t sequence = 0;  // Writes must name it: what fences a writer that was left behind.
    bool replace = false;        // Without: refused with blob_conflict if there is one.
};
struct PageWrite {
    PageBlobName blob;
    std::uint64_t offset = 0;  // Multiple of page_bytes, as the length.
    Bytes bytes;               // Borrowed until the callback; at most page_write_bytes_max.
    std::uint64_t sequence = 0;
};

class PageBlobStore {
public:
    virtual ~PageBlobStore() = default;
    // All zeros. What is unknown may be asked again with the same arguments and `replace`.
    virtual void create(PageCreate request, Done<PutResult> done) = 0;
    // What is unknown may be written again: the same bytes.
    virtual void write(PageWrite request, Done<PutResult> done) = 0;
    virtual std::size_t poll() = 0;
    virtual void wait(std::int64_t timeout_ns) = 0;
};

// Errors: config_invalid.
Result<std::unique_ptr<PageBlobStore>> make_page_blob_store(AzureOptions options, Clock& clock,
                                                            Random& random);

// For azure_store.cc: the two calls.
class AzureCall;
std::unique_ptr<AzureCall> make_page_create_call(PageCreate request, Done<PutResult> done);
std::unique_ptr<AzureCall> make_page_write_call(PageWrite request, Done<PutResult> done);

}  // namespace cw::blob
