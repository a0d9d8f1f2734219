// The XML (and JSON) bodies of the blob service. All input is hostile; sizes are bounded by the
// caller's reply limit. Pure functions, safe from any thread.
#pragma once

#include "egress/blob/page_blob.h"

namespace cw::blob {

// <Error><Code>…, or {"error":{"code":…}}; empty when the body is neither.
std::string parse_error_code(Bytes body);

// <EnumerationResults> of List Blobs: names, sizes and NextMarker with entities resolved.
// Errors: blob_unavailable (the reply is malformed: it is asked for again).
Result<ListPage> parse_list(Bytes body);

// <PageList> of Get Page Ranges: what lies within [offset, offset + length), in order.
// Errors: blob_unavailable (malformed, as above).
Result<PageRanges> parse_page_list(Bytes body, std::uint64_t offset, std::uint64_t length);

}  // namespace cw::blob
