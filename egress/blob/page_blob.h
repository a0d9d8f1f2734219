// Page blobs: disks in the vault's account that Azure can attach or import. Not part of the vault:
// any container of the account, with the vault's credential.
//
// As BlobStore: asynchronous, callbacks inside poll(), one object belongs to one thread.
#pragma once

#include "egress/blob/azure_store.h"

#include <optional>

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
    std::optional<std::uint64_t> sequence;  // nullopt: nobody is fenced.
};
struct PageClear {
    PageBlobName blob;
    std::uint64_t offset = 0, length = 0;  // Multiples of page_bytes; any length.
    std::optional<std::uint64_t> sequence;
};

struct PageRange {
    std::uint64_t offset = 0, length = 0;
};
struct PageRangesRequest {
    PageBlobName blob;
    std::uint64_t offset = 0, length = 0;  // Within the blob, at most page_span_bytes_max.
    std::string marker = {};               // Where the last answer ended.
};
struct PageRanges {
    std::vector<PageRange> ranges;  // Ascending, apart, within what was asked for.
    std::string next = {};          // The marker of what follows; empty: nothing does.
};
// Of so much the answer stays small, even if every other page was written.
inline constexpr std::uint64_t page_span_bytes_max = 256ULL << 20;
struct PageRead {
    PageBlobName blob;
    std::uint64_t offset = 0, length = 0;  // Within the blob, at most page_write_bytes_max.
};

class PageBlobStore {
public:
    virtual ~PageBlobStore() = default;
    // All zeros. What is unknown may be asked again with the same arguments and `replace`.
    virtual void create(PageCreate request, Done<PutResult> done) = 0;
    // What is unknown may be written again: the same bytes. So may what the service says it has
    // stored differently (blob_checksum).
    virtual void write(PageWrite request, Done<PutResult> done) = 0;
    // Zeros, whatever was there. May be asked again.
    virtual void clear(PageClear request, Done<PutResult> done) = 0;
    virtual void size(PageBlobName blob, Done<Result<std::uint64_t>> done) = 0;
    // Where something was written and not cleared since: everything else is zeros.
    virtual void ranges(PageRangesRequest request, Done<Result<PageRanges>> done) = 0;
    virtual void read(PageRead request, Done<Result<ByteVector>> done) = 0;
    virtual std::size_t poll() = 0;
    virtual void wait(std::int64_t timeout_ns) = 0;
};

// Errors: config_invalid.
Result<std::unique_ptr<PageBlobStore>> make_page_blob_store(AzureOptions options, Clock& clock,
                                                            Random& random);

// A managed disk that waits for its upload, as the write SAS of `az disk grant-access` names it.
struct DiskUpload {
    std::string origin;  // "https://host[:port]"
    PageBlobName blob;   // Of any name: Azure has chosen it.
    Secret<std::string> sas;
};
// Errors: config_invalid; its text never repeats the URL, which is a credential.
Result<DiskUpload> parse_disk_upload(std::string_view url);
// create() does not work there; read() may not (the SAS is for writing). `options`: its url, auth
// and secret do not count. Errors: config_invalid.
Result<std::unique_ptr<PageBlobStore>> make_disk_upload_store(const DiskUpload& upload,
                                                              AzureOptions options, Clock& clock,
                                                              Random& random);

// For azure_store.cc: the calls.
class AzureCall;
std::unique_ptr<AzureCall> make_page_create_call(PageCreate request, Done<PutResult> done);
std::unique_ptr<AzureCall> make_page_write_call(PageWrite request, Done<PutResult> done);
std::unique_ptr<AzureCall> make_page_clear_call(PageClear request, Done<PutResult> done);
std::unique_ptr<AzureCall> make_page_size_call(PageBlobName blob, Done<Result<std::uint64_t>> done);
std::unique_ptr<AzureCall> make_page_ranges_call(PageRangesRequest request,
                                                 Done<Result<PageRanges>> done);
std::unique_ptr<AzureCall> make_page_read_call(PageRead request, Done<Result<ByteVector>> done);

}  // namespace cw::blob
